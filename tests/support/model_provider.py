"""A provider of models on this machine: embeddings, chat and reranking over HTTP, with faults on demand.

    with model_provider() as provider:
        embedder = OpenAICompatible(base_url=provider.url, api_key=provider.key, model="test-embed")
        provider.next("429-ms", "reset")          # what the next two requests meet, whichever come
        provider.storm = Storm(seed=1, rate=0.3)  # or random faults, repeatable by their seed
        provider.refused.add("poison")            # requests with a text that has this in it get a 400
        ...
        assert provider.most_in_flight <= 4
        assert provider.delivered["some text"] == 1

It is a real server in a thread: processes may use `provider.url` as well. What it speaks:

    POST /v1/embeddings         OpenAI's (`dimensions`, `encoding_format`), Voyage's (`input_type`, `output_dimension`)
    POST /v1/chat/completions   OpenAI's, plain and streamed (`stream_options.include_usage`)
    POST /v2/embed, /v2/rerank  Cohere's
    POST /v1/rerank             Voyage's
    POST /api/embed             Ollama's
    GET  /v1/models             OpenAI's

Base URLs: `provider.url` ends in /v1, `provider.root` has no path. Vectors are unit length and depend on the text's
words alone, so texts that share words are near each other: `provider.vector(text)` gives the one it sends. Models whose
name begins with "missing" are unknown (404). A wrong key is a 401. A chat answers what `provider.answer(messages)`
returns, by default the last message's words again.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import socket
import struct
import threading
import zlib
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from time import monotonic
from typing import Any

import numpy as np

from tests.support.model_faults import REFUSALS, Fault, Reply, Storm, error, refusal, reply, spoil

__all__ = ["Call", "Fault", "ModelProvider", "Storm", "model_provider"]

KEY = "sk-test-0123456789abcdef"
_TOKEN = re.compile(r"\w+|[^\w\s]")
_HUGE = 80 << 20
_STATUS = {200: "OK", 307: "Temporary Redirect", 400: "Bad Request", 404: "Not Found", 429: "Too Many Requests"}


@dataclass(kw_only=True)
class Call:
    """One request."""

    path: str
    body: dict[str, Any]
    """What was asked, decoded."""
    texts: list[str]
    """What was to be embedded or ranked, or the contents of a chat's messages."""
    authorized: bool
    headers: dict[str, str]
    started: float
    """time.monotonic() when the request was read; `ended` when the reply was ready or the client had left."""
    ended: float | None = None
    fault: Fault | None = None
    status: int | None = None
    """None if no response was begun."""
    left: bool = False
    """The client closed the connection before the reply was complete."""


