"""`Threads`: questions that follow one another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import reflow as rf
from reflow.errors import ApplicationError
from reflow.rag.answers.answer_views import AnswerRow, row_of
from reflow.rag.part import Part
from reflow.rag.tables import Thread

if TYPE_CHECKING:
    from reflow.rag.corpus import Corpus


class ThreadRow(rf.Object):
    """A thread in a list. `updated` is in milliseconds since 1970."""

    _id: str
    _creationTime: float
    title: str
    answers: int
    updated: float


class Threads(Part):
    """Questions that follow one another: each may refer to those before it."""

    def __init__(self, corpus: Corpus) -> None:
        super().__init__(corpus, "threads")
        self.start = self.mutation("start", self._start)
        self.rename = self.mutation("rename", self._rename)
        self.delete = self.mutation("delete", self._delete)
        self.get = self.query("get", self._get)
        self.list = self.query("list", self._list)
        self.answers = self.query("answers", self._answers)
        self.sweep = self.background_mutation("sweep", self._sweep)

    async def row(self, ctx: rf.QueryCtx | rf.MutationCtx, id: str) -> Thread:
        """A thread of the caller's. Raises ApplicationError."""
        return await self.found(ctx, self.corpus.tables.Thread, id, "thread")

    async def next(self, ctx: rf.MutationCtx, id: str, question: str) -> tuple[rf.Id[Any], int]:
        """The thread's id and the number of a new question in it. The first one names a thread that has no name."""
        row = await self.row(ctx, id)
        title = row.title or question[: self.corpus.limits.thread_title_length]
        await ctx.db.patch(row.id, answers=row.answers + 1, updated=ctx.now() * 1000, title=title)
        return row.id, row.answers + 1

    async def _start(self, ctx: rf.MutationCtx, title: str = "") -> str:
        """A new thread; without a title its first question becomes that."""
        return await ctx.db.insert(self.corpus.tables.Thread(title=self._checked(title), updated=ctx.now() * 1000))

    async def _rename(self, ctx: rf.MutationCtx, thread: str, title: str) -> None:
        """Gives a thread another title."""
        row = await self.row(ctx, thread)
        await ctx.db.patch(row.id, title=self._checked(title))

    def _checked(self, title: str) -> str:
        longest = self.corpus.limits.thread_title_length
        if len(title) > longest:
            raise ApplicationError(f"A title has at most {longest} characters, this one {len(title)}")
        return " ".join(title.split())

    async def _delete(self, ctx: rf.MutationCtx, thread: str) -> None:
        """Deletes a thread with its answers."""
        row = await self.row(ctx, thread)
        await ctx.db.delete(row.id)
        await self._sweep(ctx, row.id)

    async def _sweep(self, ctx: rf.MutationCtx, thread: rf.Id[Any]) -> None:
        """Deletes the answers of a thread that is gone: some now, the others in transactions of their own."""
        table, some = self.corpus.tables.Answer, self.corpus.limits.answers_per_sweep
        rows = await ctx.db.query(table).using(table.by_thread, thread=thread).take(some + 1)
        for row in rows[:some]:
            await self.corpus.writing.remove(ctx, row)
        if len(rows) > some:
            await ctx.scheduler.run_after(0, self.sweep, thread)

    async def _get(self, ctx: rf.QueryCtx, thread: str) -> ThreadRow:
        """A thread. Raises ApplicationError for an unknown one."""
        return _row(await self.row(ctx, thread))

    async def _list(self, ctx: rf.QueryCtx, pagination_opts: rf.PaginationOptions) -> rf.Page[ThreadRow]:
        """Threads, those first in which was asked last."""
        table = self.corpus.tables.Thread
        page = await ctx.db.query(table).using(table.by_update).order("desc").paginate(pagination_opts)
        return page.with_items([_row(row) for row in page.page])

    async def _answers(
        self, ctx: rf.QueryCtx, thread: str, pagination_opts: rf.PaginationOptions
    ) -> rf.Page[AnswerRow]:
        """The answers of a thread in the order of the questions."""
        row, table = await self.row(ctx, thread), self.corpus.tables.Answer
        page = await ctx.db.query(table).using(table.by_thread, thread=row.id).paginate(pagination_opts)
        return page.with_items([row_of(answer) for answer in page.page])


def _row(row: Thread) -> ThreadRow:
    return ThreadRow(**{name: getattr(row, name) for name in ThreadRow.__struct_fields__})
