"""The default embedder: a small model on this machine. No key, no network, no data leaves the process."""

from __future__ import annotations

import asyncio
import heapq
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import count
from math import ceil
from pathlib import Path
from threading import Lock
from time import thread_time
from typing import NamedTuple, ParamSpec, TypeVar

import numpy as np

from reflow.errors import EmbedderError, InvalidValue, Overloaded
from reflow.limits import DEFAULT, Limits
from reflow.rag.embedders import minilm, wordpiece
from reflow.rag.embedders.base import Kind, Vectors
from reflow.rag.embedders.minilm import MiniLM, Numerics

P = ParamSpec("P")
T = TypeVar("T")

_WINDOW = minilm.MAX_PIECES - 2
_WINDOW_OVERLAP = 32
_INLINE_CHARS = 2000
"""Texts up to this length together are cut into pieces on the event loop: a third of a millisecond."""


@dataclass(frozen=True, slots=True)
class EmbedderStats:
    """What an embedder has done so far."""

    texts: int = 0
    windowed_texts: int = 0
    """Texts longer than the model reads at once, which were embedded in several windows."""
    runs: int = 0
    """Calls of the model: one per text, or per window of a long one."""
    session_cpu_seconds: float = 0.0
    """Processor time inside the model's own session. Exact: a session runs in the calling thread alone (one
    intra-operation thread), so that thread's clock before and after the call tells it, whatever else runs."""


class _Job(NamedTuple):
    """Work in the queue: questions first, then in order of arrival."""

    priority: int
    number: int
    windows: Sequence[Sequence[int]]
    done: Future[Vectors]


class LocalEmbedder:
    """all-MiniLM-L6-v2: 384 dimensions, unit length, English, 256 word pieces at once.

    A longer text is never cut off: it is embedded in overlapping windows of equal length, and its vector is the
    normalised mean of theirs (`stats.windowed_texts` counts these). The same text always gets the same vector.

    The model is loaded on first use (a tenth of a second). It runs in up to two threads of its own; questions overtake
    documents. One embedder serves any number of calls and event loops.

    Raises MissingExtra without `reflow[local]`, EmbedderError for a wrong model file, Overloaded when more than
    `limits.embed_calls` calls wait.
    """

    id = "local/minilm-l6-v2"
    dims = minilm.DIMS
    normalized = True
    max_tokens: int | None = minilm.MAX_PIECES

    def __init__(
        self,
        *,
        model_path: str | Path | None = None,
        numerics: Numerics | None = None,
        threads: int | None = None,
        limits: Limits = DEFAULT,
    ) -> None:
        """`model_path`: the pinned model file, where its package is not installed. `numerics`: see `minilm`."""
        self._path = Path(model_path) if model_path is not None else None
        self._numerics: Numerics | None = numerics
        self._threads = threads or min(2, _processors())
        self._limits = limits
        self._workers = ThreadPoolExecutor(self._threads, thread_name_prefix="reflow-embed")
        self._lock = Lock()  # for all below
        self._loading = Lock()
        self._model: MiniLM | None = None
        self._queue: list[_Job] = []
        self._numbers = count()
        self._calls = 0
        self._closed = False
        self._stats = EmbedderStats()

    @property
    def revision(self) -> str:
        """Weights and arithmetic. The first access loads the model; `await load()` before does so off the loop."""
        return f"{self._load().numerics}-{minilm.SHA256[:12]}"

    @property
    def lacks(self) -> str | None:
        """What is not installed of what it needs, and what to do; None where nothing is known to be missing."""
        return minilm.lacking(self._path)

    @property
    def stats(self) -> EmbedderStats:
        """A copy of the counters."""
        with self._lock:
            return self._stats

    def count_tokens(self, text: str) -> int:
        """Word pieces, the two special ones included."""
        return len(_pieces(text)) + 2

    async def load(self) -> None:
        """Loads the model in a thread."""
        await asyncio.wrap_future(self._submit(self._load))

    async def embed(self, texts: Sequence[str], kind: Kind = "document") -> Vectors:
        """Unit vectors, shape (texts, 384). `kind` changes no vector: questions only go first."""
        if isinstance(texts, str):
            raise InvalidValue("embed() takes a list of texts, got a single string: put it into a list")
        self._enter()
        try:
            # Tokenizing much text on the event loop would hold up everything else.
            short = sum(map(len, texts)) <= _INLINE_CHARS
            plan = _plan(texts) if short else await asyncio.wrap_future(self._submit(_plan, texts))
            vectors = await self._run([window for windows in plan for window in windows], kind)
        finally:
            self._leave()
        windowed = sum(len(windows) > 1 for windows in plan)
        with self._lock:
            self._stats = replace(
                self._stats, texts=self._stats.texts + len(texts), windowed_texts=self._stats.windowed_texts + windowed
            )
        return _merge(vectors, [len(windows) for windows in plan]) if windowed else vectors

    def close(self) -> None:
        """Ends the threads. Waiting calls are cancelled, running ones finish."""
        with self._lock:
            self._closed = True
            waiting, self._queue = self._queue, []
        for job in waiting:
            job.done.cancel()
        self._workers.shutdown(wait=True, cancel_futures=True)

    # Inside

    def _load(self) -> MiniLM:
        with self._loading:
            if self._model is None:
                self._model = minilm.load(self._path, self._numerics)
            return self._model

    def _enter(self) -> None:
        with self._lock:
            if self._calls >= self._limits.embed_calls:
                raise Overloaded(
                    f"{self._calls} calls wait for the local embedder (limits.embed_calls): try again later, or embed"
                    " more texts per call"
                )
            self._calls += 1

    def _leave(self) -> None:
        with self._lock:
            self._calls -= 1

    def _submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        with self._lock:
            if self._closed:
                raise EmbedderError("The local embedder is closed: make another one")
            return self._workers.submit(function, *args, **kwargs)

    async def _run(self, windows: Sequence[Sequence[int]], kind: Kind) -> Vectors:
        """Embeds windows in the threads, with few jobs of this call in the queue at once."""
        parts: list[Vectors] = []
        waiting: deque[asyncio.Future[Vectors]] = deque()
        try:
            for slice_ in _slices(windows, self._limits.embed_job_pieces):
                if len(waiting) > self._threads:
                    parts.append(await waiting.popleft())
                waiting.append(asyncio.wrap_future(self._enqueue(slice_, kind)))
            while waiting:
                parts.append(await waiting.popleft())
        finally:
            for future in waiting:
                future.cancel()
        return np.concatenate([np.empty((0, self.dims), np.float32), *parts])

    def _enqueue(self, windows: Sequence[Sequence[int]], kind: Kind) -> Future[Vectors]:
        job = _Job(0 if kind == "query" else 1, next(self._numbers), windows, Future())
        with self._lock:
            heapq.heappush(self._queue, job)
        self._submit(self._work)
        return job.done

    def _work(self) -> None:
        """Does the first job of the queue, in a worker. Each job was submitted once, so there is one per call."""
        with self._lock:
            if not self._queue:
                return  # closed meanwhile
            job = heapq.heappop(self._queue)
        if not job.done.set_running_or_notify_cancel():
            return
        try:
            model = self._load()
            inputs = [model.prepare(window) for window in job.windows]
            start = thread_time()
            vectors = [model.run(ids) for ids in inputs]
            spent = thread_time() - start
        except BaseException as error:
            job.done.set_exception(error)
            return
        with self._lock:
            self._stats = replace(
                self._stats,
                runs=self._stats.runs + len(vectors),
                session_cpu_seconds=self._stats.session_cpu_seconds + spent,
            )
        job.done.set_result(np.array(vectors))


