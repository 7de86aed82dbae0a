"""The totals of a ledger: what work took in a day, a month and in all, per kind of work and model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import reflow as rf
from reflow.errors import ApplicationError
from reflow.rag.costs.spending import NANOS, PERIODS, Work, period_name
from reflow.rag.tables import OWNER, LedgerTotal

if TYPE_CHECKING:
    from reflow.rag.corpus import Corpus

DAY_SECONDS = 86_400.0

_PERIOD = re.compile(r"total|\d{4}-\d\d(-\d\d)?")
_SUMMED = ("tokens_in", "tokens_out", "time_us", "retries", "calls", "cached")


class Line(rf.Object):
    """An entry on its way into the tables: whose it is, and in whole units."""

    owner: str
    work: Work
    model: str
    subject: str | None
    tokens_in: int
    tokens_out: int
    time_us: int
    retries: int
    calls: int
    cached: int
    cost_nanos: int | None


class Total(rf.Object, rename="camel"):
    """What one kind of work by one model took. `ms` is its time in milliseconds, `cost` in the currency of the
    `Spending`.

    `unpriced` counts entries of models without a price: their cost is not known, and not in `cost`.
    """

    work: Work
    model: str
    entries: int
    tokens_in: int
    tokens_out: int
    ms: float
    retries: int
    calls: int
    cached: int
    cost: float
    unpriced: int


class Totals:
    """The sums of a corpus's ledger. Those of all owners together have the owner ""."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus

    async def add(self, ctx: rf.MutationCtx, lines: Sequence[Line]) -> None:
        """Adds lines to the totals of their owners and to those of all together, for each period that it is now."""
        shard = ctx.random.randrange(self._corpus.limits.ledger_shards)
        groups: dict[tuple[str, Work, str], list[Line]] = {}
        for line in lines:
            for owner in dict.fromkeys(("", line.owner)):
                groups.setdefault((owner, line.work, line.model), []).append(line)
        for (owner, _, _), part in groups.items():
            for per in PERIODS:
                await self._add_up(ctx, owner, period_name(ctx.now(), per), shard, part)

    async def _add_up(self, ctx: rf.MutationCtx, owner: str, period: str, shard: int, lines: Sequence[Line]) -> None:
        """Adds lines of one kind of work by one model to one total."""
        table, place = self._place(owner)
        place |= {"period": period, "work": lines[0].work, "model": lines[0].model, "shard": shard}
        row = await ctx.db.query(table).using(table.by_period, **place).first()
        sums: dict[str, Any] = {name: sum(getattr(line, name) for line in lines) for name in _SUMMED}
        sums["entries"] = len(lines)
        sums["cost_nanos"] = sum(line.cost_nanos or 0 for line in lines)
        sums["unpriced"] = sum(line.cost_nanos is None for line in lines)
        if row is None:
            await ctx.db.insert(table(**place, **sums))
        else:
            await ctx.db.patch(row.id, **{name: getattr(row, name) + count for name, count in sums.items()})

    def _place(self, owner: str) -> tuple[type[LedgerTotal], dict[str, Any]]:
        """Where an owner's totals are: the table, and what tells them apart there."""
        tables = self._corpus.tables
        return (tables.LedgerShare, {OWNER: owner}) if owner else (tables.LedgerTotal, {})

    async def rows(self, ctx: rf.QueryCtx, owner: str, period: str) -> list[LedgerTotal]:
        """The rows of a period, by its name: those of one total have to be added up."""
        table, whose = self._place(owner)
        return await ctx.db.query(table).using(table.by_period, **whose, period=period).collect()

    async def of(self, ctx: rf.QueryCtx, owner: str, period: str) -> list[Total]:
        """A period's totals; "day" and "month" are the present ones. Raises ApplicationError for an unknown one."""
        if period in ("day", "month"):
            period = period_name(ctx.now(every=DAY_SECONDS), period)
        if not _PERIOD.fullmatch(period):
            raise ApplicationError(f'{period!r:.50} is no period: "day", "month", "total", "2026-11-23" or "2026-11"')
        groups: dict[tuple[Work, str], list[LedgerTotal]] = {}
        for row in await self.rows(ctx, owner, period):
            groups.setdefault((row.work, row.model), []).append(row)
        return [_merged(rows) for rows in groups.values()]


def _merged(rows: Sequence[LedgerTotal]) -> Total:
    """What the rows of all shards add up to, for one kind of work by one model."""
    return Total(
        work=rows[0].work,
        model=rows[0].model,
        entries=sum(row.entries for row in rows),
        tokens_in=sum(row.tokens_in for row in rows),
        tokens_out=sum(row.tokens_out for row in rows),
        ms=sum(row.time_us for row in rows) / 1000,
        retries=sum(row.retries for row in rows),
        calls=sum(row.calls for row in rows),
        cached=sum(row.cached for row in rows),
        cost=sum(row.cost_nanos for row in rows) / NANOS,
        unpriced=sum(row.unpriced for row in rows),
    )
