"""Budgets: how much work there may be, changeable while the application runs, and what is used of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import reflow as rf
from reflow.errors import ApplicationError, DefinitionError
from reflow.rag.costs.spending import NANOS, Budget, Per, Refusal, Work, period_end, period_name
from reflow.rag.costs.totals import DAY_SECONDS, Totals
from reflow.rag.part import Part
from reflow.rag.tables import OWNER, LedgerBudget, LedgerTotal

if TYPE_CHECKING:
    from reflow.rag.corpus import Corpus


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


class Budgets:
    """The budgets of a corpus."""

    def __init__(self, part: Part, corpus: Corpus, totals: Totals) -> None:
        if corpus.owner is None and any(budget.each for budget in corpus.spending.budgets):
            raise DefinitionError(
                f"corpus {corpus.name!r} has no owner: a Budget with each=True needs one. Leave each out, or give the "
                "corpus an owner="
            )
        self._part = part
        self._corpus = corpus
        self._totals = totals
        self.check = part.background_query("check", self._check)
        self.states = part.background_query("states", self._states)
        self.list = part.query("budgets", self._list)
        # Who owns a part of the corpus does not decide what may be spent on it.
        register = part.mutation if corpus.owner is None else part.background_mutation
        self.set = register("setBudget", self._set)

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
        """What a budget says to whom it stops."""
        stops = "is used up" if state.exhausted else "has not enough left"
        what = "" if state.work is None else f" for {state.work}"
        per = "in all" if state.per == "total" else f"this {state.per}"
        then = "raise it" if state.until is None else "raise it, or wait until it begins anew"
        if self._corpus.owner is not None and not state.each:
            # What all owners together use is not for each of them to read.
            return f"the budget of corpus {self._corpus.name!r}{what} {stops} {per}: {then}"
        used: list[str] = []
        if state.money is not None:
            used.append(f"{state.used_money:.6g} of {state.money:g} {self._corpus.spending.currency}")
        if state.tokens is not None:
            used.append(f"{state.used_tokens} of {state.tokens} tokens")
        return f"the budget{what} {stops} {per} ({', '.join(used)}): {then}"

    async def _states(self, ctx: rf.QueryCtx, owner: str) -> list[BudgetState]:
        """Every budget that stops an owner's work, with what is used of it. `owner` "": those of all together."""
        now = ctx.now(every=DAY_SECONDS)
        used: dict[tuple[str, Per], list[LedgerTotal]] = {}
        states: list[BudgetState] = []
        for budget, from_code in (await self._effective(ctx, owner)).values():
            key = owner if budget.each else "", budget.per
            if key not in used:
                used[key] = await self._totals.rows(ctx, key[0], period_name(now, budget.per))
            counted = [row for row in used[key] if budget.work in (None, row.work)]
            states.append(_state(budget, counted, from_code, period_end(now, budget.per)))
        return states

    async def _effective(
        self, ctx: rf.QueryCtx, owner: str
    ) -> dict[tuple[Per, Work | None, bool], tuple[Budget, bool]]:
        """The budgets that hold for an owner: those of the code, where none was set in their place."""
        table = self._corpus.tables.LedgerBudget
        found: dict[tuple[Per, Work | None, bool], tuple[Budget, bool]] = {
            (one.per, one.work, one.each): (one, True) for one in self._corpus.spending.budgets if owner or not one.each
        }
        for only in dict.fromkeys(("", owner)):
            for row in await ctx.db.query(table).using(table.by_owner, only=only).collect():
                if owner or not row.each:
                    found.pop((row.per, row.work, row.each), None)
                    if row.money is not None or row.tokens is not None:
                        found[row.per, row.work, row.each] = (_budget_of(row), False)
        return found

    async def _set(
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
        if (each or owner is not None) and self._corpus.owner is None:
            raise ApplicationError(f"corpus {self._corpus.name!r} has no owners: leave out each and owner")
        if owner == "":
            raise ApplicationError("owner is empty: name one, or leave it out")
        if money is not None or tokens is not None:
            try:
                Budget(money=money, tokens=tokens, per=per, work=work)
            except DefinitionError as error:
                raise ApplicationError(str(error)) from None
        table = self._corpus.tables.LedgerBudget
        made = table(per=per, work=work, each=each or owner is not None, only=owner or "", money=money, tokens=tokens)
        for row in await ctx.db.query(table).using(table.by_owner, only=made.only, per=per).collect():
            if (row.work, row.each) == (made.work, made.each):
                await ctx.db.replace(row.id, made)
                break
        else:
            await ctx.db.insert(made)
        await self._corpus.jobs.wake(ctx)

    async def _list(self, ctx: rf.QueryCtx) -> list[BudgetState]:
        """The budgets and what is used of them. In a corpus with an owner: the caller's own."""
        if self._corpus.owner is None:
            return await ctx.run_query(self.states, "")
        owner = self._part.own(ctx)[OWNER]
        return [state for state in await ctx.run_query(self.states, owner) if state.each] if owner else []


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
