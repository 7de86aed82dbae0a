"""A server from its start to its end."""

from __future__ import annotations

import asyncio
import signal
import socket
from pathlib import Path

import httpx
import pytest

import reflow as rf
from reflow.errors import DirectoryInUse, PortInUse
from reflow.server.serve import run, serve, serving
from reflow.storage.lock import read
from tests.support.app_under_test import app, extra
from tests.support.servers import ServerProcess, in_thread
from tests.support.sync_client import SyncClient


def test_a_port_in_use_is_named_before_anything_is_opened(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUse, match=f"port {port} "):
            serve(app, port=port, data=tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_the_lock_says_where_the_server_is_and_lets_in_who_can_read_it(tmp_path: Path) -> None:
    with in_thread(rf.App(modules=[extra]), tmp_path) as threaded:
        info = read(tmp_path)
        assert info is not None
        assert info.url == threaded.url
        call = {"path": "extra:default"}
        headers = {"x-reflow-token": info.token or ""}
        assert httpx.post(f"{info.url}/api/local/run", json=call, headers=headers).json()["value"] == "the default"
        with pytest.raises(DirectoryInUse, match=threaded.url):
            serve(app, port=0, data=tmp_path)
    assert read(tmp_path) is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_gently(tmp_path: Path, number: signal.Signals) -> None:
    """Sockets are closed with 1012, so that clients come back; the process ends by itself, with status 0."""
    server = ServerProcess(tmp_path)
    try:
        with SyncClient(server.url) as client:
            client.mutate("lib/counters:addOne", {"name": "x"})
            assert server.stop(number) == 0
            closed = client.closed()
        assert closed.rcvd is not None
        assert closed.rcvd.code == 1012
    finally:
        if server.running:
            server.stop(signal.SIGKILL)
    assert read(tmp_path) is None


def test_a_client_that_stays_does_not_keep_the_server(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path)
    with SyncClient(server.url) as client:
        client.call("Action", "messages:wait", {"seconds": 100})
        client.mutate("lib/counters:addOne", {"name": "x"})
        assert server.stop(signal.SIGTERM) == 0


def test_who_starts_a_server_learns_its_address_and_can_end_it(tmp_path: Path) -> None:
    seen: list[str] = []

    async def main() -> None:
        async with serving(rf.App(modules=[extra]), port=0, data=tmp_path) as server:
            seen.append(server.url)
            assert await server.backend.query("extra:default") == "the default"

    run(main())
    assert seen[0].startswith("http://127.0.0.1:")
    assert read(tmp_path) is None


def test_what_on_ready_raises_ends_the_server(tmp_path: Path) -> None:
    async def broken(_server: object) -> None:
        await asyncio.sleep(0)
        raise RuntimeError("not today")

    with pytest.raises(RuntimeError, match="not today"):
        serve(rf.App(modules=[extra]), port=0, data=tmp_path, on_ready=broken)
    assert read(tmp_path) is None