@lru_cache(maxsize=DEFAULT.cached_tokenizations)
def _pieces(text: str) -> Sequence[int]:
    """The word pieces of a text. Who embeds a text also wants to know how many there are."""
    return wordpiece.encode(text)


def _processors() -> int:
    """What this process may use, which can be less than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _plan(texts: Sequence[str]) -> list[list[Sequence[int]]]:
    """The windows of each text: its word pieces as one, or as several of the model's full length."""
    return [_windows(_pieces(text)) for text in texts]


def _windows(pieces: Sequence[int]) -> list[Sequence[int]]:
    if len(pieces) <= _WINDOW:
        return [pieces]
    steps = ceil((len(pieces) - _WINDOW) / (_WINDOW - _WINDOW_OVERLAP))
    starts = [number * (len(pieces) - _WINDOW) // steps for number in range(steps + 1)]
    return [pieces[start : start + _WINDOW] for start in starts]


def _slices(windows: Sequence[Sequence[int]], most: int) -> Iterator[list[Sequence[int]]]:
    """Cuts the work into jobs of about `most` pieces, so that a question never waits long."""
    job, size = list[Sequence[int]](), 0
    for window in windows:
        if job and size + len(window) > most:
            yield job
            job, size = [], 0
        job.append(window)
        size += len(window)
    if job:
        yield job


def _merge(vectors: Vectors, windows: Sequence[int]) -> Vectors:
    """One vector per text: that of its only window, or the normalised mean."""
    merged = np.empty((len(windows), vectors.shape[1]), np.float32)
    start = 0
    for number, length in enumerate(windows):
        mean = vectors[start] if length == 1 else vectors[start : start + length].mean(axis=0)
        merged[number] = mean if length == 1 else mean / np.linalg.norm(mean)
        start += length
    return merged
