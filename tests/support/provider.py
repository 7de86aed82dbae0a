"""A provider of identities for tests: a small HTTP server with real keys, that rotates them, fails and lies."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qsl

import reflow as rf
from reflow.auth import Algorithm
from reflow.testing import TokenIssuer

DISCOVERY = "/.well-known/openid-configuration"
JWKS = "/keys"
TOKEN = "/token"


class Answer(NamedTuple):
    """What an address answers."""

    status: int
    body: bytes
    headers: dict[str, str]


class LocalProvider:
    """Speaks OpenID Connect discovery on this machine. `answers` may be changed while it runs."""

    def __init__(self, url: str, algorithm: Algorithm) -> None:
        self.url = url
        self.issuer = TokenIssuer(url, algorithm=algorithm)
        self._minted = 0
        self.asked: list[str] = []
        """The paths of all requests for keys so far."""
        self.answers: dict[str, Callable[[], Answer]] = {DISCOVERY: self.discovery, JWKS: self.keys}

    @property
    def oidc(self) -> rf.OIDC:
        """What goes into `App(auth=[...])`."""
        return rf.OIDC(self.url, application_id="app")

    def discovery(self) -> Answer:
        """The discovery document."""
        return said({"issuer": self.url, "jwks_uri": self.url + JWKS, "response_types_supported": ["id_token"]})

    def keys(self) -> Answer:
        """The keys that are published now."""
        return Answer(200, self.issuer.jwks(), {"content-type": "application/json"})

    def token(self, *, do: str = "", subject: str = "ann", **numbers: str) -> Answer:
        """What a sign-in page would do for a client: a token. First it may do what else is told to happen."""
        match do:
            case "rotate":
                self.issuer.rotate(keep=0)
            case "down":
                self.down()
            case "up":
                self.up()
            case _:
                pass
        age = float(numbers.get("age", 0))
        lifetime = float(numbers.get("lifetime", 3600))
        claims = {"jti": str(self._minted), "iat": None if "ageless" in numbers else time.time() - age}
        self._minted += 1
        return said({"token": self.issuer.token(subject, lifetime=lifetime, **claims)})

    def down(self) -> None:
        """From now on it has a fault."""
        self.answers = {path: lambda: said({"error": "down"}, 503) for path in (DISCOVERY, JWKS)}

    def up(self) -> None:
        """It is well again."""
        self.answers = {DISCOVERY: self.discovery, JWKS: self.keys}


def said(value: object, status: int = 200, **headers: str) -> Answer:
    """A JSON answer."""
    return Answer(status, json.dumps(value).encode(), {"content-type": "application/json", **headers})


@contextmanager
def local_provider(algorithm: Algorithm = "RS256") -> Generator[LocalProvider, None, None]:
    """A provider until the context ends."""
    found: list[LocalProvider] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            provider = found[0]
            path, _, query = self.path.partition("?")
            if path == TOKEN:
                answer = provider.token(**dict(parse_qsl(query)))
            else:
                provider.asked.append(path)
                answer = provider.answers.get(path, lambda: said({}, 404))()
            self.send_response(answer.status)
            for name, value in {**answer.headers, "content-length": str(len(answer.body))}.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                self.wfile.write(answer.body)
            except OSError:  # who asked did not want to hear so much
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.append(LocalProvider(f"http://127.0.0.1:{server.server_port}", algorithm))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield found[0]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
