"""Which web pages may use a server: browsers name a page's origin, and send what any page asks for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from reflow.errors import DefinitionError
from reflow.server.http_errors import HttpError

_PROXY_HEADERS = (b"x-forwarded-for", b"forwarded")
"""What a reverse proxy adds. A page can't: a browser asks first whether it may send them, and is refused."""


class Origins:
    """The origins whose pages are served.

    `allowed` are those of `App(origins=...)`; pages of the server itself are served too. None: every page's, as on
    Convex, but for a server that listens on this machine's own address alone. That one is nobody's public server, yet
    every page that its owner visits could reach it; so it serves pages of this machine, and what comes through a proxy.

    A client that names no origin is no browser, and served.
    """

    def __init__(self, allowed: Iterable[str] | None = None) -> None:
        """Raises DefinitionError for what is no origin."""
        self._allowed = None if allowed is None else frozenset(map(_checked, allowed))
        self._wild = [urlsplit(origin) for origin in self._allowed or () if "://*." in origin]
        self._loopback = False

    def listen_at(self, host: str) -> None:
        """The server listens on this address."""
        self._loopback = _is_loopback(host)

    def check(self, headers: Mapping[bytes, bytes]) -> None:
        """Raises HttpError where a page asks that is not served."""
        origin = headers.get(b"origin")
        if origin is not None and not self._welcomes(origin.decode("latin-1").lower(), headers):
            raise HttpError(
                403,
                "ForbiddenOrigin",
                f"pages of {origin.decode('latin-1')[:200]} are not served here: name the origin in App(origins=[...])",
            )

    def _welcomes(self, origin: str, headers: Mapping[bytes, bytes]) -> bool:
        try:
            page = urlsplit(origin)
            local = _is_loopback(page.hostname or "")
        except ValueError:
            return False
        direct = self._loopback and not any(name in headers for name in _PROXY_HEADERS)
        if self._allowed is None:
            return local or not direct
        if "*" in self._allowed or origin in self._allowed or any(_matches(page, wild) for wild in self._wild):
            return True
        # A page of another name for this machine's address says that it is ours as well.
        own = bool(page.netloc) and page.netloc.encode("latin-1") == headers.get(b"host", b"").lower()
        return own and (local or not direct)


def _checked(origin: str) -> str:
    try:
        parts = urlsplit(origin)
        if origin == "*" or (parts.scheme and parts.hostname and f"{parts.scheme}://{parts.netloc}" == origin):
            return origin.lower()
    except ValueError:
        pass
    raise DefinitionError(
        f"{origin!r} is no origin: App(origins=[...]) takes 'https://example.org', 'http://localhost:5173', "
        "'https://*.example.org', or '*' for all; no path, no slash at the end"
    )


def _matches(page: SplitResult, wild: SplitResult) -> bool:
    host = wild.hostname or ""
    return page.scheme == wild.scheme and page.port == wild.port and (page.hostname or "").endswith(host[1:])


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