@dataclass(eq=False, kw_only=True)
class ModelProvider:
    """The server's state. The attributes may be changed at any time, from any thread."""

    root: str
    key: str = KEY
    dims: int = 32
    storm: Storm | None = None
    wait_seconds: float = 0.02
    """What refusals ask to wait; whole seconds and dates round it up."""
    seconds: float = 0.0
    """How long every request takes."""
    slow_seconds: float = 0.5
    """How long the fault "slow" takes."""
    token_seconds: float = 0.0
    """Pause between two words of a streamed chat."""
    max_texts: int = 2048
    """Requests with more texts get a 400."""
    max_tokens: int | None = None
    """Requests with more tokens get a 400."""
    max_tokens_per_text: int | None = None
    refused: set[str] = field(default_factory=set[str])
    """Requests with a text that contains one of these get a 400."""
    answer: Callable[[list[dict[str, Any]]], str] = lambda messages: str(messages[-1]["content"])
    calls: list[Call] = field(default_factory=list[Call])
    in_flight: int = 0
    most_in_flight: int = 0
    worked: Counter[str] = field(default_factory=Counter[str])
    """How often each text was embedded, whether or not the vector arrived."""
    delivered: Counter[str] = field(default_factory=Counter[str])
    """How often the right vector of each text was sent in full."""
    _script: deque[Fault | None] = field(default_factory=deque["Fault | None"])
    _attempts: Counter[str] = field(default_factory=Counter[str])

    @property
    def url(self) -> str:
        """The base URL of what speaks OpenAI's and Voyage's format."""
        return f"{self.root}/v1"

    def next(self, *faults: Fault | None) -> None:
        """What the coming requests meet, one each, before any storm; None is no fault."""
        self._script.extend(faults)

    def vector(self, text: str, dims: int | None = None) -> list[float]:
        """The vector of a text, unit length."""
        words = _TOKEN.findall(text.lower()) or [""]
        total = np.sum([_word_vector(word, dims or self.dims) for word in words], axis=0)
        return (total / np.linalg.norm(total)).tolist()

    @staticmethod
    def tokens(text: str) -> int:
        """The tokens of a text: its words and signs."""
        return len(_TOKEN.findall(text))

    # Inside

    def fault_of(self, call: Call) -> Fault | None:
        """What this request meets."""
        if self._script:
            return self._script.popleft()
        if self.storm is None:
            return None
        content = "\x00".join(call.texts)
        self._attempts[content] += 1
        return self.storm.fault(content, self._attempts[content])

    def objection(self, call: Call) -> Reply | None:
        """The response to a request that is wrong in itself."""
        if not call.authorized:
            return error(401, f"Incorrect API key provided: {call.headers.get('authorization')}", "invalid_api_key")
        model = call.body.get("model")
        if call.path.startswith(("/v1/", "/v2/", "/api/")) and (
            not isinstance(model, str) or model.startswith("missing")
        ):
            return error(404, f"The model {model!r} does not exist", "model_not_found")
        counts = [self.tokens(text) for text in call.texts]
        if len(call.texts) > self.max_texts or (self.max_tokens is not None and sum(counts) > self.max_tokens):
            return error(400, f"{len(call.texts)} inputs with {sum(counts)} tokens are too many", "too_many_tokens")
        if any(not text for text in call.texts) and "embed" in call.path:
            return error(400, "'$.input' is invalid: an input is empty")
        if self.max_tokens_per_text is not None and max(counts, default=0) > self.max_tokens_per_text:
            return error(400, "This model's maximum context length is exceeded", "context_length_exceeded")
        if any(bad in text for text in call.texts for bad in self.refused):
            return error(400, "An input can't be embedded")
        return None

    def work(self, call: Call) -> dict[str, Any] | None:
        """The right response of everything but a stream; None for addresses that are not there."""
        match call.path:
            case "/v1/embeddings":
                return self._embeddings(call)
            case "/v2/embed":
                return self._cohere(call)
            case "/api/embed":
                return self._ollama(call)
            case "/v2/rerank" | "/v1/rerank":
                return self._rerank(call)
            case "/v1/chat/completions":
                return self._completion(call)
            case _:
                return None

    def _embeddings(self, call: Call) -> dict[str, Any]:
        self.worked.update(call.texts)
        dims = call.body.get("dimensions") or call.body.get("output_dimension")
        vectors: list[Any] = [self.vector(text, dims) for text in call.texts]
        if call.body.get("encoding_format") == "base64":
            vectors = [base64.b64encode(np.array(vector, "<f4").tobytes()).decode() for vector in vectors]
        used = sum(map(self.tokens, call.texts))
        return {
            "object": "list",
            "data": [{"object": "embedding", "index": n, "embedding": v} for n, v in enumerate(vectors)],
            "model": call.body["model"],
            "usage": {"prompt_tokens": used, "total_tokens": used},
        }

    def _cohere(self, call: Call) -> dict[str, Any]:
        self.worked.update(call.texts)
        dims = call.body.get("output_dimension")
        return {
            "id": "embedding-1",
            "embeddings": {"float": [self.vector(text, dims) for text in call.texts]},
            "texts": call.texts,
            "meta": {"billed_units": {"input_tokens": sum(map(self.tokens, call.texts))}},
        }

    def _ollama(self, call: Call) -> dict[str, Any]:
        self.worked.update(call.texts)
        dims = call.body.get("dimensions")
        vectors = [self.vector(text, dims) for text in call.texts]
        used = sum(map(self.tokens, call.texts))
        return {"model": call.body["model"], "embeddings": vectors, "prompt_eval_count": used}

    def _rerank(self, call: Call) -> dict[str, Any]:
        wanted = np.array(self.vector(call.body["query"]))
        scores = [float(wanted @ self.vector(text)) for text in call.body["documents"]]
        best = sorted(range(len(scores)), key=lambda n: -scores[n])[: call.body.get("top_n") or call.body.get("top_k")]
        ranked = [{"index": n, "relevance_score": scores[n]} for n in best]
        if call.path == "/v1/rerank":
            return {"object": "list", "data": ranked, "usage": {"total_tokens": sum(map(self.tokens, call.texts))}}
        return {"id": "rerank-1", "results": ranked, "meta": {"billed_units": {"search_units": 1}}}

    def words(self, call: Call) -> tuple[list[str], str]:
        """The words of a chat's answer, and why it ends: "stop", or "length" where `max_tokens` is reached."""
        words = re.findall(r"\S+\s*", self.answer(call.body["messages"]))
        most = call.body.get("max_tokens") or call.body.get("max_completion_tokens")
        return (words[:most], "length") if most is not None and len(words) > most else (words, "stop")

    def usage(self, call: Call, words: Sequence[str]) -> dict[str, int]:
        """The tokens of a chat."""
        prompt = sum(map(self.tokens, call.texts))
        return {"prompt_tokens": prompt, "completion_tokens": len(words), "total_tokens": prompt + len(words)}

    def _completion(self, call: Call) -> dict[str, Any]:
        words, reason = self.words(call)
        message = {"role": "assistant", "content": "".join(words)}
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "model": call.body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": reason}],
            "usage": self.usage(call, words),
        }


