"""A TCP proxy that cuts connections at chosen moments.

It runs in a process of its own: the Python client keeps this one's interpreter to itself while it waits.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager

from tests.support import ROOT


class CuttingProxy:
    """Stands before a server, in another process."""

    def __init__(self, port: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.proxy", str(port)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.url = self._ask("url")

    def lose(self, pattern: str, *, times: int, every: int = 1) -> None:
        """Cuts the connection, `times` times, at every `every`-th occurrence of `pattern`, which never arrives."""
        self._ask("lose", pattern, times, every)

    def cut(self) -> None:
        """Cuts all connections now."""
        self._ask("cut")

    def target(self, port: int) -> None:
        """Sends new connections to the server on another port."""
        self._ask("target", port)

    @property
    def left(self) -> int:
        """Cuts that are still to come."""
        return int(self._ask("left"))

    def close(self) -> None:
        """Ends the proxy."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()

    def _ask(self, *words: object) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()


class _Proxy:
    """The proxy itself."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._lock = threading.Lock()
        self._pattern = b""
        self._every = 0
        self._seen = 0
        self._left = 0
        self._threads: list[threading.Thread] = []
        self._open: set[socket.socket] = set()
        self._spawn(self._accept)

    def url(self) -> str:
        return self._url

    def target(self, port: int) -> str:
        self._target = port
        return ""

    def left(self) -> str:
        return str(self._left)

    def lose(self, pattern: str, times: int, every: int) -> str:
        with self._lock:
            self._pattern, self._left, self._every, self._seen = pattern.encode(), times, every, 0
        return ""

    def cut(self) -> str:
        with self._lock:
            for end in self._open:
                _cut(end)
        return ""

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(10)

    def _spawn(self, work: object, *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)  # pyright: ignore[reportArgumentType]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                client.close()
                continue
            with self._lock:
                self._open |= {client, server}
            self._spawn(self._pass, client, server, False)
            self._spawn(self._pass, server, client, True)

    def _pass(self, source: socket.socket, target: socket.socket, checked: bool) -> None:
        try:
            while data := source.recv(1 << 16):
                if checked and self._loses(data):
                    break
                target.sendall(data)
        except OSError:
            pass
        with self._lock:
            for end in (source, target):
                _cut(end)
                self._open.discard(end)

    def _loses(self, data: bytes) -> bool:
        with self._lock:
            if not self._left or self._pattern not in data:
                return False
            self._seen += data.count(self._pattern)
            if self._seen < self._every:
                return False
            self._seen = 0
            self._left -= 1
            return True


def _cut(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    end.close()


@contextmanager
def cutting_proxy(port: int) -> Generator[CuttingProxy, None, None]:
    """A proxy before the server on `port`, until the context ends."""
    proxy = CuttingProxy(port)
    try:
        yield proxy
    finally:
        proxy.close()


def main() -> None:
    """Answer commands, one JSON array a line, until there are no more."""
    proxy = _Proxy(int(sys.argv[1]))
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        print(getattr(proxy, name)(*arguments), flush=True)
    proxy.close()


if __name__ == "__main__":
    main()
