"""`Ledger`: tokens, time, retries and money, as ordinary live tables, and the budgets that stop work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

import reflow as rf
from reflow.rag.costs.budgets import Budgets
from reflow.rag.costs.spending import NANOS, Entry, Refusal, Work, period_name
from reflow.rag.costs.totals import Line, Total, Totals
from reflow.rag.part import Part
from reflow.rag.tables import OWNER, LedgerEntry

if TYPE_CHECKING:
    from reflow.rag.corpus import Corpus


class EntryRow(rf.Object, rename="camel"):
    """An entry as it is shown. `created` is in milliseconds since 1970; `name` that of its subject, as long as that
    exists; `cost` None where the model has no price."""

    id: str
    created: float
    work: Work
    model: str
    subject: str | None
    name: str | None
    tokens_in: int
    tokens_out: int
    ms: float
    retries: int
    calls: int
    cached: int
    cost: float | None


_NAMES = ("name", "question", "input", "text")
"""Fields that name a source, an answer, a search: the first that is there."""


class Ledger(Part):
    """Tokens, time, retries and money, as ordinary live tables, and the budgets that stop work.

    Whoever works asks `allows` before and calls `record` in the mutation that stores what came of it.
    """

    def __init__(self, corpus: Corpus) -> None:
        super().__init__(corpus, "ledger")
        self.spending = corpus.spending
        self._totals = Totals(corpus)
        self._budgets = Budgets(self, corpus, self._totals)
        self.check = self._budgets.check
        self.states = self._budgets.states
        self.budgets = self._budgets.list
        self.set_budget = self._budgets.set
        self.reason = self._budgets.reason
        self.add = self.background_mutation("add", self._add)
        self.totals_of = self.background_query("totalsOf", self._totals.of)
        self.totals = self.query("totals", self._own_totals)
        self.entries = self.query("entries", self._entries)

    # For those who work

    async def refusal(
        self,
        ctx: rf.QueryCtx | rf.MutationCtx | rf.ActionCtx,
        work: Work,
        *,
        row: rf.Table | None = None,
        model: str = "",
        tokens: int = 0,
    ) -> Refusal | None:
        """Why work has to wait for a budget, None where it may begin.

        `row` says whose work it is, as in `Entry`. With `tokens` (an estimate, in and out) and `model` work is refused
        that would go beyond what is left. What is under way is not counted: a budget is overspent by that at most.
        """
        price = self.spending.price(model)
        nanos = 0 if price is None else price.nanos(tokens, 0, 1)
        return await ctx.run_query(self.check, work, self._owner_of(ctx, row), tokens, nanos)

    async def allows(
        self,
        ctx: rf.QueryCtx | rf.MutationCtx | rf.ActionCtx,
        work: Work,
        *,
        row: rf.Table | None = None,
        model: str = "",
        tokens: int = 0,
    ) -> bool:
        """Whether work may begin: `refusal` tells why not, and how long."""
        return await self.refusal(ctx, work, row=row, model=model, tokens=tokens) is None

    async def record(self, ctx: rf.MutationCtx, *entries: Entry) -> None:
        """Writes down work that was done, in this transaction. Entries of one request for several sources go together;
        `apportion` divides its tokens."""
        if entries:
            await ctx.run_mutation(self.add, [self._line(ctx, entry) for entry in entries])

    def cost(self, entry: Entry) -> float | None:
        """The price of work in the currency of the `Spending`; None where its model has none."""
        nanos = self._nanos(entry)
        return None if nanos is None else nanos / NANOS

    def _nanos(self, entry: Entry) -> int | None:
        price = self.spending.price(entry.model)
        return None if price is None else price.nanos(entry.tokens_in, entry.tokens_out, entry.calls)

    def _line(self, ctx: rf.MutationCtx, entry: Entry) -> Line:
        return Line(
            owner=self._owner_of(ctx, entry.row),
            work=entry.work,
            model=entry.model,
            subject=None if entry.row is None else entry.row.id,
            tokens_in=entry.tokens_in,
            tokens_out=entry.tokens_out,
            time_us=round(entry.ms * 1000),
            retries=entry.retries,
            calls=entry.calls,
            cached=entry.cached,
            cost_nanos=self._nanos(entry),
        )

    def _owner_of(self, ctx: rf.QueryCtx | rf.MutationCtx | rf.ActionCtx, row: rf.Table | None) -> str:
        """Whose work it is; "" where the corpus has no owners."""
        if self.corpus.owner is None:
            return ""
        if row is not None:
            return getattr(row, OWNER)
        return self.corpus.owner.required(ctx.auth.identity(), f"work in corpus {self.corpus.name!r}")

    # Writing

    async def _add(self, ctx: rf.MutationCtx, lines: list[Line]) -> None:
        day = period_name(ctx.now(), "day")
        await ctx.db.insert_many(self._entry(line, day) for line in lines)
        await self._totals.add(ctx, lines)

    def _entry(self, line: Line, day: str) -> LedgerEntry:
        fields = {name: value for name, value in msgspec.structs.asdict(line).items() if value is not None}
        del fields["owner"]
        return self.corpus.tables.LedgerEntry(day=day, **fields, **self.corpus.whose(line.owner))

    # Reading

    async def _own_totals(self, ctx: rf.QueryCtx, *, period: str = "total") -> list[Total]:
        """What work took, per kind and model: in a `period` "day" or "month" (the present ones), "total", or a named
        one such as "2026-11-23" or "2026-11". In a corpus with an owner: the caller's."""
        owner = self.own(ctx).get(OWNER, "")
        nobody = self.corpus.owner is not None and not owner
        return [] if nobody else await self._totals.of(ctx, owner, period)

    async def _entries(
        self,
        ctx: rf.QueryCtx,
        *,
        pagination_opts: rf.PaginationOptions,
        subject: str | None = None,
        work: Work | None = None,
    ) -> rf.Page[EntryRow]:
        """Entries, newest first: all, those for one source, search or answer, or those of one kind of work."""
        table = self.corpus.tables.LedgerEntry
        query, whose = ctx.db.query(table), self.own(ctx)
        if subject is not None:
            query = query.using(table.by_subject, **whose, subject=subject)
            query = query if work is None else query.filter(lambda entry: entry.work == work)
        elif work is not None:
            query = query.using(table.by_work, **whose, work=work)
        else:
            query = query.using(table.by_day, **whose)
        page = await query.order("desc").paginate(pagination_opts)
        return page.with_items([await self._entry_row(ctx, entry) for entry in page.page])

    async def _entry_row(self, ctx: rf.QueryCtx, entry: LedgerEntry) -> EntryRow:
        subject = None if entry.subject is None else await ctx.db.get(rf.Id[Any](entry.subject))
        return EntryRow(
            id=entry.id,
            created=entry.created,
            work=entry.work,
            model=entry.model,
            subject=entry.subject,
            name=_name_of(subject),
            tokens_in=entry.tokens_in,
            tokens_out=entry.tokens_out,
            ms=entry.time_us / 1000,
            retries=entry.retries,
            calls=entry.calls,
            cached=entry.cached,
            cost=None if entry.cost_nanos is None else entry.cost_nanos / NANOS,
        )


def _name_of(subject: rf.Table | None) -> str | None:
    """What it is called; a field that may be missing may hold no text."""
    found = (getattr(subject, field, None) for field in _NAMES)
    return next((name for name in found if isinstance(name, str) and name), None)
