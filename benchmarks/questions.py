"""The demo from nothing: index the standard library with a page open, then ask the playground's thirty questions.

`python -m benchmarks.questions [--data DIR]` prints what `reflow demo` does on this machine: seconds to the first
result, chunks per second, the share of processor time outside the model's own session, and how many questions find an
expected entry among the first five hits of the page's default search.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reflow.bundled import example_folder
from reflow.cli.desks import Desk, desk_here
from reflow.cli.process import run
from reflow.cli.search import results_of
from reflow.rag.embedders.local import LocalEmbedder
from reflow.server.serve import serving

TOP = 5
FIRST_QUESTION = "how do I copy a directory tree"
POLL_SECONDS = 0.05

PAGE = """
import sys, threading
from convex import ConvexClient

client = ConvexClient(sys.argv[1])
search = client.mutation("docs/searches:start", {"input": sys.argv[2]})
first_page = {"paginationOpts": {"numItems": 10, "cursor": None, "id": 1}}
followed = [
    ("docs/sources:totals", {}), ("docs/searches:results", {"searchId": search}),
    ("docs/sources:list", first_page), ("docs/searches:history", first_page),
]


def follow(path, args):
    for _ in client.subscribe(path, args):
        pass


for path, args in followed:
    threading.Thread(target=follow, args=(path, args), daemon=True).start()
threading.Event().wait()
"""
"""What an open page follows, through the official Python client."""


@dataclass
class Measured:
    """One run. Seconds are counted from the start of this process."""

    first_result_seconds: float = 0.0
    indexed_seconds: float = 0.0
    cpu_seconds: float = 0.0
    session_cpu_seconds: float = 0.0
    chunks: int = 0
    asked_seconds: float = 0.0


async def index(data: Path, questions: list[dict[str, Any]], began: float) -> tuple[Measured, list[list[str]]]:
    """Serves the playground over `data` while it is indexed with a page open; figures and the names of the hits."""
    from playground import library
    from playground.app import app, corpus

    measured = Measured()
    embedder = corpus.embedder
    assert isinstance(embedder, LocalEmbedder)
    async with serving(app, port=0, data=data) as server:
        desk = desk_here(corpus, server.backend)
        command = [sys.executable, "-c", PAGE, server.url, FIRST_QUESTION]
        page = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        watching = asyncio.create_task(first_result(desk, began))
        await library.bring_in(server.backend, corpus)
        async for totals in desk.watch("sources:totals"):
            if not totals["reading"] and not totals["embedding"]:
                measured.chunks = int(totals["chunks"])
                break
        measured.indexed_seconds = time.perf_counter() - began
        measured.cpu_seconds = time.process_time()
        measured.session_cpu_seconds = embedder.stats.session_cpu_seconds
        measured.first_result_seconds = await watching
        started = time.perf_counter()
        found = [await names_of(desk, item["question"]) for item in questions]
        measured.asked_seconds = (time.perf_counter() - started) / len(questions)
        page.kill()
        await asyncio.to_thread(page.wait)
    return measured, found


async def names_of(desk: Desk, question: str) -> list[str]:
    """What the best hits describe."""
    return [row["name"] for row in (await results_of(desk, question, {"limit": TOP}))["rows"]]


async def first_result(desk: Desk, began: float) -> float:
    """When a question has its first hit by meaning."""
    while not (await results_of(desk, FIRST_QUESTION, {"mode": "dense"}))["rows"]:
        await asyncio.sleep(POLL_SECONDS)
    return time.perf_counter() - began


def report(measured: Measured, questions: list[dict[str, Any]], found: list[list[str]]) -> None:
    """Prints the figures and the questions that were missed."""
    hits = [not set(item["expected"]).isdisjoint(names) for item, names in zip(questions, found, strict=True)]
    outside = measured.cpu_seconds - measured.session_cpu_seconds
    print("| figure | |\n| --- | ---: |")
    print(f"| questions found in the top {TOP} | {sum(hits)} of {len(hits)} |")
    print(f"| chunks | {measured.chunks:,} |")
    print(f"| chunks/s | {measured.chunks / measured.indexed_seconds:,.0f} |")
    print(f"| seconds to the first result | {measured.first_result_seconds:.1f} |")
    print(f"| seconds until all is indexed | {measured.indexed_seconds:.1f} |")
    print(f"| milliseconds per question | {measured.asked_seconds * 1000:.0f} |")
    print(f"| CPU s: all / model's session | {measured.cpu_seconds:.1f} / {measured.session_cpu_seconds:.1f} |")
    print(f"| share of CPU outside the session | {outside / measured.cpu_seconds:.1%} |")
    for item, names, hit in zip(questions, found, hits, strict=True):
        if not hit:
            print(f"missed: {item['question']} (expected {', '.join(item['expected'])}; got {', '.join(names)})")


def main() -> None:
    began = time.perf_counter()
    parser = argparse.ArgumentParser(description="Index the standard library and ask the playground's questions.")
    parser.add_argument("--data", type=Path, help="directory of the index (default: a new one, removed at the end)")
    options = parser.parse_args()
    sys.path.insert(0, str(example_folder("playground").parent))
    questions = json.loads((example_folder("playground") / "questions.json").read_text("utf-8"))

    async def measure(data: Path) -> None:
        measured, found = await index(data, questions, began)
        report(measured, questions, found)

    with tempfile.TemporaryDirectory() as temporary:
        run(measure(options.data or Path(temporary)))


if __name__ == "__main__":
    main()
