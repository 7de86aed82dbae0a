"""`Ledger`: tokens, time, retries and money, as ordinary live tables, and the budgets that stop work."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

import reflow as rf
from reflow.errors import ApplicationError, DefinitionError
from reflow.rag.part import Part
from reflow.rag.spending import NANOS, PERIODS, Budget, Entry, Per, Refusal, Work, period_end, period_name
from reflow.rag.tables import OWNER, LedgerBudget, LedgerEntry, LedgerTotal

if TYPE_CHECKING:
    from reflow.rag.corpus import Corpus

_PERIOD = re.compile(r"total|\d{4}-\d\d(-\d\d)?")
_DAY_SECONDS = 86_400.0


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


class BudgetState(rf.Object, rename="camel"):
    """A budget and what is used of it. `until` is when it begins anew, in milliseconds since 1970; None: never.

    `from_code` tells it from one that was set while the application runs.
    """

    per: Per
    work: Work | None
    each: bool
    money: float | None
    tokens: int | None
    used_money: float
    used_tokens: int
    exhausted: bool
    until: float | None
    from_code: bool


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


_NAMES = ("name", "question", "input", "text")
"""Fields that name a source, an answer, a search: the first that is there."""
_SUMMED = ("tokens_in", "tokens_out", "time_us", "retries", "calls", "cached")


class Ledger(Part):
    """Tokens, time, retries and money, as ordinary live tables, and the budgets that stop work.

    Whoever works asks `allows` before and calls `record` in the mutation that stores what came of it.
    """

    def __init__(self, corpus: Corpus) -> None:
        super().__init__(corpus, "ledger")
        self.spending = corpus.spending
        if corpus.owner is None and any(budget.each for budget in self.spending.budgets):
            raise DefinitionError(
                f"corpus {corpus.name!r} has no owner: a Budget with each=True needs one. Leave each out, or give the "
                "corpus an owner="
            )
        self.add = self.background_mutation("add", self._add)
        self.check = self.background_query("check", self._check)
        self.states = self.background_query("states", self._states)
        self.totals_of = self.background_query("totalsOf", self._totals_of)
        self.entries = self.query("entries", self._entries)
        self.totals = self.query("totals", self._totals)
        self.budgets = self.query("budgets", self._budgets)
        # Who owns a part of the corpus does not decide what may be spent on it.
        register = self.mutation if corpus.owner is None else self.background_mutation
        self.set_budget = register("setBudget", self._set_budget)

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
        now = ctx.now()
        await ctx.db.insert_many(self._entry(line, period_name(now, "day")) for line in lines)
        shard = ctx.random.randrange(self.corpus.limits.ledger_shards)
        groups: dict[tuple[str, Work, str], list[Line]] = {}
        for line in lines:
            for owner in dict.fromkeys(("", line.owner)):
                groups.setdefault((owner, line.work, line.model), []).append(line)
        for (owner, _, _), part in groups.items():
            for per in PERIODS:
                await self._add_up(ctx, owner, period_name(now, per), shard, part)

    def _entry(self, line: Line, day: str) -> LedgerEntry:
        fields = {name: value for name, value in msgspec.structs.asdict(line).items() if value is not None}
        del fields["owner"]
        return self.corpus.tables.LedgerEntry(day=day, **fields, **self._scope(line.owner))

    def _scope(self, owner: str) -> dict[str, Any]:
        """An owner as a field of a row, or a condition on it."""
        return {} if self.corpus.owner is None else {OWNER: owner}

    def _sums(self, owner: str) -> tuple[type[LedgerTotal], dict[str, Any]]:
        """Where an owner's totals are, "" being all together: the table, and what tells them apart there."""
        tables = self.corpus.tables
        return (tables.LedgerShare, self._scope(owner)) if owner else (tables.LedgerTotal, {})

    async def _add_up(self, ctx: rf.MutationCtx, owner: str, period: str, shard: int, lines: Sequence[Line]) -> None:
        """Adds lines of one kind of work by one model to one total."""
        table, place = self._sums(owner)
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

    # Budgets

    async def _check(self, ctx: rf.QueryCtx, work: Work, owner: str, tokens: int, nanos: int) -> Refusal | None:
        for state in await self._states(ctx, owner):
            if state.work not in (None, work):
                continue
            over_money = state.money is not None and state.used_money + nanos / NANOS > state.money
            over_tokens = state.tokens is not None and state.used_tokens + tokens > state.tokens
            if state.exhausted or over_money or over_tokens:
                return Refusal(reason=self.reason(state), until=None if state.until is None else state.until / 1000)
        return None

    def reason(self, state: BudgetState) -> str:
        """What a budget that is used up says to whom it stops."""
        what = "" if state.work is None else f" for {state.work}"
        per = "in all" if state.per == "total" else f"this {state.per}"
        then = "raise it" if state.until is None else "raise it, or wait until it begins anew"
        if self.corpus.owner is not None and not state.each:
            # What all owners together use is not for each of them to read.
            return f"the budget of corpus {self.corpus.name!r}{what} is used up {per}: {then}"
        used: list[str] = []
        if state.money is not None:
            used.append(f"{state.used_money:.6g} of {state.money:g} {self.spending.currency}")
        if state.tokens is not None:
            used.append(f"{state.used_tokens} of {state.tokens} tokens")
        return f"the budget{what} is used up {per} ({', '.join(used)}): {then}"

    async def _states(self, ctx: rf.QueryCtx, owner: str) -> list[BudgetState]:
        """Every budget that stops an owner's work, with what is used of it. `owner` "": those of all together."""
        now = ctx.now(every=_DAY_SECONDS)
        used: dict[tuple[str, Per], list[LedgerTotal]] = {}
        states: list[BudgetState] = []
        for budget, from_code in (await self._effective(ctx, owner)).values():
            key = owner if budget.each else "", budget.per
            if key not in used:
                used[key] = await self._shards(ctx, key[0], period_name(now, budget.per))
            counted = [row for row in used[key] if budget.work in (None, row.work)]
            states.append(_state(budget, counted, from_code, period_end(now, budget.per)))
        return states

    async def _effective(
        self, ctx: rf.QueryCtx, owner: str
    ) -> dict[tuple[Per, Work | None, bool], tuple[Budget, bool]]:
        """The budgets that hold for an owner: those of the code, where none was set in their place."""
        table = self.corpus.tables.LedgerBudget
        found: dict[tuple[Per, Work | None, bool], tuple[Budget, bool]] = {
            (one.per, one.work, one.each): (one, True) for one in self.spending.budgets if owner or not one.each
        }
        for only in dict.fromkeys(("", owner)):
            for row in await ctx.db.query(table).using(table.by_owner, only=only).collect():
                if owner or not row.each:
                    found.pop((row.per, row.work, row.each), None)
                    if row.money is not None or row.tokens is not None:
                        found[row.per, row.work, row.each] = (_budget_of(row), False)
        return found

    async def _set_budget(
        self,
        ctx: rf.MutationCtx,
        *,
        per: Per,
        money: float | None = None,
        tokens: int | None = None,
        work: Work | None = None,
        each: bool = False,
        owner: str | None = None,
    ) -> None:
        """Sets the budget of a period in the place of the one in the code; without `money` and `tokens` there is none.

        With `each` it is every owner's, with `owner` that one's. Sources that wait for a budget go on within
        `limits.budget_check_seconds`.
        """
        if (each or owner is not None) and self.corpus.owner is None:
            raise ApplicationError(f"corpus {self.corpus.name!r} has no owners: leave out each and owner")
        if owner == "":
            raise ApplicationError("owner is empty: name one, or leave it out")
        if money is not None or tokens is not None:
            try:
                Budget(money=money, tokens=tokens, per=per, work=work)
            except DefinitionError as error:
                raise ApplicationError(str(error)) from None
        table = self.corpus.tables.LedgerBudget
        made = table(per=per, work=work, each=each or owner is not None, only=owner or "", money=money, tokens=tokens)
        for row in await ctx.db.query(table).using(table.by_owner, only=made.only, per=per).collect():
            if (row.work, row.each) == (made.work, made.each):
                await ctx.db.replace(row.id, made)
                break
        else:
            await ctx.db.insert(made)
        await self.corpus.jobs.wake(ctx)

    # Reading

    async def _shards(self, ctx: rf.QueryCtx, owner: str, period: str) -> list[LedgerTotal]:
        table, whose = self._sums(owner)
        return await ctx.db.query(table).using(table.by_period, **whose, period=period).collect()

    async def _totals_of(self, ctx: rf.QueryCtx, owner: str, period: str) -> list[Total]:
        """The totals of a period per kind of work and model, of one owner; `owner` "": of all together."""
        if period in ("day", "month"):
            period = period_name(ctx.now(every=_DAY_SECONDS), period)
        if not _PERIOD.fullmatch(period):
            raise ApplicationError(f'{period!r:.50} is no period: "day", "month", "total", "2026-11-23" or "2026-11"')
        groups: dict[tuple[Work, str], list[LedgerTotal]] = {}
        for row in await self._shards(ctx, owner, period):
            groups.setdefault((row.work, row.model), []).append(row)
        return [_merged(rows) for rows in groups.values()]

    async def _totals(self, ctx: rf.QueryCtx, *, period: str = "total") -> list[Total]:
        """What work took, per kind and model: in a `period` "day" or "month" (the present ones), "total", or a named
        one such as "2026-11-23" or "2026-11". In a corpus with an owner: the caller's."""
        owner = self._caller(ctx)
        return [] if owner is None else await self._totals_of(ctx, owner, period)

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
        query, whose = ctx.db.query(table), self._scope(self._caller(ctx) or "")
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
            name=None if subject is None else next((getattr(subject, n) for n in _NAMES if hasattr(subject, n)), None),
            tokens_in=entry.tokens_in,
            tokens_out=entry.tokens_out,
            ms=entry.time_us / 1000,
            retries=entry.retries,
            calls=entry.calls,
            cached=entry.cached,
            cost=None if entry.cost_nanos is None else entry.cost_nanos / NANOS,
        )

    async def _budgets(self, ctx: rf.QueryCtx) -> list[BudgetState]:
        """The budgets and what is used of them. In a corpus with an owner: the caller's own."""
        owner = self._caller(ctx)
        if owner is None:
            return []
        states = await ctx.run_query(self.states, owner)
        return [state for state in states if state.each or self.corpus.owner is None]

    def _caller(self, ctx: rf.QueryCtx) -> str | None:
        """Whose rows the caller sees: "" in a corpus without owners, None for who owns nothing."""
        return "" if self.corpus.owner is None else self.corpus.owner.of(ctx.auth.identity())


def _budget_of(row: LedgerBudget) -> Budget:
    return Budget(money=row.money, tokens=row.tokens, per=row.per, work=row.work, each=row.each)


def _state(budget: Budget, rows: Sequence[LedgerTotal], from_code: bool, until: float | None) -> BudgetState:
    nanos = sum(row.cost_nanos for row in rows)
    tokens = sum(row.tokens_in + row.tokens_out for row in rows)
    over_money = budget.money is not None and nanos >= budget.money * NANOS
    return BudgetState(
        per=budget.per,
        work=budget.work,
        each=budget.each,
        money=budget.money,
        tokens=budget.tokens,
        used_money=nanos / NANOS,
        used_tokens=tokens,
        exhausted=over_money or (budget.tokens is not None and tokens >= budget.tokens),
        until=None if until is None else until * 1000,
        from_code=from_code,
    )


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
