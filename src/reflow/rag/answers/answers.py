"""`Answers`: questions that are answered from what a search finds, with citations, as a stream that all can join."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

import reflow as rf
from reflow.errors import ApplicationError
from reflow.rag.answers.answer_views import (
    AnswerRow,
    AnswerView,
    BlockPage,
    BlockView,
    Inspection,
    row_of,
    view_of,
)
from reflow.rag.answers.answering import passages_of
from reflow.rag.answers.followups import joined
from reflow.rag.answers.prompts import PromptTooLong, Turn, compose
from reflow.rag.answers.templates import ANSWER, CONDENSE, Template
from reflow.rag.answers.writing import text_of
from reflow.rag.part import Part
from reflow.rag.search.queries import Options, check_input
from reflow.rag.tables import Answer

if TYPE_CHECKING:
    from reflow.rag.corpus import Corpus

PASSAGES = 8
"""Passages of an answer, where nobody says how many."""

_NO_CHAT = (
    "This corpus has no chat model: leave kind out for sentences of the sources, or give it one: "
    "Corpus(chat=...), and its settings"
)


class Answers(Part):
    """Questions that are answered from what a search finds, with citations."""

    def __init__(self, corpus: Corpus) -> None:
        super().__init__(corpus, "answers")
        self.ask = self.mutation("ask", self._ask)
        self.stop = self.mutation("stop", self._stop)
        self.retry = self.mutation("retry", self._retry)
        self.delete = self.mutation("delete", self._delete)
        self.get = self.query("get", self._get)
        self.blocks = self.query("blocks", self._blocks)
        self.text = self.query("text", self._text)
        self.history = self.query("history", self._history)
        self.inspect = self.query("inspect", self._inspect)
        self.preview = self.action("preview", self._preview)
        self.before = self.module.internal_query(name="before")(self._before)

    async def row(self, ctx: rf.QueryCtx | rf.MutationCtx, id: str) -> Answer:
        """An answer of the caller's. Raises ApplicationError."""
        return await self.found(ctx, self.corpus.tables.Answer, id, "answer")

    # Asking

    async def _ask(
        self,
        ctx: rf.MutationCtx,
        question: str,
        thread: str | None = None,
        template: str = ANSWER,
        kind: Literal["chat", "extractive"] | None = None,
        options: Options | None = None,
    ) -> str:
        """The id of an answer, at once; it is written in the background. See `blocks` for how to follow it.

        `options` say how to search for what it is made of. Without `kind` a chat model words it where there is one.
        Raises ApplicationError for what can't be asked.
        """
        question = check_input(question, self.corpus.limits)
        options = await self._options(ctx, options)
        if kind == "chat" and self.corpus.chat_for(ctx) is None:
            raise ApplicationError(_NO_CHAT)
        templates = self.corpus.templates
        worded = await templates.named(ctx, template)
        table, now = self.corpus.tables.Answer, ctx.now() * 1000
        row = table(question=question, options=options, wanted=kind, template=template, asked=now)
        condense: Template | None = None
        if thread is not None:
            row.thread, row.number = await self.corpus.threads.next(ctx, thread, question)
            condense = await templates.named(ctx, CONDENSE)
        id = await ctx.db.insert(row)
        await ctx.db.insert(self.corpus.tables.AnswerRecord(answer=id, template=worded, condense=condense))
        await ctx.scheduler.run_after(0, self.corpus.writing.write, id, row.turn)
        return id

    async def _options(self, ctx: rf.QueryCtx | rf.MutationCtx, options: Options | None) -> Options:
        """Options that can be searched with. Raises ApplicationError."""
        options = options or Options(limit=PASSAGES)
        most = self.corpus.limits.answer_passages
        if options.limit > most:
            raise ApplicationError(f"An answer is made of at most {most} passages, not {options.limit}: change limit")
        return await ctx.run_query(self.corpus.searches.checked, options)

    async def _stop(self, ctx: rf.MutationCtx, answer: str) -> bool:
        """Ends an answer where it is; False if it had ended."""
        return await self.corpus.writing.stop(ctx, await self.row(ctx, answer))

    async def _retry(self, ctx: rf.MutationCtx, answer: str) -> None:
        """Has an answer written anew, with the templates as they are now."""
        row = await self.row(ctx, answer)
        await self.corpus.writing.stop(ctx, row)
        record = await self.corpus.writing.record(ctx, row)
        template = await self.corpus.templates.named(ctx, row.template)
        condense = None if row.thread is None else await self.corpus.templates.named(ctx, CONDENSE)
        await ctx.db.patch(record.id, template=template, condense=condense or rf.UNSET)
        await self.corpus.writing.start(ctx, row)

    async def _delete(self, ctx: rf.MutationCtx, answer: str) -> None:
        """Deletes an answer, ending it first."""
        await self.corpus.writing.remove(ctx, await self.row(ctx, answer))

    # Reading

    async def _get(self, ctx: rf.QueryCtx, answer: str) -> AnswerView:
        """An answer without its text. Raises ApplicationError for an unknown one."""
        return await view_of(ctx, self.corpus.tables, await self.row(ctx, answer))

    async def _blocks(self, ctx: rf.QueryCtx, answer: str, page: int = 0) -> BlockPage:
        """A page of an answer's text, from page 0 on. A full page is followed by another one, and stays as it is.

        To follow an answer, subscribe to a page, and to the next one as soon as it is full. All who follow it share
        the results.
        """
        if page < 0:
            raise ApplicationError(f"Pages count from 0, there is no page {page}")
        row, size = await self.row(ctx, answer), self.corpus.limits.answer_page_blocks
        table = self.corpus.tables.AnswerBlock
        query = ctx.db.query(table).using(table.by_answer, answer=row.id).gte(page * size).lt((page + 1) * size)
        blocks = [BlockView(number=block.number, spans=block.spans) for block in await query.collect()]
        return BlockPage(blocks=blocks, full=len(blocks) == size)

    async def _text(self, ctx: rf.QueryCtx, answer: str) -> str:
        """All that an answer says so far."""
        row = await self.row(ctx, answer)
        return text_of(await self.corpus.writing.blocks(ctx, row.id))

    async def _history(self, ctx: rf.QueryCtx, pagination_opts: rf.PaginationOptions) -> rf.Page[AnswerRow]:
        """Answers, those first that were asked for last."""
        table = self.corpus.tables.Answer
        page = await ctx.db.query(table).using(table.by_asked).order("desc").paginate(pagination_opts)
        return page.with_items([row_of(row) for row in page.page])

    async def _inspect(self, ctx: rf.QueryCtx, answer: str) -> Inspection | None:
        """What an answer was made with; None before that is known."""
        row = await self.row(ctx, answer)
        if row.kind is None:
            return None
        record = await self.corpus.writing.record(ctx, row)
        return Inspection(
            messages=record.messages,
            passages=record.passages,
            used=row.used,
            tokens=record.tokens,
            budget=record.template.token_budget,
            searched=row.searched or row.question,
        )

    # Trying templates

    async def _preview(
        self,
        ctx: rf.ActionCtx,
        question: str,
        template: str = ANSWER,
        instructions: str | None = None,
        prompt: str | None = None,
        token_budget: int | None = None,
        thread: str | None = None,
        options: Options | None = None,
    ) -> Inspection:
        """What a model would be sent: with a template, or with what is to become of it. No model is asked, nothing is
        stored."""
        question = check_input(question, self.corpus.limits)
        stored, turns, options = await ctx.run_query(self.before, template, thread, options)
        given = {"instructions": instructions, "prompt": prompt, "token_budget": token_budget}
        tried = msgspec.structs.replace(stored, **{name: value for name, value in given.items() if value is not None})
        self.corpus.templates.refuse(tried)
        searched = joined(question, turns)
        found = await self.corpus.searches.find(ctx, searched, options)
        try:
            made = compose(tried, question, passages_of(found, self.corpus.limits.answer_passage_chars), turns)
        except PromptTooLong as error:
            raise ApplicationError(str(error)) from None
        return Inspection(
            messages=made.messages,
            passages=made.passages,
            used=made.used,
            tokens=made.tokens,
            budget=tried.token_budget,
            searched=searched,
        )

    async def _before(
        self, ctx: rf.QueryCtx, template: str, thread: str | None, options: Options | None
    ) -> tuple[Template, list[Turn], Options]:
        """What a prompt depends on beside the question."""
        turns: list[Turn] = []
        if thread is not None:
            row: Any = await self.corpus.threads.row(ctx, thread)
            turns = await self.corpus.writing.turns(ctx, row.id, row.answers + 1)
        return await self.corpus.templates.named(ctx, template), turns, await self._options(ctx, options)
