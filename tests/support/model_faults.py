"""What goes wrong at a provider of models: single faults by name, and storms of them that a seed repeats."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import formatdate
from time import time
from typing import Any, Literal, NamedTuple, get_args

Refusal = Literal[
    "429-ms", "429-seconds", "429-float", "429-date", "429-bare", "429-garbage", "429-past", "429-long", "429-final",
    "quota", "408", "409", "500", "502", "503", "503-seconds", "500-final", "400", "401", "403", "404", "413", "422",
    "redirect",
]  # fmt: skip
"""The request is answered with an error, in JSON or not, and no work is done. "429-…" name the form of Retry-After:
`retry-after-ms`, whole seconds, a float, an HTTP date, none, "soon", a date long past, 3600 s; "429-final" says
`x-should-retry: false`, as "500-final" does; "quota" is a 429 with insufficient_quota. "redirect" leads to another
host."""

Breakage = Literal["reset", "reset-after", "cut", "hang", "huge"]
"""The connection: reset before the work, or after it; half of the reply and then the end; no reply ever (it ends when
the client leaves); a reply of 80 MB."""

Garbage = Literal[
    "not-json", "wrong-shape", "array", "null", "short", "long", "empty", "duplicate-index", "no-index", "far-index",
    "wrong-dims", "ragged", "nan", "infinite", "overflow", "text-vector", "null-vector", "zero", "bad-base64",
]  # fmt: skip
"""Status 200 and nonsense. "overflow" is a number that float32 can't hold."""

Oddity = Literal["shuffled", "not-normalized", "slow", "no-usage"]
"""Unusual and right: vectors in another order (with their index), vectors of other lengths, a reply that takes
`slow_seconds`, no usage."""

StreamFault = Literal["stream-cut", "stream-error", "stream-garbage", "stream-stall", "stream-split", "stream-empty"]
"""A streamed chat: the connection ends in the middle; an error object in the middle; a data line that is no JSON; no
further word until the client leaves; the bytes cut at every third, with CRLF and comments (which is right); only
[DONE]."""

Fault = Refusal | Breakage | Garbage | Oddity | StreamFault

REFUSALS: tuple[Refusal, ...] = get_args(Refusal)
GARBAGE: tuple[Garbage, ...] = get_args(Garbage)
TRANSIENT: tuple[Fault, ...] = (
    "429-ms", "429-seconds", "429-float", "429-date", "429-bare", "429-garbage", "429-past", "500", "502", "503",
    "503-seconds", "408", "409", "reset", "reset-after", "cut", "not-json", "wrong-shape", "short", "long",
    "duplicate-index", "wrong-dims", "nan", "zero", "shuffled",
)  # fmt: skip
"""After these the same request may succeed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Storm:
    """Random faults. What happens to a request depends on the seed, its texts and how often they came: on no order."""

    seed: int
    rate: float = 0.3
    """Share of requests that meet a fault."""
    faults: Sequence[Fault] = TRANSIENT

    def fault(self, content: str, attempt: int) -> Fault | None:
        """The fault that the request meets which brings this content for the n-th time."""
        rng = random.Random(f"{self.seed}:{attempt}:{content}")
        return rng.choice(self.faults) if rng.random() < self.rate else None


class Reply(NamedTuple):
    """An HTTP response as it will be sent."""

    status: int
    body: bytes
    headers: dict[str, str]


def reply(status: int, value: Any, **headers: str) -> Reply:
    """A JSON response; NaN and Infinity are written as Python writes them."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Reply(status, json.dumps(value).encode(), {"content-type": "application/json", **named})


def error(status: int, message: str, code: str | None = None, **headers: str) -> Reply:
    """An error as OpenAI words it; the `message` beside it is what Cohere has."""
    inner = {"message": message, "type": "error", "param": None, "code": code}
    return reply(status, {"error": inner, "message": message}, **headers)


