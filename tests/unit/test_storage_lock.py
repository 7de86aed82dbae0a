"""One directory, one server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from reflow.errors import DirectoryInUse, StorageUnavailable
from reflow.storage import lock
from reflow.storage.lock import DirectoryLock, ServerInfo
from tests.support import ROOT

HOLDER = """
import sys
from reflow.storage.lock import DirectoryLock
lock = DirectoryLock(sys.argv[1])
lock.acquire()
lock.publish("http://127.0.0.1:9", "secret")
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_open_in_this_process_is_refused_and_told_the_url(tmp_path: Path) -> None:
    with DirectoryLock(tmp_path / "data") as first:
        with pytest.raises(DirectoryInUse, match=f"process {os.getpid()}: stop it"):
            DirectoryLock(tmp_path / "data").acquire()
        first.publish("http://127.0.0.1:3210", "secret")
        with pytest.raises(DirectoryInUse, match=r"serves http://127\.0\.0\.1:3210") as raised:
            DirectoryLock(tmp_path / "data").acquire()
        assert "secret" not in str(raised.value)
        first.acquire()
    with DirectoryLock(tmp_path / "data"):
        pass


def test_what_is_published_is_read_and_gone_after_release(tmp_path: Path) -> None:
    assert lock.read(tmp_path / "none") is None
    assert lock.read(tmp_path) is None
    holder = DirectoryLock(tmp_path)
    with pytest.raises(DirectoryInUse, match="not held"):
        holder.publish("http://127.0.0.1:1", "t")
    holder.acquire()
    assert lock.read(tmp_path) == ServerInfo(pid=os.getpid())
    holder.publish("http://127.0.0.1:10000", "a long token " * 10)
    holder.publish("http://127.0.0.1:1", "t")
    assert lock.read(tmp_path) == ServerInfo(pid=os.getpid(), url="http://127.0.0.1:1", token="t")
    holder.release()
    holder.release()
    assert lock.read(tmp_path) is None
    assert (tmp_path / "reflow.lock").read_bytes() == b""


def test_only_the_owner_may_read_the_token(tmp_path: Path) -> None:
    (tmp_path / "reflow.lock").touch(mode=0o644)
    with DirectoryLock(tmp_path) as holder:
        holder.publish("http://127.0.0.1:1", "t")
        assert (tmp_path / "reflow.lock").stat().st_mode & 0o777 == 0o600


def test_the_lock_of_another_process_holds_until_it_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert lock.read(tmp_path) == ServerInfo(pid=holder.pid, url="http://127.0.0.1:9", token="secret")
        with pytest.raises(DirectoryInUse, match=f"process {holder.pid}, which serves http://127"):
            DirectoryLock(tmp_path).acquire()
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert lock.read(tmp_path) is None, "what the killed process left is not believed"
    with DirectoryLock(tmp_path):
        assert lock.read(tmp_path) == ServerInfo(pid=os.getpid())


def test_looking_does_not_get_in_the_way_of_taking(tmp_path: Path) -> None:
    looking = "import sys; from reflow.storage.lock import read; print(flush=True)\nwhile True: read(sys.argv[1])"
    (tmp_path / "reflow.lock").touch()
    command = [sys.executable, "-c", looking, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as looker:
        assert looker.stdout is not None
        looker.stdout.readline()
        try:
            for _ in range(100):
                with DirectoryLock(tmp_path):
                    pass
        finally:
            looker.kill()


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageUnavailable, match="file"):
        DirectoryLock(tmp_path / "file").acquire()
    assert lock.read(tmp_path / "file") is None
