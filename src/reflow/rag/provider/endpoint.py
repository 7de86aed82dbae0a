"""One address of a provider of models: requests in turn, tried again where that may help, with a key nobody sees."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from copy import copy
from random import Random
from time import monotonic, time
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypeVar
from urllib.parse import urlsplit

import msgspec

from reflow import Secret
from reflow.errors import InvalidValue, ProviderError
from reflow.limits import DEFAULT, Limits
from reflow.rag.provider import connections
from reflow.rag.provider.attempts import Attempts
from reflow.rag.provider.events import EventReader
from reflow.rag.provider.failures import Garbage, failure, scrubbed
from reflow.rag.provider.limiter import Limiter, LimiterStats, limiter_of
from reflow.rag.provider.retry_after import retry_after

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

_ERROR_BYTES = 64 << 10
"""What is read of a response that is an error."""


class Answered(NamedTuple, Generic[T]):
    """What a request brought, and what it took."""

    value: T
    milliseconds: float
    """Time in requests, all tries together, without waits between them."""
    retries: int


class Endpoint:
    """An address that takes JSON by POST, such as https://api.openai.com/v1/embeddings.

    `key` goes into the header `key_header`; nothing shows it: no error, log or repr. Without one, `variable` names the
    variable that holds it: of those given to `configured`, else of the process. `provider` is the name in messages.
    `concurrency` bounds the requests under way at once, for all users of this address and key in the process
    (`limits.model_requests` by default); when several state it, the smallest holds.

    A request is made up to `limits.model_attempts` times: again after 408, 409, 429, 5xx, failed or broken connections
    and replies that make no sense, as the response's `x-should-retry` says where it has it. Pauses double, shortened
    by up to half at random, unless the response asks for one by `retry-after-ms` or `retry-after`; then all users of
    the key wait. When more than `limits.model_pause_seconds` of pauses would come together, ProviderBusy says how long.
    """

    def __init__(
        self,
        url: str,
        key: Secret | str | None = None,
        *,
        provider: str,
        variable: str | None = None,
        key_header: str = "authorization",
        headers: Mapping[str, str] | None = None,
        concurrency: int | None = None,
        limits: Limits = DEFAULT,
        rng: Random | None = None,
    ) -> None:
        """Raises InvalidValue for an address that can't be one. `headers` are sent along and are no secret."""
        self.url = _checked(url)
        self.provider = provider
        self.variable = variable
        self.limits = limits
        self.concurrency = limits.model_requests if concurrency is None else concurrency
        if self.concurrency < 1:
            raise InvalidValue(f"concurrency is at least 1, got {concurrency}")
        self._key_header = key_header
        self._headers = dict(headers or {})
        self._rng = rng or Random()
        self._key = _sendable(key, provider)
        self._given = self._key is not None
        self._limiter: Limiter | None = None
        self._latest: Endpoint | None = None
        """What `configured` made last."""

    def __repr__(self) -> str:
        return f"Endpoint({self.url!r})"

    @property
    def needs(self) -> tuple[str, ...]:
        """The variable that has to hold the key, where none was given."""
        return () if self._given or self.variable is None else (self.variable,)

    def configured(self, variables: Mapping[str, str]) -> Endpoint:
        """This endpoint with the key from variables, such as `ctx.env`; itself where it needs none of them.

        As long as the key is the same, so is what this returns: turns and pauses go on from one call to the next.
        """
        for name in self.needs:
            key = _sendable(variables.get(name), self.provider)
            if key is not None:
                if self._latest is None or self._latest._key != key:
                    self._latest = self.with_key(key)
                return self._latest
        return self

    def with_key(self, key: Secret | str) -> Endpoint:
        """This endpoint with another key."""
        other = copy(self)
        other._key = _sendable(key, self.provider)
        other._given = other._key is not None
        other._limiter = other._latest = None
        return other

    @property
    def stats(self) -> LimiterStats:
        """The counters of the address and key (the one in use last), for all their users in the process."""
        if self._latest is not None and self._limiter is None:
            return self._latest.stats
        return LimiterStats() if self._limiter is None else self._limiter.stats

    async def post(self, body: Mapping[str, Any], read: Callable[[bytes], T], *, urgent: bool = False) -> Answered[T]:
        """What `read` makes of the reply; it raises Garbage for a reply that can't be right. Urgent requests go first.

        Raises ProviderError, ProviderBusy, Overloaded, and MissingExtra without `reflow[remote]`.
        """
        call = self._attempts(body, urgent)
        while True:
            try:
                async with call.turn():
                    value = await self._exchange(call, read)
                    call.succeeded()
                    return Answered(value, call.seconds * 1000, call.failures)
            except ProviderError as error:
                pause = call.failed(error)
            await asyncio.sleep(pause)

    @asynccontextmanager
    async def stream(self, body: Mapping[str, Any], *, urgent: bool = True) -> AsyncGenerator[AsyncIterator[str], None]:
        """The events of a streamed answer, their `data` as text, "[DONE]" included where the provider sends it.

        The request is made again until an answer begins; what breaks later raises ProviderError from the iterator.
        A stream can end early without an error: look whether what came is complete. Leaving the block closes the
        connection, so that the provider stops.
        """
        call = self._attempts(body, urgent)
        async with AsyncExitStack() as stack:
            response = await self._begin(call, stack)
            yield self._events(response)

    # Inside

    def _attempts(self, body: Mapping[str, Any], urgent: bool) -> Attempts:
        """The request with this body. Raises ProviderError for texts that can't be sent."""
        try:
            content = msgspec.json.encode(body)
        except UnicodeEncodeError:
            raise ProviderError(
                "a text holds half of a character (a lone surrogate): it can't be sent to any provider",
                "refused",
                input_refused=True,
            ) from None
        return Attempts(content, self._ready(), urgent=urgent, limits=self.limits, rng=self._rng)

    def _ready(self) -> Limiter:
        """The limiter, after a look for the key. Raises ProviderError."""
        if self._limiter is None:
            connections.require()
            if self.variable is not None and self._key is None:
                self._key = _sendable(os.environ.get(self.variable), self.provider)
                if self._key is None:
                    raise ProviderError(
                        f"{self.provider} needs a key: set {self.variable}, or give api_key=rf.Secret(...)", "key"
                    )
            parts = urlsplit(self.url)
            origin = f"{parts.scheme}://{parts.netloc}"
            self._limiter = limiter_of(self.url, origin, self._key, self.concurrency, self.limits)
        return self._limiter

    async def _exchange(self, call: Attempts, read: Callable[[bytes], T]) -> T:
        http = await connections.client(self.limits)
        with call.timed(), self._translated():
            async with asyncio.timeout(self.limits.model_request_seconds):
                response = await self._send(http, call.content)
                try:
                    if not response.is_success:
                        raise await self._failure(response)
                    return read(await self._body(response))
                finally:
                    await response.aclose()

    async def _begin(self, call: Attempts, stack: AsyncExitStack) -> httpx.Response:
        """The response of a stream; its turn and connection end with `stack`."""
        http = await connections.client(self.limits)
        while True:
            try:
                async with AsyncExitStack() as attempt:
                    await attempt.enter_async_context(call.turn())
                    with call.timed(), self._translated():
                        async with asyncio.timeout(self.limits.model_request_seconds):
                            response = await self._send(http, call.content)
                            attempt.push_async_callback(response.aclose)
                            if not response.is_success:
                                raise await self._failure(response)
                    call.succeeded()
                    await stack.enter_async_context(attempt.pop_all())
                    return response
            except ProviderError as error:
                pause = call.failed(error)
            await asyncio.sleep(pause)

    async def _events(self, response: httpx.Response) -> AsyncIterator[str]:
        limits = self.limits
        reader = EventReader(limits.model_event_bytes)
        pieces = response.aiter_bytes()
        ends = monotonic() + limits.model_stream_seconds
        total = 0
        while True:
            with self._translated():
                async with asyncio.timeout(min(limits.model_silent_seconds, ends - monotonic())):
                    piece = await anext(pieces, None)
                total += len(piece or b"")
                if total > limits.model_reply_bytes:
                    raise Garbage(f"more than {limits.model_reply_bytes} bytes (limits.model_reply_bytes)")
                events = list(reader.end() if piece is None else reader.feed(piece))
            for event in events:
                yield event
            if piece is None:
                return

    async def _send(self, http: httpx.AsyncClient, content: bytes) -> httpx.Response:
        """The response, its body not read yet."""
        import httpx

        request = http.build_request(
            "POST",
            self.url,
            content=content,
            headers={"content-type": "application/json"} | self._headers,
            timeout=httpx.Timeout(None, connect=self.limits.model_connect_seconds),
        )
        return await http.send(request, stream=True, auth=self._sign, follow_redirects=False)

    def _sign(self, request: httpx.Request) -> httpx.Request:
        """Puts the key into a request, at the last moment."""
        if self._key is not None:
            scheme = "Bearer " if self._key_header == "authorization" else ""
            request.headers[self._key_header] = scheme + self._key.reveal()
        return request

    async def _body(self, response: httpx.Response) -> bytes:
        body = bytearray()
        most = self.limits.model_reply_bytes
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) > most:
                raise Garbage(f"more than {most} bytes (limits.model_reply_bytes)")
        return bytes(body)

    async def _failure(self, response: httpx.Response) -> ProviderError:
        body = bytearray()
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) > _ERROR_BYTES:
                break
        headers = {name.lower(): text for name, text in response.headers.items()}
        asked = retry_after(headers, time())
        return failure(self.provider, response.status_code, headers, bytes(body), asked, self._key)

    @contextmanager
    def _translated(self) -> Generator[None, None, None]:
        """Raises ProviderError for whatever goes wrong on the way."""
        import httpx

        try:
            yield
        except TimeoutError:
            raise self._passing("did not answer in time", "unreachable") from None
        except Garbage as error:
            raise self._passing(f"answered {error}", "garbage") from None
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise self._passing(f"can't be reached at {self._host}: {error or 'no answer'}", "unreachable") from None
        except httpx.DecodingError:
            raise self._passing("answered what can't be unpacked", "garbage") from None
        except httpx.TransportError as error:
            raise self._passing(f"broke off: {error or type(error).__name__}", "broken") from None

    def _passing(self, what: str, reason: Literal["unreachable", "broken", "garbage"]) -> ProviderError:
        return ProviderError(f"{self.provider} {scrubbed(what, self._key)}", reason, retryable=True)

    @property
    def _host(self) -> str:
        return urlsplit(self.url).netloc


def _checked(url: str) -> str:
    """An address that a key can be sent to."""
    try:
        parts = urlsplit(url)
        port_fits = parts.port != 0
    except ValueError:
        raise InvalidValue("the address of a provider can't be read: write it like https://host/v1") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_fits or re.search(r"\s", url):
        raise InvalidValue("that is no address of a provider: write it like https://host/v1")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise InvalidValue("the address of a provider has no user, password, ? or # in it: give the key as api_key")
    return url


def _sendable(key: Secret | str | None, provider: str) -> Secret | None:
    """A key that fits into a header; None for an empty one."""
    secret = key if isinstance(key, Secret) else Secret(key or "")
    if not secret.reveal().strip():
        return None
    if not _fits(secret.reveal().strip()):
        raise ProviderError(f"the key for {provider} holds characters that no key has: copy it again", "key")
    return Secret(secret.reveal().strip())


def _fits(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text
