"""The command line: `python -m benchmarks.vectors [PART …] [--quick] [--without-peers] [--out DIR]`."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.load import Figures

from .cases import cases
from .client import REFLOW, command, run_once
from .corpus import corpus
from .data import dataset
from .peers import PEERS
from .places import CACHE
from .report import LARGE, SMALL, keep
from .search import FULL, QUICK, Pace, everything, search
from .upserts import upserts
from .worker import directory_of

WAYS = ("reflow", "reflow-store", "reflow-approximate")
COMMITS = 20
STALL_SECONDS = 20.0
UPSERT_SECONDS = 8.0


def child(module: str, *arguments: object) -> Figures:
    """The figures that a module of this benchmark prints when it is run."""
    return run_once([sys.executable, "-m", f"benchmarks.vectors.{module}", *map(str, arguments)])


def named(prefix: str, figures: Figures) -> Figures:
    """Figures under longer names."""
    return {f"{prefix}_{name}": value for name, value in figures.items()}


def searches(pace: Pace, peers: list[str]) -> Figures:
    """100,000 clustered vectors and the real ones, all engines."""
    small, real = dataset(SMALL), corpus()
    engines = [*WAYS, *peers]
    return search(small, engines, everything(small), pace) | search(real, engines, everything(real), pace)


def million(pace: Pace, peers: list[str]) -> Figures:
    """A million vectors, with usearch alone beside; and how long the event loop is held."""
    large = dataset(LARGE)
    engines = ["reflow-store", "reflow-approximate", *(peer for peer in peers if peer == "usearch")]
    found = search(large, engines, tuple((case, 10) for case in cases(large)), pace)
    return found | named("stalls", child("stalls", LARGE, STALL_SECONDS))


def standing(pace: Pace, peers: list[str]) -> Figures:
    """Live searches on a copy of the 100,000."""
    data = dataset(SMALL)
    run_once([*command(REFLOW, SMALL), "build"])
    with tempfile.TemporaryDirectory(dir=CACHE) as temporary:
        copy = Path(temporary) / "data"
        shutil.copytree(directory_of(REFLOW, data), copy)
        return named("standing", child("standing", copy, len(data.vectors), COMMITS))


def bulk(pace: Pace, peers: list[str]) -> Figures:
    """Bulk loads, each in a fresh process over a fresh directory."""
    figures: Figures = {}
    for way in ("store", "durable", "documents", "records"):
        with tempfile.TemporaryDirectory(dir=CACHE) as directory:
            figures |= named(f"bulk_{way}", child("bulk", way, 100_000, directory))
    return figures


def tenants(pace: Pace, peers: list[str]) -> Figures:
    """A thousand small namespaces."""
    with tempfile.TemporaryDirectory(dir=CACHE) as directory:
        return named("tenants", child("tenants", directory))


def upserting(pace: Pace, peers: list[str]) -> Figures:
    """Many clients of the Pinecone-compatible server."""
    with tempfile.TemporaryDirectory(dir=CACHE) as directory:
        return named("upserts", upserts(Path(directory), UPSERT_SECONDS))


def flips(pace: Pace, peers: list[str]) -> Figures:
    """Another model takes over while searches and writes go on, and back."""
    with tempfile.TemporaryDirectory(dir=CACHE) as directory:
        return named("flip", child("flip", directory))


PARTS: dict[str, Callable[[Pace, list[str]], Figures]] = {
    "bulk": bulk,
    "tenants": tenants,
    "upserts": upserting,
    "search": searches,
    "standing": standing,
    "flip": flips,
    "million": million,
}


def main() -> None:
    """Measure the wanted parts one after another; each renews the report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.vectors", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="one short round: does everything work?")
    parser.add_argument("--without-peers", action="store_true", help="reflow alone")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder for results.md and .json")
    options = parser.parse_args()
    if unknown := set(options.parts) - PARTS.keys():
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    for part in options.parts or PARTS:
        print(f"{part}, load average {os.getloadavg()[0]:.2f}", flush=True)
        peers = [] if options.without_peers else list(PEERS)
        keep(options.out, part, PARTS[part](QUICK if options.quick else FULL, peers))
    print((options.out / "results.md").read_text())


if __name__ == "__main__":
    main()
