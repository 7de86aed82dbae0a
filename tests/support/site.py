"""A small web site for tests, on this machine: pages that can change, fail, redirect and keep silent."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Answer:
    """What a page answers. `silent`: nothing, until the site closes."""

    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict[str, str])
    silent: bool = False


class Site:
    """Pages by path; `asked` counts requests."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.pages: dict[str, Answer] = {}
        self.asked: Counter[str] = Counter()
        self.closing = threading.Event()

    def put(self, path: str, body: str | bytes, content_type: str = "text/plain; charset=utf-8") -> str:
        """Sets a page and returns its address."""
        self.pages[path] = Answer(body if isinstance(body, bytes) else body.encode(), content_type)
        return self.url + path


@contextmanager
def site() -> Iterator[Site]:
    """A site that is served until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.asked[self.path] += 1
            answer = served.pages.get(self.path, Answer(b"nothing here", status=404))
            if answer.silent:
                served.closing.wait()
                return
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(len(answer.body)))
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    served = Site(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield served
    finally:
        served.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()
