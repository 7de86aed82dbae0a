"""The benchmark of vector search: what counts as a right answer, which rows a case lets pass, how parts are kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.vectors.cases import Case, Condition, cases
from benchmarks.vectors.data import Dataset
from benchmarks.vectors.report import LARGE, SMALL, derived, keep
from benchmarks.vectors.truth import Truth

ALL = Case("all", "100 %", None)


def some(folder: Path) -> Dataset:
    """Six rows along a line, best first for the only query; the last two score the same."""
    cosines = np.array([1.0, 0.9, 0.8, 0.7, 0.6, 0.6])
    vectors = np.stack([cosines, np.sqrt(1 - cosines**2)], axis=1).astype(np.float32)
    return Dataset(
        name="some",
        folder=folder,
        vectors=vectors,
        queries=np.array([[1.0, 0.0]], dtype=np.float32),
        cat=np.array([5, 1, 5, 1, 5, 5]),
        r=np.array([0.4, 0.6, 0.05, 0.005, 0.9, 0.2]),
        topic=np.array([7, 8, 7, 9, 9, 9]),
        correlated=(7, 8),
    )


def test_recall_is_the_share_of_the_best_that_was_found(tmp_path: Path) -> None:
    truth = Truth(some(tmp_path), ALL)
    assert truth.recall(0, [0, 1, 2, 3], 4) == 1
    assert truth.recall(0, [3, 2, 1, 0], 4) == 1, "order is not asked for"
    assert truth.recall(0, [0, 1, 4, 5], 4) == 0.5
    assert truth.recall(0, [0, 0, 0, 0], 4) == 0.25, "the same row twice is one hit"
    assert truth.recall(0, [], 4) == 0


def test_rows_that_score_the_same_take_each_others_place(tmp_path: Path) -> None:
    truth = Truth(some(tmp_path), ALL)
    assert truth.recall(0, [0, 1, 2, 3, 4], 5) == truth.recall(0, [0, 1, 2, 3, 5], 5) == 1


def test_hits_that_fail_the_filter_do_not_count(tmp_path: Path) -> None:
    truth = Truth(some(tmp_path), Case("thousandth", "", Condition("cat", "$eq", 5)))
    assert truth.available == 4
    assert truth.recall(0, [0, 2], 2) == 1
    assert truth.recall(0, [0, 1], 2) == 0.5


def test_where_fewer_rows_pass_than_are_asked_for_all_of_them_are_wanted(tmp_path: Path) -> None:
    truth = Truth(some(tmp_path), Case("hundredth", "", Condition("r", "$lt", 0.01)))
    assert truth.recall(0, [3], 10) == 1
    assert truth.recall(0, [0], 10) == 0


@pytest.mark.parametrize(
    ("condition", "passing", "mapping", "sql"),
    [
        (Condition("cat", "$eq", 5), [0, 2, 4, 5], {"cat": {"$eq": 5}}, "cat = 5"),
        (Condition("r", "$lt", 0.1), [2, 3], {"r": {"$lt": 0.1}}, "r < 0.1"),
        (Condition("topic", "$in", (7, 8)), [0, 1, 2], {"topic": {"$in": [7, 8]}}, "topic IN (7, 8)"),
    ],
)
def test_a_condition_is_the_same_in_every_dialect(
    condition: Condition, passing: list[int], mapping: dict[str, object], sql: str, tmp_path: Path
) -> None:
    assert np.flatnonzero(condition.mask(some(tmp_path))).tolist() == passing
    assert condition.as_mapping() == mapping
    assert condition.as_sql() == sql


def test_the_correlated_case_asks_for_the_data_sets_own_topics(tmp_path: Path) -> None:
    data = some(tmp_path)
    found = {case.name: case for case in cases(data)}
    assert np.flatnonzero(found["correlated"].passing(data)).tolist() == [0, 1, 2]
    assert found["all"].passing(data).all()


def test_the_worst_case_counts() -> None:
    figures = {
        f"{SMALL}_{engine}_{case}_10_{unit}": value
        for engine, case, unit, value in (
            ("reflow", "all", "recall", 1.0),
            ("reflow", "half", "recall", 0.9),
            ("reflow", "all", "cpu_ms", 3.0),
            ("reflow", "half", "cpu_ms", 2.0),
            ("reflow", "tenth", "cpu_ms", 1.0),
            ("chroma", "all", "cpu_ms", 2.0),
            ("chroma", "half", "cpu_ms", 100.0),
            ("chroma", "tenth", "cpu_ms", 4.0),
        )
    }
    found = derived(figures)
    assert found[f"{SMALL}_reflow_least_recall"] == 0.9
    assert found[f"{SMALL}_reflow_filtered_cpu_ms"] == 2.0, "without a filter is another matter"
    assert found[f"{SMALL}_reflow_all_of_chroma"] == 1.5
    assert found[f"{SMALL}_reflow_filtered_of_chroma"] == 0.25
    assert f"{LARGE}_reflow_least_recall" not in found, "what was not measured has no figure"


def test_a_row_of_the_page_is_an_engine_and_a_cell_a_case(tmp_path: Path) -> None:
    figures = {f"{SMALL}_chroma_{case}_10_{unit}": 2.5 for case in ("all", "half") for unit in ("cpu_ms", "p50_ms")}
    figures |= {f"{SMALL}_chroma_{case}_10_recall": 0.875 for case in ("all", "half")}
    keep(tmp_path, "search", figures)
    page = (tmp_path / "results.md").read_text()
    assert "| Chroma | 2.5 (2.5) 0.875 | 2.5 (2.5) 0.875 |  |  |  |  |" in page
    assert "zvec" not in page, "what was not measured has no row"


def test_a_part_measured_anew_replaces_itself_alone(tmp_path: Path) -> None:
    keep(tmp_path, "bulk", {"bulk_durable_rows_per_s": 10_000.0})
    keep(tmp_path, "standing", {"standing_testing_cpu_ms": 4.0})
    keep(tmp_path, "bulk", {"bulk_durable_rows_per_s": 40_000.0})
    kept = json.loads((tmp_path / "results.json").read_text())
    assert kept["bulk"]["figures"] == {"bulk_durable_rows_per_s": 40_000.0}
    assert kept["standing"]["figures"] == {"standing_testing_cpu_ms": 4.0}
    page = (tmp_path / "results.md").read_text()
    assert "| bulk load, durable, vectors/s | >= 30000 | 40,000 | reached |" in page
    assert "| 1,000 standing queries: CPU ms to test a commit of 100 | <= 10 | 4 | reached |" in page
