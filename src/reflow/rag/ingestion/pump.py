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
from reflow.errors import ApplicationError, CallFailed, ProviderError
from reflow.rag.embedders.base import BatchEmbedder, Embedded
from reflow.rag.faults import in_words, may_pass
from reflow.rag.ingestion.models import Makers
from reflow.rag.ingestion.saving import Effort, Fault, Made
from reflow.rag.ingestion.turns import Item

if TYPE_CHECKING:
    from reflow.rag.ingestion.jobs import Jobs


class Run:
    """One run, of a bounded time."""

    def __init__(self, jobs: Jobs, ctx: rf.ActionCtx, makers: Makers) -> None:
        self._jobs = jobs
        self._ctx = ctx
        self._embedders, self._choice = makers
        embedders = makers.embedders
        pace, self._limits = jobs.corpus.pace, jobs.corpus.limits
        self._most = pace.batch or min(embedder.max_batch for embedder in embedders)
        self._places = pace.concurrency or min(embedder.concurrency for embedder in embedders)
        self._end = monotonic() + self._limits.embedding_run_seconds
        self._under_way: dict[asyncio.Task[None], Sequence[Item]] = {}
        self._pause: tuple[float, str] | None = None
        """For how long the provider wants no request, in seconds, and why."""
        self._stale = False

    async def run(self) -> tuple[float, str] | None:
        """Works until nothing is left that is due, the time is over, another model comes into use, or the provider asks
        for a pause: that is given back. What is under way then is waited for."""
        try:
            while self._goes_on() and (await self._fill() or self._under_way):
                free = self._goes_on() and len(self._under_way) < self._places
                await self._settle(self._limits.embedding_poll_seconds if free else None)
            while self._under_way:
                await self._settle(None)
        finally:
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)
        return self._pause

    def _goes_on(self) -> bool:
        return self._pause is None and not self._stale and monotonic() < self._end

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
            turn = await self._ctx.run_mutation(self._jobs.turn, self._choice, busy, self._most)
            if turn.stale:
                self._stale = True
                break
            if turn.held:
                await self._ctx.run_mutation(self._jobs.hold, turn.held)
            known = set(turn.known)
            if known:
                found_items = [item for item in turn.items if item.id in known]
                await self._ctx.run_mutation(self._jobs.save_known, self._choice, found_items)
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
        waiting = [items]
        given_up: set[str] = set()
        while waiting:
            part = [item for item in waiting.pop() if item.source not in given_up]
            if part:
                waiting += await self._embed_part(part, given_up)

    async def _embed_part(self, items: Sequence[Item], given_up: set[str]) -> Sequence[Sequence[Item]]:
        """Embeds and saves texts, or gives the halves to try. Adds sources that are failed for too many bad texts."""
        texts = list({item.hash: item.text for item in items}.values())
        try:
            found = [await self._ask(embedder, texts) for embedder in self._embedders]
        except ProviderError as error:
            # Some servers answer garbage for a batch because of one of its texts, and do not say so.
            if len(texts) > 1 and (error.input_refused or error.reason == "garbage"):
                middle = len(items) // 2
                return items[middle:], items[:middle]
            if error.input_refused:
                given_up.update(await self._ctx.run_mutation(self._jobs.refuse, items, str(error)))
            else:
                await self._fail(items, error)
        except Exception as error:
            await self._fail(items, error)
        else:
            await self._save(items, found)
        return ()

    async def _ask(self, embedder: BatchEmbedder, texts: Sequence[str]) -> Embedded:
        """One request. Any embedder's reply is checked, since anybody can write one."""
        try:
            async with asyncio.timeout(self._limits.embedding_seconds):
                found = await embedder.embed_batch(texts, "document")
        except TimeoutError as error:
            bound = f"limits.embedding_seconds = {self._limits.embedding_seconds:g}"
            message = str(error) or f"{embedder.id} gave no answer within {bound}"
            raise ProviderError(message, "unreachable", retryable=True) from error
        vectors = np.ascontiguousarray(found.vectors, dtype="<f4")
        if vectors.shape != (len(texts), embedder.dims) or not np.isfinite(vectors).all():
            raise ProviderError(
                f"{embedder.id} gave vectors of the shape {vectors.shape}, or with numbers that are none, for "
                f"{len(texts)} texts and {embedder.dims} dimensions",
                "garbage",
                retryable=True,
            )
        return found._replace(vectors=vectors)

    async def _save(self, items: Sequence[Item], found: Sequence[Embedded]) -> None:
        try:
            await self._ctx.run_mutation(self._jobs.save, self._choice, self._made(items, found), effort_of(found))
        except (
            CallFailed,
            ApplicationError,
        ) as error:  # such as vectors that the index does not take: they never will be
            await self._ctx.run_mutation(self._jobs.fail, items, Fault(message=str(error), retryable=False))

    def _made(self, items: Sequence[Item], found: Sequence[Embedded]) -> list[Made]:
        """Each item with its vectors: equal texts were embedded once."""
        count = self._embedders[0].count_tokens
        places: dict[str, int] = {}
        for item in items:
            places.setdefault(item.hash, len(places))
        counted: set[str] = set()
        made: list[Made] = []
        for item in items:
            data = [one.vectors[places[item.hash]].tobytes() for one in found]
            made.append(Made(item=item, vectors=data, size=0 if item.hash in counted else count(item.text)))
            counted.add(item.hash)
        return made

    async def _fail(self, items: Sequence[Item], error: Exception) -> None:
        pause = error.seconds if isinstance(error, rf.RetryAfter) else getattr(error, "retry_after", None)
        if pause is not None:
            pause = min(max(pause, 0.0), self._limits.model_retry_after_seconds)
        fault = Fault(message=in_words(error), retryable=may_pass(error), pause=pause)
        if fault.retryable and pause is not None:
            self._pause = (max(pause, 0.0 if self._pause is None else self._pause[0]), fault.message)
        await self._ctx.run_mutation(self._jobs.fail, items, fault)


def effort_of(found: Sequence[Embedded]) -> Effort:
    """What several requests took together."""
    return Effort(
        tokens=sum(one.tokens for one in found),
        milliseconds=sum(one.milliseconds for one in found),
        retries=sum(one.retries for one in found),
    )
