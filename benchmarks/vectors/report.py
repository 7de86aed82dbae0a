"""From figures to the report: aims, tables, and a file that keeps what each part showed last."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypedDict

from benchmarks.load import Figures
from benchmarks.report import Aim, Sign, processor, short, whole

ENGINES = {
    "reflow": "reflow, in a function, documents included",
    "reflow-store": "reflow, vectors alone",
    "reflow-approximate": "reflow, approximate allowed",
    "usearch": "usearch bf16, filtered afterwards",
    "zvec": "zvec",
    "chroma": "Chroma",
    "lance": "LanceDB",
}
CASES = {
    "all": "no filter",
    "half": "50 %",
    "tenth": "10 %",
    "hundredth": "1 %",
    "thousandth": "0.1 %",
    "correlated": "correlated 1.5 %",
}
FILTERED = tuple(CASES)[1:]
DEPTHS = (10, 100)
SMALL, LARGE, REAL = "clustered-100000", "clustered-1000000", "corpus"
DATA = {
    SMALL: "100,000 x 384, clustered",
    REAL: "the demo's corpus: 6,800 real embeddings",
    LARGE: "1,000,000 x 384, clustered",
}
PROMPT_MS = 20.0
"""The longest time for which anything may hold the event loop."""

AIMS = (
    *(
        Aim(f"{title}: least recall of {way}, any filter, @10 and @100", f"{data}_{way}_least_recall", sign, bound)
        for data, title in DATA.items()
        for way, sign, bound in (
            ("reflow", Sign.EXACTLY, 1.0),
            ("reflow-store", Sign.EXACTLY, 1.0),
            ("reflow-approximate", Sign.AT_LEAST, 0.99),
        )
    ),
    Aim("100k: filtered query, most CPU ms at any selectivity", f"{SMALL}_reflow_filtered_cpu_ms", Sign.AT_MOST, 4),
    Aim("100k: filtered query, CPU of Chroma's, at worst", f"{SMALL}_reflow_filtered_of_chroma", Sign.AT_MOST, 1),
    Aim("100k: filtered query, CPU of LanceDB's, at worst", f"{SMALL}_reflow_filtered_of_lance", Sign.AT_MOST, 1),
    Aim("100k: unfiltered query, CPU of Chroma's", f"{SMALL}_reflow_all_of_chroma", Sign.AT_MOST, 2),
    Aim("100k: unfiltered query, CPU of LanceDB's", f"{SMALL}_reflow_all_of_lance", Sign.AT_MOST, 1),
    Aim("1M: unfiltered approximate query, CPU ms", f"{LARGE}_reflow-approximate_all_10_cpu_ms", Sign.AT_MOST, 1),
    Aim("1M: filtered query, exact, most CPU ms", f"{LARGE}_reflow-store_filtered_cpu_ms", Sign.AT_MOST, 35),
    Aim("1M: event loop held, ms at most", "stalls_late_max_ms", Sign.AT_MOST, PROMPT_MS),
    Aim("1,000 standing queries: CPU ms to test a commit of 100", "standing_testing_cpu_ms", Sign.AT_MOST, 10),
    Aim("standing results that are wrong", "standing_wrong", Sign.EXACTLY, 0),
    Aim("bulk load, durable, vectors/s", "bulk_durable_rows_per_s", Sign.AT_LEAST, 30_000),
    Aim("100k: anonymous MB after a bulk load", "bulk_durable_memory_mb", Sign.AT_MOST, 120),
    Aim("100k: anonymous MB once open", f"{SMALL}_reflow_memory_mb", Sign.AT_MOST, 120),
    Aim("100k: open and first search, s", f"{SMALL}_reflow_open_s", Sign.AT_MOST, 1),
    Aim("1,000 tenants x 100: recall", "tenants_recall", Sign.EXACTLY, 1),
    Aim("1,000 tenants x 100: anonymous MB", "tenants_memory_mb", Sign.AT_MOST, 120),
    Aim("searches that failed during flips", "flip_failed", Sign.EXACTLY, 0),
    Aim("answers mixed of two generations", "flip_mixed", Sign.EXACTLY, 0),
    Aim("answers of the former generation after a flip", "flip_stale", Sign.EXACTLY, 0),
    Aim("durable upserts/s, 64 clients", "upserts_ops_per_s", Sign.AT_LEAST, 2_000),
    Aim("acknowledged upserts lost", "upserts_lost", Sign.EXACTLY, 0),
)

LOADS = {
    "bulk_store": "vector store alone, not durable",
    "bulk_durable": "durable, vectors without document rows",
    "bulk_documents": "durable, documents with vectors",
    "bulk_records": "durable, records of a free-standing index",
}
OTHER_TABLES = (
    (
        "1,000 standing queries, commits of 100 new rows into 100,000",
        "standing",
        ("testing_cpu_ms", "commit_cpu_ms", "runs_per_commit", "changed_per_commit", "wrong"),
    ),
    ("1,000 namespaces x 100 vectors", "tenants", ("fill_s", "memory_mb", "cpu_ms", "p50_ms", "recall")),
    (
        "Upserts from 64 clients, one record each, through the Pinecone-compatible server",
        "upserts",
        ("ops_per_s", "cpu_us", "p50_ms", "p99_ms", "client_busy_share", "lost"),
    ),
    (
        "20,000 rows: another model takes over and back, ten flips, while tasks search, follow and write",
        "flip",
        (
            *("searches", "written", "failed", "mixed", "stale", "p50_ms", "p99_ms", "max_ms"),
            *("fill_rows_per_s", "flip_and_follow_ms"),
        ),
    ),
    (
        "1,000,000 rows: the event loop while four tasks search",
        "stalls",
        ("late_max_ms", "late_p999_ms", "busy_max_ms", "idle_process_late_max_ms", "searches"),
    ),
)


def derived(figures: Figures) -> Figures:
    """What aims ask about several cases at once."""
    found: Figures = {}
    for data in DATA:
        for way in ENGINES:
            recalls = _of(figures, data, way, CASES, DEPTHS, "recall")
            if recalls:
                found[f"{data}_{way}_least_recall"] = min(recalls)
            filtered = _of(figures, data, way, FILTERED, (10,), "cpu_ms")
            if filtered:
                found[f"{data}_{way}_filtered_cpu_ms"] = max(filtered)
        for peer in ("chroma", "lance"):
            names = {case: [f"{data}_{engine}_{case}_10_cpu_ms" for engine in ("reflow", peer)] for case in CASES}
            ratios = {
                case: figures[ours] / figures[theirs]
                for case, (ours, theirs) in names.items()
                if ours in figures and theirs in figures
            }
            if ratios:
                found[f"{data}_reflow_all_of_{peer}"] = ratios.pop("all")
                found[f"{data}_reflow_filtered_of_{peer}"] = max(ratios.values())
    return found


def _of(figures: Figures, data: str, way: str, cases: Iterable[str], depths: Sequence[int], unit: str) -> list[float]:
    names = [f"{data}_{way}_{case}_{k}_{unit}" for case in cases for k in depths]
    return [figures[name] for name in names if name in figures]


def conditions() -> str:
    """When and where a part was measured, and how busy the machine was at its end."""
    return (
        f"{time.strftime('%Y-%m-%d %H:%M')}, {os.cpu_count()} cores ({processor()}), load average "
        f"{os.getloadavg()[0]:.1f}"
    )


class Part(TypedDict):
    """What one part of the benchmarks showed last."""

    conditions: str
    figures: Figures


def keep(directory: Path, part: str, figures: Figures) -> None:
    """Puts a part's figures in place of its former ones and writes the report anew."""
    path = directory / "results.json"
    parts: dict[str, Part] = json.loads(path.read_text()) if path.exists() else {}
    rounded = {name: float(f"{value:.6g}") for name, value in figures.items()}
    parts[part] = {"conditions": conditions(), "figures": rounded}
    directory.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(parts, indent=1) + "\n")
    (directory / "results.md").write_text(markdown(parts))


