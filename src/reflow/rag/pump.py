"""The run that embeds: batches of the sources whose turn it is, several under way at once, each saved as it comes.

It keeps nothing that matters in memory: what is to be done is read from the tables each time, so that a run that ends
in any way, by kill -9 too, is simply followed by another one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np

import reflow as rf
from reflow.errors import ProviderError, ReflowError
from reflow.rag.embedders.base import BatchEmbedder, Embedded
from reflow.rag.reembed import model_of
from reflow.rag.saving import Effort, Fault, Made
from reflow.rag.turns import Item

if TYPE_CHECKING:
    from reflow.rag.jobs import Jobs


class Run:
    """One run, of a bounded time. `embedders` are those whose vectors are written, with their models in order."""

    def __init__(self, jobs: Jobs, ctx: rf.ActionCtx, embedders: Sequence[BatchEmbedder]) -> None:
        self._jobs = jobs
        self._ctx = ctx
        self._embedders = embedders
        self._models = [model_of(embedder) for embedder in embedders]
        pace, limits = jobs.corpus.pace, jobs.corpus.limits
        self._most = pace.batch or min(embedder.max_batch for embedder in embedders)
        self._places = pace.concurrency or min(embedder.concurrency for embedder in embedders)
        self._poll = limits.embedding_poll_seconds
        self._end = monotonic() + limits.embedding_run_seconds
        self._under_way: dict[asyncio.Task[None], Sequence[Item]] = {}
        self._pause: tuple[float, str] | None = None
        """For how long the provider wants no request, in seconds, and why."""

    async def run(self) -> tuple[float, str] | None:
        """Works until nothing is left that is due, the time is over, or the provider asks for a pause: that is given
        back. What is under way then is waited for."""
        try:
            while self._goes_on() and (await self._fill() or self._under_way):
                free = self._goes_on() and len(self._under_way) < self._places
                await self._settle(self._poll if free else None)
            while self._under_way:
                await self._settle(None)
        finally:
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)
        return self._pause

    def _goes_on(self) -> bool:
        return self._pause is None and monotonic() < self._end

    async def _settle(self, timeout: float | None) -> None:
        """Waits for a batch to end, `timeout` seconds at most. Raises what it did."""
        if not self._under_way:
            return
        done, _ = await asyncio.wait(set(self._under_way), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            del self._under_way[task]
            task.result()

    async def _fill(self) -> bool:
        """Starts batches while places are free. False where nothing was there to be done."""
        found = False
        while self._goes_on() and len(self._under_way) < self._places:
            busy = [item.hash for items in self._under_way.values() for item in items]
            turn = await self._ctx.run_query(self._jobs.turn, self._models, busy, self._most)
            if turn.held:
                await self._ctx.run_mutation(self._jobs.hold, turn.held)
            known = set(turn.known)
            if known:
                await self._ctx.run_mutation(
                    self._jobs.save_known, self._models, [item for item in turn.items if item.id in known]
                )
            items = self._batch([item for item in turn.items if item.id not in known])
            if items:
                self._under_way[asyncio.create_task(self._embed(items), name="reflow-embedding")] = items
            if not items and not known:
                break
            found = True
        return found

    def _batch(self, items: Sequence[Item]) -> list[Item]:
        """As many as fit into one request."""
        bounds = [embedder.max_batch_tokens for embedder in self._embedders]
        bound = min((bound for bound in bounds if bound is not None), default=None)
        if bound is None:
            return list(items)
        batch: list[Item] = []
        size = 0
        for item in items:
            size += self._embedders[0].count_tokens(item.text)
            if batch and size > bound:
                break
            batch.append(item)
        return batch

    async def _embed(self, items: Sequence[Item]) -> None:
        """Embeds a batch and saves it; where the provider refuses it, its halves, down to the text that is at fault."""
        texts = list({item.hash: item.text for item in items}.values())
        try:
            found = [await embedder.embed_batch(texts, "document") for embedder in self._embedders]
        except Exception as error:
            if isinstance(error, ProviderError) and error.input_refused:
                await self._narrow(items, error)
            else:
                await self._fail(items, error)
            return
        await self._ctx.run_mutation(self._jobs.save, self._models, self._made(items, found), _effort(found))

    def _made(self, items: Sequence[Item], found: Sequence[Embedded]) -> list[Made]:
        """Each item with its vectors: equal texts were embedded once."""
        count = self._embedders[0].count_tokens
        places: dict[str, int] = {}
        for item in items:
            places.setdefault(item.hash, len(places))
        vectors = [np.ascontiguousarray(one.vectors, dtype="<f4") for one in found]
        counted: set[str] = set()
        made: list[Made] = []
        for item in items:
            data = [one[places[item.hash]].tobytes() for one in vectors]
            made.append(Made(item=item, vectors=data, size=0 if item.hash in counted else count(item.text)))
            counted.add(item.hash)
        return made

    async def _narrow(self, items: Sequence[Item], error: ProviderError) -> None:
        if len({item.hash for item in items}) == 1:
            for item in items:
                await self._ctx.run_mutation(self._jobs.refuse, item, str(error))
            return
        middle = len(items) // 2
        await self._embed(items[:middle])
        await self._embed(items[middle:])

    async def _fail(self, items: Sequence[Item], error: Exception) -> None:
        pause = error.seconds if isinstance(error, rf.RetryAfter) else getattr(error, "retry_after", None)
        retryable = error.retryable if isinstance(error, ProviderError) else True
        message = str(error) if isinstance(error, ReflowError) else f"{type(error).__name__}: {error}"
        if retryable and pause is not None:
            self._pause = (max(pause, 0.0 if self._pause is None else self._pause[0]), message)
        fault = Fault(message=message, retryable=retryable, pause=pause)
        await self._ctx.run_mutation(self._jobs.fail, items, fault)


def _effort(found: Sequence[Embedded]) -> Effort:
    return Effort(
        tokens=sum(one.tokens for one in found),
        milliseconds=sum(one.milliseconds for one in found),
        retries=sum(one.retries for one in found),
    )
