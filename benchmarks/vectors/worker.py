"""One of the other engines in a process of its own: `python -m benchmarks.vectors.worker ENGINE DATASET [build]`.

With `build` it makes what is not made yet, and ends. Otherwise it opens that and answers commands: a line of JSON in,
a line of JSON out.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from .cases import Case, cases
from .data import Dataset, dataset
from .measuring import Measured, anonymous_mb, measure
from .peers import PEERS, SearchEngine
from .places import CACHE
from .truth import Truth

RECALL = 0.95
"""Recall@10 that a search without a filter must reach."""

Search = Callable[[str, Case, int, Sequence[int], float], Measured]
"""Makes searches, in some way, of a case for `k` hits with queries by number, until the seconds are over."""


def directory_of(name: str, data: Dataset) -> Path:
    """Where an engine keeps its index over the data."""
    return CACHE / "built" / f"{name}-{data.folder.name}"


def build(name: str, data: Dataset, make: Callable[[Path], object], *, anew: bool = False) -> None:
    """Makes an engine's index over the data in its directory and notes what that took, unless it is there; with
    `anew` in any case."""
    directory = directory_of(name, data)
    note = directory / "built.json"
    if note.exists() and not anew:
        return
    print(f"building {name} over {data.name}", file=sys.stderr, flush=True)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    wall, cpu = time.perf_counter(), time.process_time()
    make(directory)
    took = {"build_s": time.perf_counter() - wall, "build_cpu_s": time.process_time() - cpu}
    note.write_text(json.dumps(took))


def built(name: str, data: Dataset) -> dict[str, float]:
    """What making the index took."""
    return json.loads((directory_of(name, data) / "built.json").read_text())


def tune(engine: SearchEngine, data: Dataset) -> None:
    """Chooses the least effort that reaches `RECALL`, else the greatest."""
    everything = cases(data)[0]
    truth = Truth(data, everything)
    for effort in engine.choices:
        engine.effort = effort
        found = [engine.search(query, 10, everything) for query in data.queries]
        if np.mean([truth.recall(number, hits, 10) for number, hits in enumerate(found)]) >= RECALL:
            return


def serve(replies: TextIO, state: dict[str, Any], data: Dataset, search: Search) -> None:
    """Says what was opened, then answers commands until standard input ends."""
    known = {case.name: case for case in cases(data)}
    print(json.dumps(state), file=replies, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        found = search(asked["way"], known[asked["case"]], asked["k"], asked["queries"], asked["seconds"])
        print(json.dumps(found), file=replies, flush=True)


def replies_only() -> TextIO:
    """Standard output for replies alone: what else an engine prints goes to standard error."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return replies


def main() -> None:
    replies = replies_only()
    name, data = sys.argv[1], dataset(sys.argv[2])
    if sys.argv[3:] == ["build"]:
        build(name, data, lambda directory: PEERS[name](directory).build(data))
        return
    memory, began = anonymous_mb(), time.perf_counter()
    engine = PEERS[name](directory_of(name, data))
    engine.open(data)
    engine.search(data.queries[0], 10, cases(data)[0])
    opened = time.perf_counter() - began
    tune(engine, data)
    state = {"open_s": opened, "memory_mb": anonymous_mb() - memory, "effort": engine.effort, **built(name, data)}

    def search(_way: str, case: Case, k: int, queries: Sequence[int], seconds: float) -> Measured:
        return measure(lambda number: engine.search(data.queries[number], k, case), queries, seconds)

    serve(replies, state, data, search)


if __name__ == "__main__":
    main()