def markdown(parts: dict[str, Part]) -> str:
    """The whole report."""
    figures: Figures = {}
    for part in parts.values():
        figures |= part["figures"]
    figures |= derived(figures)
    measured = [f"- {name}: {part['conditions']}" for name, part in parts.items()]
    texts = [
        "# Benchmarks of vector search",
        "CPU is the processor time of all threads of the engine's process, per search; each engine runs in a process "
        "of its own, and they take turns. Recall is against brute force in double precision. Graphs have 16 neighbours "
        "and 128 candidates when built; the candidates of a search are the fewest that reach recall@10 of 0.95 without "
        "a filter. Memory is anonymous memory.",
        "Parts and when they were measured:\n\n" + "\n".join(measured),
        _aims(figures),
    ]
    for data, title in DATA.items():
        texts += [_search_table(figures, data, title, k) for k in DEPTHS]
        texts.append(_engine_table(figures, data, title))
    texts.append(_load_table(figures))
    texts += [_other_table(figures, *table) for table in OTHER_TABLES]
    return "\n\n".join(filter(None, texts)) + "\n"


def _aims(figures: Figures) -> str:
    lines = ["| aim | bound | figure | |", "|---|---|---|---|"]
    for aim in AIMS:
        if aim.figure in figures:
            value = figures[aim.figure]
            verdict = "reached" if aim.reached(value) else "**missed**"
            lines.append(f"| {aim.text} | {aim.sign.value} {aim.bound:g} | {_plain(value)} | {verdict} |")
    return "\n".join(lines)


