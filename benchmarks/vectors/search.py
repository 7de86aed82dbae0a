"""Searches without and with filters: recall, processor time and latency, the engines in turn within each round."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks.load import Figures

from .cases import Case, cases
from .client import Engine, open_engines
from .data import QUERIES, Dataset
from .truth import Truth


@dataclass(frozen=True)
class Pace:
    """How much is searched."""

    rounds: int
    queries: int
    """Of each case in a round."""
    seconds: float
    """A case's searches end after this time, however few they are."""


FULL = Pace(rounds=3, queries=60, seconds=2.0)
QUICK = Pace(rounds=1, queries=20, seconds=0.5)

Asked = tuple[tuple[Case, int], ...]
"""Cases with how many hits are asked for."""


def everything(data: Dataset) -> Asked:
    """All cases for 10 hits, then for 100."""
    return tuple((case, k) for k in (10, 100) for case in cases(data))


def search(data: Dataset, engines: Sequence[str], asked: Asked, pace: Pace) -> Figures:
    """Figures named DATASET_ENGINE_CASE_K_UNIT: the median over the rounds, the mean for recall."""
    truths = {case.name: Truth(data, case) for case, _ in asked}
    rounds: list[Figures] = []
    with ExitStack() as cleanup:
        opened = open_engines(engines, data.name, cleanup)
        for number in range(pace.rounds):
            print(f"  {data.name}, round {number + 1}", flush=True)
            first = number * pace.queries
            queries = [place % QUERIES for place in range(first, first + pace.queries)]
            rounds.append(_round(opened, data.name, asked, truths, queries, pace))
        figures = {
            f"{data.name}_{engine.name}_{name}": value
            for engine in opened
            for name, value in engine.worker.state.items()
        }
    return figures | _together(rounds)


def _round(
    engines: Sequence[Engine],
    data: str,
    asked: Asked,
    truths: dict[str, Truth],
    queries: Sequence[int],
    pace: Pace,
) -> Figures:
    figures: Figures = {}
    for case, k in asked:
        truth = truths[case.name]
        for engine in engines:
            measured = engine.search(case.name, k, queries, pace.seconds)
            name = f"{data}_{engine.name}_{case.name}_{k}"
            found = zip(measured["queries"], measured["hits"], strict=True)
            figures[f"{name}_recall"] = statistics.fmean(truth.recall(query, hits, k) for query, hits in found)
            figures[f"{name}_cpu_ms"] = measured["cpu_ms"]
            figures[f"{name}_p50_ms"] = statistics.median(measured["wall_ms"])
    return figures


def _together(rounds: Sequence[Figures]) -> Figures:
    return {
        name: (statistics.fmean if name.endswith("_recall") else statistics.median)([one[name] for one in rounds])
        for name in rounds[0]
    }
