"""The HTTP client: one per event loop, shared by all endpoints, closed when the loop ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib.util import find_spec
from ssl import SSLContext
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

from reflow.errors import MissingExtra
from reflow.limits import Limits

if TYPE_CHECKING:
    import httpx

IDLE_SECONDS = 30.0
"""An unused connection is closed after this time: providers close them after a minute or more."""


class _Held(NamedTuple):
    """A generator is what an event loop closes by itself at its end: no application has to do it for its embedders."""

    holder: AsyncGenerator[httpx.AsyncClient, None]
    client: httpx.AsyncClient


_HELD: WeakKeyDictionary[asyncio.AbstractEventLoop, _Held] = WeakKeyDictionary()


def require() -> None:
    """Raises MissingExtra without `reflow[remote]`."""
    if find_spec("httpx") is None:
        raise MissingExtra("Providers of models need another package: pip install 'reflow[remote]'")


async def client(limits: Limits) -> httpx.AsyncClient:
    """The running loop's client."""
    loop = asyncio.get_running_loop()
    if loop not in _HELD:
        # A third of a second the first time, which would hold up everything else on the loop.
        context = await asyncio.to_thread(_prepare)
        if loop not in _HELD:
            holder = _hold(loop, context, limits.model_connections)
            # This does not let others run, so nobody else makes one meanwhile.
            _HELD[loop] = _Held(holder, await anext(holder))
    return _HELD[loop].client


def _prepare() -> SSLContext:
    """Imports the library and reads the certificates."""
    import httpx

    return httpx.create_ssl_context()


async def _hold(
    loop: asyncio.AbstractEventLoop, context: SSLContext, kept: int
) -> AsyncGenerator[httpx.AsyncClient, None]:
    import httpx

    pool = httpx.Limits(max_connections=None, max_keepalive_connections=kept, keepalive_expiry=IDLE_SECONDS)
    # Cookies of one key's responses are nothing for another's requests.
    cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
    opened = httpx.AsyncClient(
        verify=context, limits=pool, cookies=cookies, follow_redirects=False, headers={"user-agent": "reflow"}
    )
    try:
        async with opened:
            yield opened
    finally:
        _HELD.pop(loop, None)