def refusal(fault: Refusal, wait: float) -> Reply:
    """The response of a refusal that asks to wait for `wait` seconds, where its form can say so."""
    status = 429 if fault == "quota" else 307 if fault == "redirect" else int(fault[:3])
    match fault:
        case "429-ms":
            return error(status, "Rate limit reached", "rate_limit_exceeded", retry_after_ms=f"{wait * 1000:g}")
        case "429-seconds" | "503-seconds":
            return error(status, "Rate limit reached", "rate_limit_exceeded", retry_after=str(math.ceil(wait)))
        case "429-float":
            return error(status, "Rate limit reached", "rate_limit_exceeded", retry_after=f"{wait:g}")
        case "429-date":
            return error(status, "Rate limit reached", retry_after=formatdate(math.ceil(time() + wait), usegmt=True))
        case "429-garbage":
            return error(status, "Rate limit reached", retry_after="soon")
        case "429-past":
            return error(status, "Rate limit reached", retry_after="Wed, 21 Oct 2015 07:28:00 GMT")
        case "429-long":
            return error(status, "Rate limit reached", "rate_limit_exceeded", retry_after="3600")
        case "429-final" | "500-final":
            return error(status, "Do not come back", x_should_retry="false")
        case "quota":
            return error(status, "You exceeded your current quota, please check your plan", "insufficient_quota")
        case "502":
            return Reply(502, b"<html><h1>Bad gateway</h1></html>", {"content-type": "text/html"})
        case "redirect":
            return Reply(307, b"", {"location": "http://192.0.2.1/v1/embeddings"})
        case _:
            return error(status, f"This request was answered with {status}")


def spoil(fault: Fault, body: dict[str, Any]) -> Any:
    """What becomes of a right reply with vectors: of its JSON value, or bytes that are none."""
    vectors = _vectors_of(body)
    first = vectors[0] if vectors else []
    match fault:
        case "not-json":
            return b"upstream connect error"
        case "wrong-shape":
            return {"ok": True}
        case "array":
            return [1, 2, 3]
        case "null":
            return None
        case "short":
            return _with_vectors(body, vectors[:-1])
        case "long":
            return _with_vectors(body, [*vectors, first])
        case "empty":
            return _with_vectors(body, [])
        case "wrong-dims":
            return _with_vectors(body, [vector[:-1] if isinstance(vector, list) else vector[:-8] for vector in vectors])
        case "bad-base64":
            return _with_vectors(body, ["*not base64*", *vectors[1:]])
        case "null-vector":
            return _with_vectors(body, [None, *vectors[1:]])
        case "ragged" | "nan" | "infinite" | "overflow" | "text-vector" | "zero":
            return _with_vectors(body, [_bad_vector(fault, first), *vectors[1:]])
        case "duplicate-index" | "no-index" | "far-index" | "shuffled":
            return _reindexed(fault, body)
        case "not-normalized":
            return _with_vectors(body, [[x * (2.0 + n) for x in vector] for n, vector in enumerate(vectors)])
        case "no-usage":
            return {key: value for key, value in body.items() if key not in ("usage", "meta", "prompt_eval_count")}
        case _:
            return body


def _bad_vector(fault: Fault, vector: list[float]) -> list[Any]:
    dims = max(len(vector), 1)
    bad: dict[Fault, list[Any]] = {
        "ragged": [*vector, 0.5],
        "nan": [math.nan] * dims,
        "infinite": [math.inf] * dims,
        "overflow": [1e39] * dims,
        "text-vector": ["0.1"] * dims,
        "zero": [0.0] * dims,
    }
    return bad[fault]


def _vectors_of(body: dict[str, Any]) -> list[Any]:
    if "data" in body:
        return [item["embedding"] for item in body["data"]]
    found = body.get("embeddings", [])
    return found["float"] if isinstance(found, dict) else found


def _with_vectors(body: dict[str, Any], vectors: list[Any]) -> dict[str, Any]:
    if "data" in body:
        data = [{"object": "embedding", "index": n, "embedding": vector} for n, vector in enumerate(vectors)]
        return {**body, "data": data}
    return {**body, "embeddings": {"float": vectors} if isinstance(body["embeddings"], dict) else vectors}


def _reindexed(fault: Fault, body: dict[str, Any]) -> dict[str, Any]:
    """Only where a reply has indexes, as OpenAI's has."""
    data = [dict(item) for item in body.get("data", [])]
    if not data:
        return body
    match fault:
        case "duplicate-index":
            data[-1]["index"] = 0 if len(data) > 1 else 1
        case "far-index":
            data[-1]["index"] = 10**6
        case "no-index":
            del data[-1]["index"]
        case _:
            data.reverse()
    return {**body, "data": data}