def _search_table(figures: Figures, data: str, title: str, k: int) -> str:
    lines: list[str] = []
    for engine, name in ENGINES.items():
        cells = [_cell(figures, f"{data}_{engine}_{case}_{k}") for case in CASES]
        if any(cells):
            lines.append(f"| {name} | {' | '.join(cells)} |")
    if not lines:
        return ""
    head = f"| | {' | '.join(CASES.values())} |"
    rule = "|---" * (len(CASES) + 1) + "|"
    return "\n".join([f"## {title}: {k} hits\n\nCPU ms (median ms) recall@{k}\n", head, rule, *lines])


def _cell(figures: Figures, name: str) -> str:
    if f"{name}_recall" not in figures:
        return ""
    cpu, median = (_plain(figures[f"{name}_{unit}"]) for unit in ("cpu_ms", "p50_ms"))
    return f"{cpu} ({median}) {figures[f'{name}_recall']:.4g}"


def _engine_table(figures: Figures, data: str, title: str) -> str:
    units = ("build_s", "build_cpu_s", "open_s", "memory_mb", "with_cells_mb", "effort")
    rows = [
        f"| {name} | " + " | ".join(_shown(figures, f"{data}_{engine}_{unit}") for unit in units) + " |"
        for engine, name in ENGINES.items()
        if f"{data}_{engine}_open_s" in figures
    ]
    if not rows:
        return ""
    head = "| | build s | build CPU s | open and first search s | MB once open | MB with cells | candidates |"
    return "\n".join([f"## {title}: building and opening\n", head, "|---" * 7 + "|", *rows])


def _load_table(figures: Figures) -> str:
    units = ("rows_per_s", "rows_per_cpu_s", "memory_mb", "memory_rested_mb")
    rows = [
        f"| {title} | " + " | ".join(_shown(figures, f"{way}_{unit}") for unit in units) + " |"
        for way, title in LOADS.items()
        if f"{way}_rows_per_s" in figures
    ]
    if not rows:
        return ""
    head = "| | vectors/s | vectors per CPU s | MB right after | MB after a rest and a search |"
    return "\n".join(["## Bulk load of 100,000, batches of 1,000\n", head, "|---" * 5 + "|", *rows])


def _other_table(figures: Figures, title: str, prefix: str, names: Sequence[str]) -> str:
    known = [name for name in names if f"{prefix}_{name}" in figures]
    if not known:
        return ""
    head = "| " + " | ".join(name.replace("_", " ") for name in known) + " |"
    row = "| " + " | ".join(_plain(figures[f"{prefix}_{name}"]) for name in known) + " |"
    return "\n".join([f"## {title}\n", head, "|---" * len(known) + "|", row])


def _shown(figures: Figures, name: str) -> str:
    return _plain(figures[name]) if name in figures else ""


def _plain(value: float) -> str:
    if value == int(value):
        return whole(value)
    return f"{value:.3g}" if abs(value) < 10 else short(value)
