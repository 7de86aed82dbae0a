"""The benchmark's report: medians, ratios inside a round, aims judged, files written."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.floor import frame
from benchmarks.load import quantile
from benchmarks.plot import svg
from benchmarks.report import AIMS, markdown, medians, write_report

ROUNDS = [
    {"creates_reflow_durable_ops_per_s": ours, "creates_pocketbase_ops_per_s": theirs, "creates_reflow_durable_lost": 0}
    for ours, theirs in ((100.0, 200.0), (300.0, 100.0), (500.0, 400.0))
]
CONDITIONS = {"round_load_average_1m": 1.5, "round_foreign_cpu_cores": 0.25, "round_seconds": 90.0}


def test_a_ratio_is_the_median_of_the_rounds_own_ratios() -> None:
    figures = medians(ROUNDS)
    assert figures["creates_reflow_durable_ops_per_s"] == 300.0
    assert figures["creates_pocketbase_ops_per_s"] == 200.0
    assert figures["creates_reflow_durable_of_pocketbase"] == 1.25


def test_a_figure_missing_from_a_round_is_the_median_of_the_others() -> None:
    assert medians([{"a_us": 1.0}, {"a_us": 3.0, "b_us": 7.0}]) == {"a_us": 2.0, "b_us": 7.0}


def test_aims_are_judged_on_the_right_side_of_their_bound() -> None:
    aims = {aim.figure: aim for aim in AIMS}
    share = aims["contended_reflow_durable_share_of_uncontended"]
    assert share.reached(0.9)
    assert not share.reached(0.89)
    growth = aims["distinct_reflow_durable_cpu_growth"]
    assert growth.reached(1.3)
    assert not growth.reached(1.31)
    lost = aims["creates_reflow_durable_lost"]
    assert lost.reached(0)
    assert not lost.reached(-1), "stored twice is as wrong as lost"


def test_the_page_has_a_row_for_each_server_measured_and_no_other() -> None:
    page = markdown(medians(ROUNDS), ROUNDS, [])
    assert "| durable creates/s, of PocketBase's | >= 1 | 1.25 | 0.50, 3, 1.25 | reached |" in page
    assert "| PocketBase (no fsync) | 200 |" in page
    assert "relaxed" not in page
    assert "## Fan-out" not in page


def test_the_json_is_flat_and_holds_numbers_only(tmp_path: Path) -> None:
    rounds = [figures | CONDITIONS for figures in ROUNDS]
    page = write_report(medians(rounds), rounds, tmp_path / "new")
    assert (tmp_path / "new" / "results.md").read_text() == page
    figures = json.loads((tmp_path / "new" / "results.json").read_text())
    assert figures["creates_reflow_durable_of_pocketbase"] == 1.25
    assert all(isinstance(value, float) for value in figures.values())
    assert len(json.loads((tmp_path / "new" / "rounds.json").read_text())) == 3


def test_a_floor_frame_has_the_size_asked_for() -> None:
    assert [len(frame(7, size)) for size in (60, 127, 128, 129, 300)] == [60, 127, 128, 129, 300]
    assert frame(7, 60)[2:14] == b"000000000007"
    assert frame(7, 300)[:4] == b"\x81\x7e" + (296).to_bytes(2, "big")


def test_a_quantile_is_one_of_the_values() -> None:
    assert quantile([5.0, 1.0, 3.0], 0.5) == 3.0
    assert quantile([5.0, 1.0, 3.0], 0.99) == 5.0


def test_the_plot_has_a_bar_for_each_server_measured_and_the_longest_for_the_largest() -> None:
    root = ElementTree.fromstring(svg(medians(ROUNDS)))
    bars = [float(bar.attrib["width"]) for bar in root.iter("{http://www.w3.org/2000/svg}rect")]
    assert len(bars) == 2
    assert bars[0] == pytest.approx(1.5 * bars[1], rel=0.01)
