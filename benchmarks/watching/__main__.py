"""`python -m benchmarks.watching [--saves N]`: writes benchmarks/watching/results.md.

A folder is watched, and somebody follows a search of the corpus. From the moment when a file is saved with what the
search is about until the search shows it: seen by the operating system, read, cut, embedded by the local embedder,
committed, searched anew. Once in a folder of notes, once in a book of 200 pages of which one paragraph is edited.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import Callable
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import reflow as rf
from benchmarks.load import quantile
from benchmarks.report import processor
from reflow import rag

HERE = Path(__file__).parent
NOTES = 100
PAGES = 200
WORDS = tuple(
    "river mountain letter garden winter market engine silver teacher harvest window music forest copper village "
    "journey candle bridge doctor summer paper island thunder mirror kitchen ocean ladder pepper castle".split()
)
QUESTION = "How many ships does the lighthouse keeper count?"


def paragraph(draw: random.Random) -> str:
    """Some sentences of common words, about 600 characters."""
    return " ".join(" ".join(draw.choices(WORDS, k=10)).capitalize() + "." for _ in range(9))


def write_notes(folder: Path, draw: random.Random) -> Path:
    """A folder of notes; returns the one that is edited."""
    for number in range(NOTES):
        text = "\n\n".join([f"# Note {number}", *(paragraph(draw) for _ in range(4))])
        (folder / f"note-{number}.md").write_text(text)
    return folder / "note-7.md"


def write_book(folder: Path, draw: random.Random) -> Path:
    """A book with about 2,500 characters on each page."""
    parts = [part for page in range(PAGES) for part in (f"# Page {page}", *(paragraph(draw) for _ in range(4)))]
    (folder / "book.md").write_text("\n\n".join(parts))
    return folder / "book.md"


class Standing:
    """A search that is followed."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self._news = asyncio.Event()

    async def follow(self, backend: rf.Backend, corpus: rag.Corpus) -> None:
        """Takes each new result, until it is cancelled."""
        options = rag.Options(mode="dense", limit=5)
        search = await backend.mutation(corpus.searches.start, input=QUESTION, options=options)
        async for results in backend.watch(corpus.searches.results, search_id=search):
            self.shown = [] if results is None else [row.text for row in results.rows]
            self._news.set()

    async def until(self, good: Callable[[list[str]], bool]) -> None:
        """Returns once the result is as it should be."""
        while not good(self.shown):
            self._news.clear()
            await self._news.wait()


async def measure(write: Callable[[Path, random.Random], Path], saves: int) -> list[float]:
    """Milliseconds from each save until the search shows it."""
    corpus = rag.Corpus("docs", embedder=rag.LocalEmbedder())
    app = rf.App(components=[corpus])
    with tempfile.TemporaryDirectory() as data, tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        edited = write(folder, random.Random(7))
        async with app.open(data) as backend:

            async def call(function: str, /, **args: Any) -> Any:
                return await backend.action(f"{corpus.name}/{function}", **args)

            async def watch(watched: asyncio.Event) -> None:
                async with aclosing(rag.watch_folder(call, folder)) as changes:
                    async for _ in changes:
                        watched.set()

            watched, standing = asyncio.Event(), Standing()
            watching = asyncio.create_task(watch(watched))
            await watched.wait()
            await backend.settled()
            following = asyncio.create_task(standing.follow(backend, corpus))
            await standing.until(bool)
            times = [await _one_save(edited, standing, number) for number in range(saves)]
            for task in (watching, following):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
    return times


async def _one_save(edited: Path, standing: Standing, number: int) -> float:
    parts = edited.read_text().split("\n\n")
    said = f"The lighthouse keeper counts {number} ships"
    parts[len(parts) // 2] = f"{said} before the lamp goes out, and writes the number down."
    await asyncio.sleep(0.3)  # a person saves now and then, not while the last change is on its way
    start = time.perf_counter()
    edited.write_text("\n\n".join(parts))
    await standing.until(lambda shown: any(said in text for text in shown))
    return (time.perf_counter() - start) * 1000


def report(rows: dict[str, list[float]]) -> str:
    """The results in Markdown."""
    day = time.strftime("%Y-%m-%d", time.gmtime())
    lines = ["# A watched folder", "", f"{day}, {processor()}. From a saved file to the search that shows it, in ms."]
    lines += ["", "| folder | saves | p50 | p90 | longest |", "|---|---:|---:|---:|---:|"]
    for name, times in rows.items():
        figures = (quantile(times, 0.5), quantile(times, 0.9), max(times))
        lines.append(f"| {name} | {len(times)} | " + " | ".join(f"{value:.0f}" for value in figures) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measures both folders and writes the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--saves", type=int, default=40)
    saves = parser.parse_args().saves
    folders = {f"{NOTES} notes": write_notes, f"a book of {PAGES} pages": write_book}
    rows = {name: asyncio.run(measure(write, saves)) for name, write in folders.items()}
    text = report(rows)
    (HERE / "results.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
