"""Fetching what an address shows, for others and from strangers: bounded in place, size and time."""

from __future__ import annotations

import asyncio
import ssl
import time
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from reflow.errors import FetchError, MissingExtra, UnreadableSource
from reflow.limits import DEFAULT, Limits
from reflow.rag.provider.retry_after import retry_after
from reflow.rag.reading.addresses import Address, parse
from reflow.rag.reading.kinds import media_type, refuse_type

if TYPE_CHECKING:
    import httpcore

    from reflow.rag.reading.guarded import Resolve

_HEADERS = {
    "user-agent": "reflow",
    "accept": "text/html, text/*;q=0.9, application/pdf;q=0.9, */*;q=0.5",
    "accept-encoding": "gzip",
    "connection": "close",
}
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_FOR_NOW = frozenset((408, 425, 429, 500, 502, 503, 504))
_GZIP_BITS = 31


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What an address showed: `url` is where it was in the end, after redirects."""

    data: bytes
    content_type: str | None
    url: str


async def fetch(
    url: str, *, allow_private: bool = False, limits: Limits = DEFAULT, resolve: Resolve | None = None
) -> Fetched:
    """Gets what an http or https address shows.

    Only hosts of the public internet are asked, at each step of a redirect anew; `allow_private` lets it reach this
    machine and private networks, for tests and intranets whose users may all see them. `resolve` finds the addresses
    of a host, in place of the system.

    Raises FetchError where there is nothing to get now (see its `retryable`) or ever; UnreadableSource where what is
    there is larger than limits.source_bytes or of a type without text; MissingExtra without `reflow[documents]`.
    """
    try:
        import httpcore

        from reflow.rag.reading.guarded import GuardedNetwork, system_addresses
    except ImportError as error:
        raise MissingExtra("fetching needs the package httpcore: install `reflow[documents]`") from error
    network = GuardedNetwork(resolve or system_addresses, allow_private=allow_private)
    address = parse(url, any_port=allow_private)
    try:
        async with (
            asyncio.timeout(limits.fetch_seconds),
            httpcore.AsyncConnectionPool(network_backend=network) as pool,
        ):
            for _ in range(limits.fetch_redirects + 1):
                found = await _step(pool, address, limits)
                if isinstance(found, Fetched):
                    return found
                address = _led_to(address, found, any_port=allow_private)
    except TimeoutError:
        raise FetchError(
            f"{url} takes longer than limits.fetch_seconds = {limits.fetch_seconds:g}", retryable=True
        ) from None
    except httpcore.TimeoutException:
        raise FetchError(
            f"{address.url} sends nothing for limits.fetch_idle_seconds = {limits.fetch_idle_seconds:g}", retryable=True
        ) from None
    except (httpcore.NetworkError, httpcore.ProtocolError) as error:
        certificate = _certificate_error(error)
        why = f"its certificate is not trusted: {certificate}" if certificate else str(error) or type(error).__name__
        raise FetchError(f"{address.url} can't be fetched: {why}", retryable=certificate is None) from None
    raise FetchError(
        f"{url} redirects more than limits.fetch_redirects = {limits.fetch_redirects} times", retryable=False
    )


def _led_to(address: Address, location: str, *, any_port: bool) -> Address:
    try:
        url = urljoin(address.url, location.strip().replace(" ", "%20"))
    except ValueError:
        raise FetchError(
            f"{address.url} redirects to what is no address: {location[:200]!r}", retryable=False
        ) from None
    following = parse(url, any_port=any_port)
    if address.scheme == "https" and following.scheme == "http":
        raise FetchError(
            f"{address.url} redirects to {following.url}, which anybody on the way can change", retryable=False
        )
    return following


def _certificate_error(error: BaseException) -> str | None:
    """What TLS says against the certificate, if that was the failure."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return cause.verify_message
        cause = cause.__cause__ or cause.__context__
    return None


async def _step(pool: httpcore.AsyncConnectionPool, address: Address, limits: Limits) -> Fetched | str:
    """What an address shows, or where it leads."""
    import httpcore

    idle = limits.fetch_idle_seconds
    async with pool.stream(
        "GET",
        httpcore.URL(
            scheme=address.scheme.encode(),
            host=address.host.encode(),
            port=None if address.default_port else address.port,
            target=address.target.encode(),
        ),
        headers={**_HEADERS, "host": address.authority},
        extensions={"timeout": {"connect": idle, "read": idle, "write": idle, "pool": idle}},
    ) as response:
        headers = {name.decode("latin-1").lower(): value.decode("utf-8", "replace") for name, value in response.headers}
        if response.status in _REDIRECTS and headers.get("location"):
            return headers["location"]
        if response.status != 200:
            raise FetchError(
                f"{address.url} answers {response.status}",
                retryable=response.status in _FOR_NOW,
                retry_after=retry_after(headers, time.time()),
            )
        content_type = headers.get("content-type")
        refuse_type(address.url, media_type(content_type))
        data = await _body(response.aiter_stream(), address, headers, limits)
    return Fetched(data=data, content_type=content_type, url=address.url)


async def _body(chunks: AsyncIterator[bytes], address: Address, headers: dict[str, str], limits: Limits) -> bytes:
    """The body, unpacked, as far as it stays within limits.source_bytes."""
    length = headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length) > limits.source_bytes:
        raise _too_large(address, limits)
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "", "gzip", "x-gzip"):
        raise FetchError(f"{address.url} is packed as {encoding!r}, which was not asked for", retryable=False)
    unpacker = zlib.decompressobj(_GZIP_BITS) if "gzip" in encoding else None
    data, received = bytearray(), 0
    async for chunk in chunks:
        received += len(chunk)
        if unpacker is None:
            data += chunk
        else:
            try:
                data += unpacker.decompress(chunk, limits.source_bytes - len(data) + 1)
            except zlib.error as error:
                raise FetchError(f"{address.url} is packed wrongly ({error})", retryable=True) from None
        if max(len(data), received) > limits.source_bytes:
            raise _too_large(address, limits)
    if unpacker is not None and not unpacker.eof:
        raise FetchError(f"{address.url} ends before all of it is there", retryable=True)
    return bytes(data)


def _too_large(address: Address, limits: Limits) -> UnreadableSource:
    return UnreadableSource(
        "too_large", f"{address.url} is larger than limits.source_bytes = {limits.source_bytes}: split it up"
    )
