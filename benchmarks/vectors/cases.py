"""The searches that are measured: without a filter, and under filters of known selectivity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .data import Dataset

Operator = Literal["$eq", "$lt", "$in"]
Field = Literal["cat", "r", "topic"]

SIGNS = {"$eq": "=", "$lt": "<", "$in": "IN"}
"""The operators as SQL writes them."""


@dataclass(frozen=True)
class Condition:
    """One comparison of a metadata field."""

    field: Field
    operator: Operator
    value: float | Sequence[int]

    def as_mapping(self) -> dict[str, dict[str, object]]:
        """As a filter of Pinecone's language, which is Chroma's too."""
        value = list(self.value) if isinstance(self.value, Sequence) else self.value
        return {self.field: {self.operator: value}}

    def as_sql(self) -> str:
        """As a condition of SQL."""
        value = f"({', '.join(map(str, self.value))})" if isinstance(self.value, Sequence) else str(self.value)
        return f"{self.field} {SIGNS[self.operator]} {value}"

    def mask(self, data: Dataset) -> NDArray[np.bool_]:
        """Which rows pass."""
        column = data.column(self.field)
        if isinstance(self.value, Sequence):
            return np.isin(column, np.array(self.value))
        return column == self.value if self.operator == "$eq" else column < self.value


@dataclass(frozen=True)
class Case:
    """A kind of search; `condition` None for one without a filter."""

    name: str
    title: str
    condition: Condition | None

    def passing(self, data: Dataset) -> NDArray[np.bool_]:
        """Which rows of the data a search may return."""
        return np.ones(len(data.vectors), dtype=np.bool_) if self.condition is None else self.condition.mask(data)


def cases(data: Dataset) -> tuple[Case, ...]:
    """All cases of a data set, the unfiltered one first."""
    return (
        Case("all", "100 %", None),
        Case("half", "50 %", Condition("r", "$lt", 0.5)),
        Case("tenth", "10 %", Condition("r", "$lt", 0.1)),
        Case("hundredth", "1 %", Condition("r", "$lt", 0.01)),
        Case("thousandth", "0.1 %", Condition("cat", "$eq", 5)),
        Case("correlated", "1.5 %, correlated", Condition("topic", "$in", data.correlated)),
    )
