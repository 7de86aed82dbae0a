"""What work costs, and how much of it there may be: prices, budgets, periods. Nothing here reads or writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Literal, get_args

import reflow as rf
from reflow.errors import DefinitionError

Work = Literal["embed", "search", "answer", "rewrite", "rerank"]
"""What is paid for: vectors of sources, of searches, answers, questions put otherwise, and results put in order."""

Per = Literal["day", "month", "total"]
"""How long a budget lasts. Days and months are those of UTC."""

WORK: tuple[Work, ...] = get_args(Work)
PERIODS: tuple[Per, ...] = get_args(Per)

NANOS = 1_000_000_000
"""Money is added up in whole billionths of the currency, so that sums do not depend on the order."""

_FREE = "local/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a model costs, in the currency of the `Spending`: per million tokens, and per call where calls are billed
    (such as a reranker's)."""

    per_million_input: float = 0.0
    per_million_output: float = 0.0
    per_call: float = 0.0

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if not isfinite(value) or value < 0:
                raise DefinitionError(f"Price({name}={value!r}): a price is a number of at least 0")

    def nanos(self, tokens_in: int, tokens_out: int, calls: int) -> int:
        """The price of some work, in billionths of the currency."""
        tokens = tokens_in * self.per_million_input + tokens_out * self.per_million_output
        return round(tokens * (NANOS / 1_000_000) + calls * self.per_call * NANOS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Work stops when it has used so much `money` or so many `tokens` (in and out together) in a period.

    `work` names the kind of work that counts and stops; without it all work together does. In a corpus with an owner
    `each` gives every owner such a budget of their own.
    """

    money: float | None = None
    tokens: int | None = None
    per: Per = "total"
    work: Work | None = None
    each: bool = False

    def __post_init__(self) -> None:
        if self.money is None and self.tokens is None:
            raise DefinitionError("a Budget needs money= or tokens=")
        if self.per not in PERIODS:
            raise DefinitionError(f"Budget(per={self.per!r}): choose one of {', '.join(PERIODS)}")
        if self.work is not None and self.work not in WORK:
            raise DefinitionError(f"Budget(work={self.work!r}): choose one of {', '.join(WORK)}, or leave it out")
        for value in (self.money, self.tokens):
            if value is not None and not (isfinite(value) and value >= 0):
                raise DefinitionError(f"a Budget is a number of at least 0, got {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """Prices of models by name (an embedder's `id`, a chat model's name), and the budgets that stop work.

    Models that run here ("local/...") cost nothing; the ledger counts work of other models without a price apart, as
    unpriced. Budgets can be changed while the application runs: `corpus.ledger.set_budget`.
    """

    prices: Mapping[str, Price] = field(default_factory=dict[str, Price])
    budgets: Sequence[Budget] = ()
    currency: str = "USD"

    def __post_init__(self) -> None:
        keys = [(budget.per, budget.work, budget.each) for budget in self.budgets]
        for key in keys:
            if keys.count(key) > 1:
                raise DefinitionError(
                    f"two budgets per {key[0]} for {key[1] or 'all work'}: write one with both bounds"
                )

    def price(self, model: str) -> Price | None:
        """What a model costs; None where nobody said so."""
        found = self.prices.get(model)
        return Price() if found is None and model.startswith(_FREE) else found


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Work that was done, for the ledger.

    `row` is what it was done for: a source, a search, an answer. It says whose it is; without it that is the caller.
    `cached` counts texts that needed no work, `retries` failed tries before.
    """

    work: Work
    model: str
    row: rf.Table | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    ms: float = 0.0
    retries: int = 0
    calls: int = 1
    cached: int = 0


class Refusal(rf.Object, rename="camel"):
    """Why work has to wait: the budget that is used up, and when it begins anew.

    `until` is in seconds since 1970; None: not before somebody raises the budget.
    """

    reason: str
    until: float | None


def period_name(now: float, per: Per) -> str:
    """The period that a time (seconds since 1970) is in: "2026-11-23", "2026-11" or "total"."""
    if per == "total":
        return "total"
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d" if per == "day" else "%Y-%m")


def period_end(now: float, per: Per) -> float | None:
    """When the period that a time is in ends, in seconds since 1970; None: never."""
    if per == "total":
        return None
    day = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if per == "day":
        return (day + timedelta(days=1)).timestamp()
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1).timestamp()


def apportion(total: int, weights: Sequence[int]) -> list[int]:
    """`total` in whole parts that are as the weights and add up to it: the tokens of one request for several sources.

    All weights 0 count as equal ones. No weights give no parts.
    """
    if not weights:
        return []
    shares = list(weights) if any(weights) else [1] * len(weights)
    whole = sum(shares)
    parts: list[int] = []
    given = seen = 0
    for share in shares:
        seen += share
        parts.append(total * seen // whole - given)
        given += parts[-1]
    return parts