@contextmanager
def model_provider(**settings: Any) -> Generator[ModelProvider, None, None]:
    """A provider until the context ends; `settings` are fields of ModelProvider."""
    loop = asyncio.new_event_loop()
    started: threading.Event = threading.Event()
    found: list[ModelProvider] = []

    async def main(ended: asyncio.Event) -> None:
        tasks = set[asyncio.Task[None]]()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(_Connection(found[0], reader, writer).serve())
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=64 << 20)
        found.append(ModelProvider(root=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", **settings))
        started.set()
        await ended.wait()
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()

    ended = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(main(ended),))
    thread.start()
    started.wait()
    try:
        yield found[0]
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()


@lru_cache(maxsize=1 << 16)
def _word_vector(word: str, dims: int) -> Any:
    return np.random.default_rng(zlib.crc32(word.encode())).standard_normal(dims)


class _Left(Exception):
    """The client has closed the connection."""


class _Connection:
    """Requests of one client, one after another."""

    def __init__(self, provider: ModelProvider, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.provider = provider
        self.reader = reader
        self.writer = writer

    async def serve(self) -> None:
        """Answers until either side closes."""
        try:
            while (call := await self._read()) is not None and await self._answer(call):
                pass
        except (_Left, OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.writer.transport.abort()

    async def _read(self) -> Call | None:
        try:
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.IncompleteReadError:
            return None
        first, *lines = head.split("\r\n")
        pairs = (line.partition(":") for line in lines if line)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        data = await self.reader.readexactly(int(headers.get("content-length", "0")))
        body = json.loads(data) if data else {"model": ""}
        return Call(
            path=first.split()[1].partition("?")[0],
            body=body,
            texts=_texts(body),
            authorized=headers.get("authorization") == f"Bearer {self.provider.key}",
            headers=headers,
            started=monotonic(),
        )

    async def _answer(self, call: Call) -> bool:
        """Whether the connection goes on."""
        provider = self.provider
        provider.calls.append(call)
        provider.in_flight += 1
        provider.most_in_flight = max(provider.most_in_flight, provider.in_flight)
        try:
            call.fault = provider.fault_of(call)
            return await self._meet(call)
        except (_Left, OSError):
            call.left = True
            raise
        finally:
            self._ended(call)

    def _ended(self, call: Call) -> None:
        """Before the last byte leaves: the client may ask again as soon as it has it."""
        if call.ended is None:
            call.ended = monotonic()
            self.provider.in_flight -= 1

    async def _meet(self, call: Call) -> bool:
        provider, fault = self.provider, call.fault
        await self._pause(provider.seconds + (provider.slow_seconds if fault == "slow" else 0))
        if fault == "hang":
            await self._pause(None)
        if fault == "reset":
            return self._reset()
        if fault in REFUSALS:
            return await self._send(call, refusal(fault, provider.wait_seconds))
        if call.path == "/v1/models":
            return await self._send(call, reply(200, {"object": "list", "data": [{"id": "test-embed"}]}))
        if (objection := provider.objection(call)) is not None:
            return await self._send(call, objection)
        if call.path == "/v1/chat/completions" and call.body.get("stream"):
            return await self._stream(call)
        value = provider.work(call)
        if value is None:
            return await self._send(call, error(404, f"Invalid URL ({call.path})"))
        if fault == "reset-after":
            return self._reset()
        return await self._send_value(call, value)

    async def _send_value(self, call: Call, value: dict[str, Any]) -> bool:
        if call.fault == "huge":
            return await self._send(call, reply(200, {**value, "padding": "x" * _HUGE}))
        spoiled = value if call.fault is None else spoil(call.fault, value)
        if (spoiled == value and call.fault != "cut") or call.fault in ("shuffled", "not-normalized", "no-usage"):
            self.provider.delivered.update(call.texts if "/embed" in call.path else ())
        if isinstance(spoiled, bytes):
            return await self._send(call, Reply(200, spoiled, {"content-type": "text/plain"}))
        return await self._send(call, reply(200, spoiled))

    async def _send(self, call: Call, response: Reply) -> bool:
        lines = {**response.headers, "content-length": str(len(response.body))}
        call.status = response.status
        cut = call.fault == "cut"
        body = response.body[: len(response.body) // 2] if cut else response.body
        self._ended(call)
        await self._write(_head(response.status, lines) + body)
        return not cut

    # Streams

    async def _stream(self, call: Call) -> bool:
        call.status = 200
        headers = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
        await self._write(_head(200, headers))
        pending = b""
        async for data in self._events(call):
            if call.fault != "stream-split":
                await self._write(_chunk(data))
                continue
            pending += b": still here\r\n\r\n" + data.replace(b"\n", b"\r\n")
            while len(pending) >= 3:
                await self._write(_chunk(pending[:3]))
                pending = pending[3:]
        if call.fault == "stream-cut":
            return False
        self._ended(call)
        await self._write((_chunk(pending) if pending else b"") + b"0\r\n\r\n")
        return True

    async def _events(self, call: Call) -> AsyncIterator[bytes]:
        provider, fault = self.provider, call.fault
        words, reason = provider.words(call)
        if fault == "stream-empty":
            words = []
        for n, word in enumerate(words):
            if fault == "stream-error" and n == len(words) // 2:
                yield _event({"error": {"message": "The server had an error", "type": "server_error"}})
                return
            if fault == "stream-garbage" and n == len(words) // 2:
                yield b"data: {upstream\n\n"
                return
            if fault == "stream-cut" and n == len(words) // 2:
                return
            if fault == "stream-stall" and n == len(words) // 2:
                await self._pause(None)
            yield _event(_delta(call, {"content": word} if n else {"role": "assistant", "content": word}))
            await self._pause(provider.token_seconds)
        if fault != "stream-empty":
            yield _event(_delta(call, {}, reason))
            if (call.body.get("stream_options") or {}).get("include_usage"):
                yield _event({**_delta(call, {}), "choices": [], "usage": provider.usage(call, words)})
        yield b"data: [DONE]\n\n"

    # The connection

    async def _pause(self, seconds: float | None) -> None:
        """Waits, for ever without a number, unless the client leaves: raises _Left then."""
        if seconds == 0:
            return
        # A client that waits for its answer sends nothing, so a byte is the end of the connection.
        if await _within(self.reader.read(1), seconds) is not None:
            raise _Left

    def _reset(self) -> bool:
        """Has the connection end with a reset instead of an orderly end."""
        handle: socket.socket = self.writer.get_extra_info("socket")
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False

    async def _write(self, data: bytes) -> None:
        if self.reader.at_eof():
            raise _Left
        self.writer.write(data)
        await self.writer.drain()


async def _within(read: Coroutine[Any, Any, bytes], seconds: float | None) -> bytes | None:
    try:
        return await asyncio.wait_for(read, seconds)
    except TimeoutError:
        return None


def _texts(body: dict[str, Any]) -> list[str]:
    given = body.get("input") or body.get("texts") or body.get("documents")
    if given is None:
        return [str(message.get("content")) for message in body.get("messages", [])]
    return [given] if isinstance(given, str) else list(given)


def _head(status: int, headers: dict[str, str]) -> bytes:
    first = f"HTTP/1.1 {status} {_STATUS.get(status, 'Status')}"
    return "\r\n".join([first, *map(": ".join, headers.items()), "", ""]).encode("latin-1")


def _chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


def _delta(call: Call, delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return {
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "model": call.body["model"], "choices": [choice],
    }  # fmt: skip
