"""The golden set of a corpus: questions, what they should find, and their vectors."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import reflow as rf
from reflow.errors import ApplicationError, ProviderError
from reflow.rag.faults import in_words, may_pass
from reflow.rag.measures.metrics import Expected
from reflow.rag.part import Part
from reflow.rag.search.asking import ask, transforms_of
from reflow.rag.search.queries import Options, Question, Spent, check_input
from reflow.rag.tables import OWNER, Golden, GoldenQuestion

if TYPE_CHECKING:
    from reflow.rag.corpus import Corpus

RETRY = rf.Retry(attempts=20)
"""After a stop of the server: what fails otherwise is counted by the work itself."""


class GoldenRow(rf.Object, rename="camel"):
    """A question with what it should find, as it is written and exported."""

    question: str
    expected: list[Expected]
    note: str | None = rf.missing()


class ListedRow(GoldenRow):
    """The same, stored."""

    _id: str


class Lacking(rf.Object):
    """A question that has no vector of the model in use."""

    golden: str
    question: str


class GoldenSet:
    """The questions of a corpus's golden set: writing them, listing them, embedding them in the background."""

    def __init__(self, part: Part, corpus: Corpus) -> None:
        self._part = part
        self._corpus = corpus
        self._limits = corpus.limits
        self.put = part.mutation("put", self._put)
        self.delete = part.mutation("delete", self._delete)
        self.clear = part.mutation("clear", self._clear)
        self.prepare = part.mutation("prepare", self._prepare)
        self.list = part.query("list", self._list)
        self.export = part.query("export", self._export)
        self.lacking = part.background_query("lacking", self._lacking)
        self.keep = part.background_mutation("keep", self._keep)
        self.refuse = part.background_mutation("refuse", self._refuse)
        self.spend = part.background_mutation("spend", self._spend)
        self.embed = part.background_action("embed", self._embed, retry=RETRY)

    # Writing

    async def _put(self, ctx: rf.MutationCtx, questions: list[GoldenRow]) -> int:
        """Adds questions; one that is there already gets the new expectations. Returns how many there are in all.

        Either all are taken or none: raises ApplicationError that names the first one that can't be.
        """
        table = self._corpus.tables.Golden
        for place, row in enumerate(questions, 1):
            text = self._checked(place, row)
            known = await ctx.db.query(table).using(table.by_question, **self._part.own(ctx), question=text).first()
            made = table(question=text, expected=row.expected, note=row.note or rf.UNSET)  # pyright: ignore[reportArgumentType]
            if known is None:
                await ctx.db.insert(made)
            else:
                await ctx.db.patch(known.id, expected=made.expected, note=made.note)
        count = await ctx.db.query(table).using(table.by_question, **self._part.own(ctx)).count()
        if count > self._limits.golden_questions:
            raise ApplicationError(
                f"A golden set has at most {self._limits.golden_questions} questions (limits.golden_questions), and "
                f"this would make {count}: delete some first"
            )
        await self._prepare(ctx)
        return count

    def _checked(self, place: int, row: GoldenRow) -> str:
        """The question of a row. Raises ApplicationError."""
        try:
            text = check_input(row.question, self._limits)
        except ApplicationError as error:
            raise ApplicationError(f"Question {place}: {error}") from None
        if len(text) > self._limits.golden_question_length:
            raise ApplicationError(
                f"Question {place} ({text[:60]!r}) has more than {self._limits.golden_question_length} characters "
                "(limits.golden_question_length): ask for less at once"
            )
        if not 1 <= len(row.expected) <= self._limits.golden_expected:
            raise ApplicationError(
                f"Question {place} ({text[:60]!r}) needs 1 to {self._limits.golden_expected} expectations, it has "
                f"{len(row.expected)}: name the sources that it should find"
            )
        for one in row.expected:
            if not (one.key or "").strip() and not (one.text or "").strip():
                raise ApplicationError(
                    f"Question {place} ({text[:60]!r}) expects something without key and text: give the key of a "
                    "source, a text that a chunk has, or both"
                )
        return text

    async def _delete(self, ctx: rf.MutationCtx, golden: str) -> None:
        """Removes a question. One that is not there is left alone."""
        id = ctx.db.normalize_id(self._corpus.tables.Golden, golden)
        row = None if id is None else await ctx.db.get(id)
        if row is not None:
            await self._remove(ctx, row)

    async def _clear(self, ctx: rf.MutationCtx) -> int:
        """Removes all questions. Returns how many there were."""
        rows = await self.rows(ctx)
        for row in rows:
            await self._remove(ctx, row)
        return len(rows)

    async def _remove(self, ctx: rf.MutationCtx, row: Golden) -> None:
        await ctx.db.delete_many([one.id for one in await self._embedded(ctx, row)])
        await ctx.db.delete(row.id)

    # Reading

    async def rows(self, ctx: rf.QueryCtx | rf.MutationCtx) -> list[Golden]:
        """All questions of the caller's."""
        table = self._corpus.tables.Golden
        return await ctx.db.query(table).using(table.by_question, **self._part.own(ctx)).collect()

    async def page(self, ctx: rf.QueryCtx, options: rf.PaginationOptions) -> rf.Page[Golden]:
        """Some of them."""
        table = self._corpus.tables.Golden
        return await ctx.db.query(table).using(table.by_question, **self._part.own(ctx)).paginate(options)

    async def _list(self, ctx: rf.QueryCtx, pagination_opts: rf.PaginationOptions) -> rf.Page[ListedRow]:
        """The questions in alphabetical order."""
        page = await self.page(ctx, pagination_opts)
        return page.with_items(
            [ListedRow(_id=row.id, question=row.question, expected=row.expected, note=row.note) for row in page.page]
        )

    async def _export(self, ctx: rf.QueryCtx) -> list[GoldenRow]:
        """The whole set, as `put` takes it."""
        return [GoldenRow(question=row.question, expected=row.expected, note=row.note) for row in await self.rows(ctx)]

    # Vectors

    async def _embedded(
        self, ctx: rf.QueryCtx | rf.MutationCtx, row: Golden, transform: str | None = None
    ) -> list[GoldenQuestion]:
        table = self._corpus.tables.GoldenQuestion
        place: dict[str, Any] = self._corpus.owned(row) | {"golden": row.id}
        if transform is not None:
            place["transform"] = transform
        return await ctx.db.query(table).using(table.by_golden, **place).collect()

    async def question(self, ctx: rf.QueryCtx, row: Golden, options: Options) -> Question | str | None:
        """A question as a search with these options takes it; a text: why it can't be had; None: it is being made."""
        if not options.needs_vector:
            return Question(text=row.question)
        found = await self._embedded(ctx, row, options.transform or "")
        if not found or await self._is_outdated(ctx, found[0]):
            return None
        return found[0].error or found[0].question

    async def _is_outdated(self, ctx: rf.QueryCtx | rf.MutationCtx, row: GoldenQuestion) -> bool:
        """Whether a vector is of another model than the chunks'."""
        if row.question is None:
            return False
        made = [one.model for one in row.question.embeddings]
        generations = await ctx.generations.list(self._corpus.tables.Chunk.meaning)
        return any(one.state == "active" and one.model not in made for one in generations)

    async def _prepare(self, ctx: rf.MutationCtx, transform: str | None = None) -> None:
        """Has all questions embedded that have no vector of the model in use, and those tried again that failed.

        `transform` names the transformation that searches are to be evaluated with.
        """
        if transform is not None and transform not in transforms_of(self._corpus, ctx):
            raise ApplicationError(f"There is no transformation {transform!r}: `searches:choices` lists them")
        owner = self._part.own(ctx).get(OWNER)
        if owner == "":
            return
        for row in await self.rows(ctx):
            for one in await self._embedded(ctx, row, transform or ""):
                if one.error is not None:
                    await ctx.db.delete(one.id)
        await ctx.scheduler.run_after(0, self.embed, owner, transform)

    async def _lacking(self, ctx: rf.QueryCtx, owner: str | None, transform: str | None) -> list[Lacking]:
        """Some of the questions that are to be embedded."""
        table = self._corpus.tables.Golden
        whose: dict[str, Any] = {} if owner is None else {OWNER: owner}
        found: list[Lacking] = []
        async for row in ctx.db.query(table).using(table.by_question, **whose):
            made = await self._embedded(ctx, row, transform or "")
            if not made or await self._is_outdated(ctx, made[0]):
                found.append(Lacking(golden=row.id, question=row.question))
                if len(found) == self._limits.golden_batch:
                    break
        return found

    async def _embed(self, ctx: rf.ActionCtx, owner: str | None, transform: str | None, attempt: int = 1) -> None:
        """Embeds what lacks a vector. Where that fails it is tried again later, and in the end noted as failed."""
        turns = asyncio.Semaphore(self._limits.evaluation_requests)

        async def one(row: Lacking) -> None:
            async with turns:
                await self._embed_one(ctx, row, transform)

        try:
            while rows := await ctx.run_query(self.lacking, owner, transform):
                ended = await asyncio.gather(*map(one, rows), return_exceptions=True)
                if error := next((one for one in ended if one is not None), None):
                    raise error
        except Exception as error:
            if may_pass(error) and attempt < self._limits.golden_attempts:
                pause = error.seconds if isinstance(error, rf.RetryAfter) else 2.0**attempt
                await ctx.scheduler.run_after(pause, self.embed, owner, transform, attempt + 1)
                return
            ctx.log(f"questions of the golden set can't be embedded: {error!r}", level="ERROR")
            reason = in_words(error)
            while rows := await ctx.run_query(self.lacking, owner, transform):
                for row in rows:
                    await ctx.run_mutation(self.keep, row.golden, transform, None, reason)

    async def _embed_one(self, ctx: rf.ActionCtx, row: Lacking, transform: str | None) -> None:
        reason = await ctx.run_mutation(self.refuse, row.golden, transform)
        if reason is not None:
            return
        spent: list[Spent] = []
        try:
            asked = await ask(self._corpus, ctx, row.question, Options(transform=transform), spent)
            await ctx.run_mutation(self.keep, row.golden, transform, asked.question, None)
        except ProviderError as error:
            if not error.input_refused:
                raise
            await ctx.run_mutation(self.keep, row.golden, transform, None, str(error))
        finally:
            if spent:
                await ctx.run_mutation(self.spend, row.golden, spent)

    async def _spend(self, ctx: rf.MutationCtx, golden: str, spent: list[Spent]) -> None:
        row: Golden | None = await ctx.db.get(rf.Id(golden))
        if row is not None:
            await self._corpus.ledger.record(ctx, *(one.entry(row) for one in spent))

    async def _refuse(self, ctx: rf.MutationCtx, golden: str, transform: str | None) -> str | None:
        """Notes why a question can't be embedded now: a budget. None: it can."""
        row: Golden | None = await ctx.db.get(rf.Id(golden))
        if row is None:
            return "it was deleted"
        refusal = await self._corpus.ledger.refusal(ctx, "search", row=row)
        if refusal is None:
            return None
        await self._keep(ctx, golden, transform, None, refusal.reason)
        return refusal.reason

    async def _keep(
        self, ctx: rf.MutationCtx, golden: str, transform: str | None, question: Question | None, error: str | None
    ) -> None:
        """Stores a question's vector, or why there is none."""
        row: Golden | None = await ctx.db.get(rf.Id(golden))
        if row is None:
            return
        await ctx.db.delete_many([one.id for one in await self._embedded(ctx, row, transform or "")])
        made = self._corpus.tables.GoldenQuestion(golden=row.id, transform=transform or "", **self._corpus.owned(row))
        made.question, made.error = question, error
        await ctx.db.insert(made)
