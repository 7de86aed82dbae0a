"""From the rounds' figures to the report: medians, ratios, aims, a Markdown page and a flat JSON file."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from .load import Figures

SERVERS = {
    "reflow_durable": "reflow, durable (fsync before answering)",
    "reflow_durable_http": "reflow, durable, over HTTP",
    "reflow_relaxed": "reflow, relaxed",
    "reflow_relaxed_http": "reflow, relaxed, over HTTP",
    "pocketbase": "PocketBase (no fsync)",
    "floor": "bare socket.send loop",
}


class Sign(Enum):
    """On which side of its bound a figure has to be."""

    AT_LEAST = ">="
    AT_MOST = "<="
    EXACTLY = "="


@dataclass(frozen=True)
class Aim:
    """A figure this project holds itself to."""

    text: str
    figure: str
    sign: Sign
    bound: float

    def reached(self, value: float) -> bool:
        """Whether the value is on the right side of the bound."""
        match self.sign:
            case Sign.AT_LEAST:
                return value >= self.bound
            case Sign.AT_MOST:
                return value <= self.bound
            case Sign.EXACTLY:
                return value == self.bound


AIMS = (
    Aim("durable creates/s, of PocketBase's", "creates_reflow_durable_of_pocketbase", Sign.AT_LEAST, 1.0),
    Aim("durable create, server CPU us", "creates_reflow_durable_cpu_us", Sign.AT_MOST, 120),
    Aim("relaxed creates/s, of PocketBase's", "creates_reflow_relaxed_of_pocketbase", Sign.AT_LEAST, 1.5),
    Aim("acknowledged creates lost", "creates_reflow_durable_lost", Sign.EXACTLY, 0),
    Aim("acknowledged increments of one document lost", "contended_reflow_durable_lost", Sign.EXACTLY, 0),
    Aim("contended rate, of uncontended", "contended_reflow_durable_share_of_uncontended", Sign.AT_LEAST, 0.9),
    Aim("CPU per delivery, of a bare socket.send", "fanout_reflow_durable_of_floor", Sign.AT_MOST, 1.5),
    Aim("CPU growth, 1 to 1,000 subscriptions, durable", "distinct_reflow_durable_cpu_growth", Sign.AT_MOST, 1.3),
    Aim("CPU growth, 1 to 1,000 subscriptions, relaxed", "distinct_reflow_relaxed_cpu_growth", Sign.AT_MOST, 1.3),
    Aim("memory of 1,000 subscribers, MB", "fanout_reflow_durable_memory_mb_per_1000", Sign.AT_MOST, 20),
)

RATIOS = {
    "creates_reflow_durable_of_pocketbase": ("creates_reflow_durable_ops_per_s", "creates_pocketbase_ops_per_s"),
    "creates_reflow_relaxed_of_pocketbase": ("creates_reflow_relaxed_ops_per_s", "creates_pocketbase_ops_per_s"),
    "creates_reflow_durable_http_of_pocketbase": (
        "creates_reflow_durable_http_ops_per_s",
        "creates_pocketbase_ops_per_s",
    ),
    "contended_reflow_durable_of_pocketbase": ("contended_reflow_durable_ops_per_s", "contended_pocketbase_ops_per_s"),
    "reads_reflow_durable_of_pocketbase": ("reads_reflow_durable_ops_per_s", "reads_pocketbase_ops_per_s"),
    "reads_reflow_durable_http_of_pocketbase": ("reads_reflow_durable_http_ops_per_s", "reads_pocketbase_ops_per_s"),
    "fanout_reflow_durable_of_floor": ("fanout_reflow_durable_cpu_us_per_delivery", "fanout_floor_cpu_us_per_delivery"),
    "fanout_pocketbase_of_floor": ("fanout_pocketbase_cpu_us_per_delivery", "fanout_floor_cpu_us_per_delivery"),
}
"""Ratios, taken inside a round: its servers were measured within the same minute."""

Column = tuple[str, str, Callable[[float], str]]
"""Heading, figure name without its workload and server, and how to print a value."""


def whole(value: float) -> str:
    """12345.6 as 12,346."""
    return f"{value:,.0f}"


def short(value: float) -> str:
    """One decimal below a hundred, none above."""
    return f"{value:,.1f}" if abs(value) < 100 else whole(value)


def percent(value: float) -> str:
    """0.913 as 91 %."""
    return f"{value:.0%}".replace("%", " %")


_LOAD: tuple[Column, ...] = (
    ("ops/s", "ops_per_s", whole),
    ("server CPU us/op", "cpu_us", whole),
    ("p50 ms", "p50_ms", short),
    ("p99 ms", "p99_ms", short),
    ("client busy", "client_busy_share", percent),
)
_LOST: Column = ("acknowledged, lost", "lost", whole)
TABLES: tuple[tuple[str, str, tuple[Column, ...]], ...] = (
    ("Creates, 64 clients, five small fields, one index", "creates", (*_LOAD, _LOST)),
    (
        "Increments of one document, 64 clients",
        "contended",
        (*_LOAD, ("acknowledged", "acknowledged", whole), _LOST, ("of uncontended", "share_of_uncontended", percent)),
    ),
    ("Increments, each client its own document", "uncontended", (*_LOAD, _LOST)),
    ("Point reads, 64 clients", "reads", _LOAD),
    (
        "Fan-out of one query to 1,000 sockets",
        "fanout",
        (
            ("server CPU us/delivery", "cpu_us_per_delivery", short),
            ("last subscriber p50 ms", "last_p50_ms", short),
            ("p99 ms", "last_p99_ms", short),
            ("deliveries/s, unpaced", "deliveries_per_s", whole),
            ("bytes/delivery", "bytes_per_delivery", whole),
            ("missing", "missing_deliveries", whole),
            ("MB per 1,000 subscribers", "memory_mb_per_1000", short),
            ("MB after updates", "memory_mb_per_1000_after_updates", short),
        ),
    ),
    (
        "Distinct subscriptions: each write touches exactly one",
        "distinct",
        (
            ("CPU us/write, 1", "1_cpu_us", whole),
            ("CPU us/write, 1,000", "1000_cpu_us", whole),
            ("growth", "cpu_growth", lambda value: f"{value:.2f}x"),
            ("notified p50 ms, 1", "1_notify_p50_ms", lambda value: f"{value:.2f}"),
            ("notified p50 ms, 1,000", "1000_notify_p50_ms", lambda value: f"{value:.2f}"),
        ),
    ),
)


def medians(rounds: Sequence[Figures]) -> Figures:
    """The median of each figure over the rounds that have it, ratios of each round included."""
    complete = [figures | _ratios(figures) for figures in rounds]
    names = dict.fromkeys(name for figures in complete for name in figures)
    return {name: statistics.median(figures[name] for figures in complete if name in figures) for name in names}


def _ratios(figures: Figures) -> Figures:
    """The ratios whose two figures this round has."""
    return {
        name: figures[above] / figures[below]
        for name, (above, below) in RATIOS.items()
        if above in figures and below in figures
    }


def markdown(figures: Figures, rounds: Sequence[Figures], conditions: Sequence[str]) -> str:
    """The whole report as Markdown: conditions, aims, one table per workload."""
    parts = ["# Benchmarks", *conditions, _aims(figures, rounds)]
    for title, workload, columns in TABLES:
        table = _table(figures, workload, columns)
        if table:
            parts.append(f"## {title}\n\n{table}")
    return "\n\n".join(parts) + "\n"


def _aims(figures: Figures, rounds: Sequence[Figures]) -> str:
    """Each aim whose figure was measured, with the spread over the rounds."""
    lines = ["| aim | bound | median | rounds | |", "|---|---|---|---|---|"]
    every = [figures_of_round | _ratios(figures_of_round) for figures_of_round in rounds]
    for aim in AIMS:
        if aim.figure in figures:
            spread = ", ".join(_plain(one[aim.figure]) for one in every if aim.figure in one)
            verdict = "reached" if aim.reached(figures[aim.figure]) else "**missed**"
            bound, median = f"{aim.sign.value} {aim.bound:g}", _plain(figures[aim.figure])
            lines.append(f"| {aim.text} | {bound} | {median} | {spread} | {verdict} |")
    return "\n".join(lines)


def _plain(value: float) -> str:
    """Two decimals for ratios, none for counts."""
    return f"{value:.2f}" if abs(value) < 20 and value != int(value) else whole(value)


def _table(figures: Figures, workload: str, columns: Sequence[Column]) -> str:
    """One row per server that has figures of this workload, or an empty text."""
    rows: list[str] = []
    for server, title in SERVERS.items():
        names = [f"{workload}_{server}_{suffix}" for _, suffix, _ in columns]
        if any(name in figures for name in names):
            cells = [
                show(figures[name]) if name in figures else ""
                for name, (_, _, show) in zip(names, columns, strict=True)
            ]
            rows.append(f"| {title} | " + " | ".join(cells) + " |")
    if not rows:
        return ""
    head = "| | " + " | ".join(heading for heading, _, _ in columns) + " |"
    return "\n".join([head, "|---" * (len(columns) + 1) + "|", *rows])


def conditions(figures: Figures, rounds: int) -> list[str]:
    """What the reader needs to judge the figures: when, on what, how busy it was."""
    return [
        f"{time.strftime('%Y-%m-%d %H:%M')}, {os.cpu_count()} cores ({processor()}), Python "
        f"{platform.python_version()}; servers and load client share them. Median of {rounds} round(s), in which "
        "every workload visits the servers in turn; ratios are taken inside a round.",
        f"Load average (1 min) at the end of a round {figures['round_load_average_1m']:.1f}; cores used by other "
        f"processes meanwhile {figures['round_foreign_cpu_cores']:.2f}; a round took "
        f"{figures['round_seconds']:.0f} s.",
    ]


def processor() -> str:
    """The processor's name, where the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().split("\n"):
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def write_report(figures: Figures, rounds: Sequence[Figures], directory: Path) -> str:
    """Write results.md, results.json (flat: name to median) and rounds.json; returns the Markdown."""
    directory.mkdir(parents=True, exist_ok=True)
    text = markdown(figures, rounds, conditions(figures, len(rounds)))
    (directory / "results.md").write_text(text)
    (directory / "results.json").write_text(json.dumps(_rounded(figures), indent=1) + "\n")
    (directory / "rounds.json").write_text(json.dumps([_rounded(one) for one in rounds], indent=1) + "\n")
    return text


def _rounded(figures: Figures) -> Figures:
    """Six significant digits: more is noise."""
    return {name: float(f"{value:.6g}") for name, value in figures.items()}
