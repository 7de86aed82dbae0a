"""`Writing`: the transactions of an answer in the making, one for each step, and what happens when a step fails.

An answer is written by one run at a time. A run that was stopped, or that another one has taken the place of, learns of
it with its next step and ends. A run that a crash ended is begun again from the start, visibly, and given up after
`limits.answer_interruptions` of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec

import reflow as rf
from reflow.rag.answers.answer_steps import Ending, Job, Prepared
from reflow.rag.answers.answering import Answering
from reflow.rag.answers.chat import tokens_of
from reflow.rag.answers.citations import Span
from reflow.rag.answers.prompts import Turn
from reflow.rag.part import Part
from reflow.rag.search.queries import Spent
from reflow.rag.tables import Answer, AnswerBlock, AnswerRecord

if TYPE_CHECKING:
    from reflow.rag.corpus import Corpus

_UNTIL_IT_ENDS = rf.Retry(attempts=1000, first=0.2, longest=30.0)
"""A run that a crash has ended comes again: to be begun anew, or to be told that it is given up."""


class Writing(Part):
    """The transactions of an answer in the making."""

    def __init__(self, corpus: Corpus) -> None:
        super().__init__(corpus, "writing")
        self.begin = self.background_mutation("begin", self._begin)
        self.prepare = self.background_mutation("prepare", self._prepare)
        self.append = self.background_mutation("append", self._append)
        self.finish = self.background_mutation("finish", self._finish)
        self.trouble = self.background_mutation("trouble", self._trouble)
        self.goes_on = self.background_query("goesOn", self._goes_on)
        self.write = self.background_action("write", self._write, retry=_UNTIL_IT_ENDS)

    async def _write(self, ctx: rf.ActionCtx, answer: str, turn: int) -> None:
        """Writes an answer, unless another turn has come meanwhile."""
        job = await ctx.run_mutation(self.begin, answer, turn)
        if job is not None:
            await Answering(self, ctx, answer, job).answer()

    # Parts of the caller's own transactions

    async def start(self, ctx: rf.MutationCtx, row: Answer) -> None:
        """Has an answer written, from its next turn on; what was written before goes."""
        await self.clear(ctx, row)
        now = ctx.now()
        await ctx.db.patch(
            row.id,
            state="waiting",
            turn=row.turn + 1,
            interruptions=0,
            retries=0,
            asked=now * 1000,
            next_try=rf.UNSET,
            error=rf.UNSET,
            total_ms=rf.UNSET,
        )
        await ctx.scheduler.run_after(0, self.write, row.id, row.turn + 1)

    async def stop(self, ctx: rf.MutationCtx, row: Answer) -> bool:
        """Ends an answer where it is; whether there was something to end."""
        if row.state not in ("waiting", "searching", "writing"):
            return False
        await self._end(ctx, row, "stopped")
        return True

    async def clear(self, ctx: rf.MutationCtx, row: Answer) -> None:
        """Removes what an answer says and what it was made with."""
        blocks = await self.blocks(ctx, row.id)
        await ctx.db.delete_many([block.id for block in blocks])
        record = await self.record(ctx, row)
        await ctx.db.patch(record.id, messages=[], passages=[], tokens=0, said="")
        await ctx.db.patch(
            row.id,
            passages=[],
            used=0,
            cited=[],
            characters=0,
            tokens_in=0,
            tokens_out=0,
            **dict.fromkeys(
                ("note", "searched", "kind", "model", "cost", "condense_ms", "search_ms", "first_token_ms"), rf.UNSET
            ),
        )

    async def remove(self, ctx: rf.MutationCtx, row: Answer) -> None:
        """Deletes an answer with all that belongs to it, ending it first."""
        await self.stop(ctx, row)
        record = await self.record(ctx, row)
        blocks = await self.blocks(ctx, row.id)
        await ctx.db.delete_many([*(block.id for block in blocks), record.id, row.id])

    async def blocks(self, ctx: rf.QueryCtx | rf.MutationCtx, answer: str) -> list[AnswerBlock]:
        """The blocks of an answer, in order."""
        table = self.corpus.tables.AnswerBlock
        return await ctx.db.query(table).using(table.by_answer, answer=answer).collect()

    async def record(self, ctx: rf.QueryCtx | rf.MutationCtx, row: Answer) -> AnswerRecord:
        """What an answer was made with."""
        table = self.corpus.tables.AnswerRecord
        found = await ctx.db.query(table).using(table.by_answer, answer=row.id).unique()
        assert found is not None, "an answer and its record come and go together"
        return found

    async def turns(self, ctx: rf.QueryCtx | rf.MutationCtx, thread: rf.Id[Any], before: int) -> list[Turn]:
        """What was said in a thread before an answer of that number: the last questions that have one."""
        table = self.corpus.tables.Answer
        query = ctx.db.query(table).using(table.by_thread, thread=thread).lt(before).order("desc")
        rows = await query.take(self.corpus.limits.thread_turns)
        ended = [row for row in reversed(rows) if row.state in ("done", "stopped") and row.characters]
        return [Turn(question=row.question, answer=(await self.record(ctx, row)).said) for row in ended]

    # Steps of a run

    async def _row(self, ctx: rf.QueryCtx | rf.MutationCtx, answer: str) -> Answer | None:
        id = ctx.db.normalize_id(self.corpus.tables.Answer, answer)
        return None if id is None else await ctx.db.get(id)

    async def _mine(self, ctx: rf.QueryCtx | rf.MutationCtx, answer: str, run: int) -> Answer | None:
        """The answer, as long as this run is the one that writes it."""
        row = await self._row(ctx, answer)
        return row if row is not None and row.run == run and row.state in ("searching", "writing") else None

    async def _accounted(self, ctx: rf.MutationCtx, answer: str, run: int, spent: list[Spent]) -> Answer | None:
        """What `_mine` gives, after a record of what the run took: that is paid for in any case."""
        row = await self._row(ctx, answer)
        if row is not None:
            await self._spend(ctx, row, *spent)
        return await self._mine(ctx, answer, run)

    async def _begin(self, ctx: rf.MutationCtx, answer: str, turn: int) -> Job | None:
        """What there is to write; None if this turn is over."""
        row = await self._row(ctx, answer)
        if row is None or row.turn != turn or row.state not in ("waiting", "searching", "writing"):
            return None
        interruptions = row.interruptions
        if row.state != "waiting":
            interruptions += 1
            if interruptions > self.corpus.limits.answer_interruptions:
                reason = f"The server was stopped {interruptions} times while this was being written: try again."
                await self._end(ctx, row, "failed", reason)
                return None
            await self._lost(ctx, row)
            await self.clear(ctx, row)
        chat = None if row.wanted == "extractive" else self.corpus.chat_for(ctx)
        record = await self.record(ctx, row)
        if chat is not None:
            expected = record.template.token_budget
            refusal = await self.corpus.ledger.refusal(ctx, "answer", row=row, model=chat.id, tokens=expected)
            if refusal is not None:
                await self._end(ctx, row, "failed", f"Not begun: {refusal.reason}.")
                return None
        elif row.wanted == "chat":
            await self._end(ctx, row, "failed", "There is no chat model any more: set one, and try again.")
            return None
        await ctx.db.patch(
            row.id,
            state="searching",
            run=row.run + 1,
            interruptions=interruptions,
            next_try=rf.UNSET,
            error=rf.UNSET,
        )
        return Job(
            run=row.run + 1,
            question=row.question,
            options=row.options,
            chat=chat is not None,
            within=self.corpus.owned(row),
            template=record.template,
            condense=record.condense,
            turns=[] if row.thread is None else await self.turns(ctx, row.thread, row.number),
        )

    async def _prepare(self, ctx: rf.MutationCtx, answer: str, run: int, prepared: Prepared) -> bool:
        """Stores what an answer will be made of, before its first word; False if the run is over."""
        row = await self._accounted(ctx, answer, run, prepared.spent)
        if row is None:
            return False
        record = await self.record(ctx, row)
        await ctx.db.patch(record.id, messages=prepared.messages, passages=prepared.passages, tokens=prepared.tokens)
        await ctx.db.patch(
            row.id,
            state="writing",
            kind=prepared.kind,
            model=prepared.model or rf.UNSET,
            passages=[msgspec.structs.replace(passage, text=None) for passage in prepared.passages],
            used=prepared.used,
            searched=rf.UNSET if prepared.searched == row.question else prepared.searched,
            note=prepared.note or rf.UNSET,
            condense_ms=rf.UNSET if prepared.condense_ms is None else prepared.condense_ms,
            search_ms=prepared.search_ms,
        )
        return True

    async def _append(self, ctx: rf.MutationCtx, answer: str, run: int, number: int, spans: list[Span]) -> bool:
        """Adds a block; False if the run is over."""
        row = await self._mine(ctx, answer, run)
        if row is None:
            return False
        await ctx.db.insert(
            self.corpus.tables.AnswerBlock(answer=row.id, number=number, spans=spans, **self.corpus.owned(row))
        )
        return True

    async def _goes_on(self, ctx: rf.QueryCtx, answer: str, run: int) -> bool:
        return await self._mine(ctx, answer, run) is not None

    async def _finish(self, ctx: rf.MutationCtx, answer: str, run: int, ending: Ending) -> None:
        """Adds the last block and says how it ended."""
        row = await self._mine(ctx, answer, run)
        if row is None:
            return
        if ending.spans:
            await self._append(ctx, answer, run, ending.number, ending.spans)
        if ending.note is not None:
            await ctx.db.patch(row.id, note=ending.note)
        await self._end(ctx, row, ending.state, ending.error, ending.spent)

    async def _trouble(
        self,
        ctx: rf.MutationCtx,
        answer: str,
        run: int,
        error: str,
        retryable: bool,
        pause: float | None,
        spent: list[Spent],
    ) -> None:
        """A run could not begin to write: it is tried again later, as long as that is worth waiting for."""
        row = await self._accounted(ctx, answer, run, spent)
        if row is None:
            return
        limits, now = self.corpus.limits, ctx.now()
        wait = limits.answer_pause_seconds * 2**row.retries * (0.75 + ctx.random.random() / 2)
        if pause is not None:
            wait = max(pause, 0.05)
        if retryable and now + wait <= row.asked / 1000 + limits.answer_patience_seconds:
            # Another turn: should a crash bring this one back, it has nothing to do.
            turn, next_try = row.turn + 1, (now + wait) * 1000
            await ctx.db.patch(
                row.id, state="waiting", turn=turn, retries=row.retries + 1, next_try=next_try, error=error
            )
            await ctx.scheduler.run_after(wait, self.write, row.id, turn)
            return
        if retryable:
            waited = now - row.asked / 1000
            error = f"{error}. Waited {waited:.0f} s; the next try would be in {wait:.0f} s: try again later."
        await self._end(ctx, row, "failed", error)

    # Ends

    async def _end(
        self,
        ctx: rf.MutationCtx,
        row: Answer,
        state: Literal["done", "failed", "stopped"],
        error: str | None = None,
        spent: Spent | None = None,
    ) -> None:
        """The state that an answer stays in, what it says in all, and what it took."""
        blocks = await self.blocks(ctx, row.id)
        text = text_of(blocks)
        now = ctx.now() * 1000
        record = await self.record(ctx, row)
        await ctx.db.patch(record.id, said=text[: self.corpus.limits.thread_turn_chars])
        await ctx.db.patch(
            row.id,
            state=state,
            error=error or rf.UNSET,
            next_try=rf.UNSET,
            characters=len(text),
            cited=list(dict.fromkeys(n for block in blocks for span in block.spans for n in span.passages or ())),
            first_token_ms=blocks[0].created - row.asked if blocks else rf.UNSET,
            total_ms=now - row.asked,
        )
        if row.state == "writing" and row.kind == "chat":
            await self._spend(ctx, row, spent or self._estimate(ctx, row, record, text))

    async def _lost(self, ctx: rf.MutationCtx, row: Answer) -> None:
        """Records what a run has taken that a crash ended: it is paid for."""
        if row.state == "writing" and row.kind == "chat":
            text = text_of(await self.blocks(ctx, row.id))
            await self.corpus.ledger.record(ctx, self._estimate(ctx, row, await self.record(ctx, row), text).entry(row))

    def _estimate(self, ctx: rf.MutationCtx, row: Answer, record: AnswerRecord, text: str) -> Spent:
        """What a model has taken that did not come to its end, as far as it is seen here."""
        ms = ctx.now() * 1000 - row.asked
        return Spent(work="answer", model=row.model or "", tokens_in=record.tokens, tokens_out=tokens_of(text), ms=ms)

    async def _spend(self, ctx: rf.MutationCtx, row: Answer, *spent: Spent) -> None:
        """Records work for an answer, and adds it to what the answer has taken."""
        entries = [one.entry(row) for one in spent]
        costs = [cost for cost in map(self.corpus.ledger.cost, entries) if cost is not None]
        before = [] if row.cost is None else [row.cost]
        await ctx.db.patch(
            row.id,
            tokens_in=row.tokens_in + sum(entry.tokens_in for entry in entries),
            tokens_out=row.tokens_out + sum(entry.tokens_out for entry in entries),
            cost=sum(before + costs) if before or costs else rf.UNSET,
        )
        await self.corpus.ledger.record(ctx, *entries)


def text_of(blocks: Sequence[AnswerBlock]) -> str:
    """What blocks say."""
    return "".join(span.text for block in blocks for span in block.spans)
