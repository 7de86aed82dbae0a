"""Durable upserts by many clients through the Pinecone-compatible server, which runs in a process of its own."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import uvloop

from benchmarks.client import HttpConnection
from benchmarks.load import Figures, quantile, quiet_collector
from benchmarks.process import Process

from .data import DIMS, dataset

CLIENTS = 64
INDEX = "bench"
_VECTORS = 1000
"""Distinct vectors; ids are all distinct."""
_WARM_UP_SECONDS = 1.0


class Client:
    """One connection of Pinecone's data plane, one request at a time."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._connection = HttpConnection()
        self._port = 0
        self.acknowledged = 0

    async def open(self, port: int) -> None:
        """Connects."""
        self._port = port
        await self._connection.open("127.0.0.1", port)

    async def call(self, path: str, body: bytes) -> bytes:
        """The answer to a POST. Raises ClientError unless it is a success."""
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nApi-Key: bench\r\n"
            f"X-Pinecone-Api-Version: 2025-10\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return await self._connection.send(head.encode() + body)

    async def upsert(self, values: bytes) -> None:
        """Stores one new record; it is durable on return."""
        id = b'"c%d-%d"' % (self._number, self.acknowledged)
        body = b'{"vectors":[{"id":' + id + b',"metadata":{"cat":5,"lang":"en"},"values":' + values + b"}]}"
        await self.call(f"/i/{INDEX}/vectors/upsert", body)
        self.acknowledged += 1

    def close(self) -> None:
        """Drops the connection."""
        self._connection.close()


async def _repeat(clients: list[Client], vectors: list[bytes], seconds: float) -> list[float]:
    """Each client upserts until the time is up; the latencies in ms."""
    latencies: list[float] = []
    deadline = time.perf_counter() + seconds

    async def repeat(number: int, client: Client) -> None:
        while (began := time.perf_counter()) < deadline:
            await client.upsert(vectors[(client.acknowledged * CLIENTS + number) % len(vectors)])
            latencies.append((time.perf_counter() - began) * 1e3)

    await asyncio.gather(*(repeat(number, client) for number, client in enumerate(clients)))
    return latencies


async def _measure(server: Process, seconds: float) -> Figures:
    port = server.wait_for_port()
    data = dataset(f"clustered-{_VECTORS}")
    vectors = [json.dumps([float(f"{x:.7g}") for x in row], separators=(",", ":")).encode() for row in data.vectors]
    clients = [Client(number) for number in range(CLIENTS)]
    await asyncio.gather(*(client.open(port) for client in clients))
    spec = {"serverless": {"cloud": "aws", "region": "us-east-1"}}
    index = {"name": INDEX, "dimension": DIMS, "metric": "cosine", "spec": spec}
    await clients[0].call("/indexes", json.dumps(index).encode())
    await _repeat(clients, vectors, _WARM_UP_SECONDS)
    with quiet_collector():
        cpu, client_cpu, began = server.cpu_seconds(), time.process_time(), time.perf_counter()
        latencies = await _repeat(clients, vectors, seconds)
        took, cpu = time.perf_counter() - began, server.cpu_seconds() - cpu
        client_cpu = time.process_time() - client_cpu
    stats = json.loads(await clients[0].call(f"/i/{INDEX}/describe_index_stats", b"{}"))
    for client in clients:
        client.close()
    return {
        "ops_per_s": len(latencies) / took,
        "cpu_us": cpu / len(latencies) * 1e6,
        "p50_ms": quantile(latencies, 0.5),
        "p99_ms": quantile(latencies, 0.99),
        "client_busy_share": client_cpu / took,
        "lost": sum(client.acknowledged for client in clients) - stats["totalVectorCount"],
    }


def upserts(directory: Path, seconds: float) -> Figures:
    """Upserts of one record each into an empty index."""
    with ExitStack() as cleanup:
        command = [sys.executable, "-m", "reflow.cli", "vectors", "serve", "--port", "0", "--data"]
        server = Process([*command, str(directory / "data")], directory / "server.log")
        cleanup.callback(server.stop)
        return uvloop.run(_measure(server, seconds))
