"""`python -m benchmarks.retrieval [--cache DIR] [--missed]`: R@1, R@10 and MRR of text, dense and hybrid search."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from reflow.bundled import example_folder

sys.path.insert(0, str(example_folder("article").parent))

from reflow.rag.embedders.local import LocalEmbedder

from .corpora import Passage, Question, answerable, load_passages, load_questions
from .measure import FIGURES, Bootstrap, rank_of
from .store import DEFAULT, embed, rankings, stored

CACHE = Path(".cache/retrieval")
Ranks = dict[str, list[int | None]]
"""Method -> for each question the rank of its first right answer."""


async def ask(
    questions: Sequence[Question], passages: Sequence[Passage], embedder: LocalEmbedder, cache: Path
) -> Ranks:
    """Stores the passages, asks every question, and ranks the answers."""
    vectors = await embed(embedder, [passage.text for passage in passages], cache)
    asked = await embed(embedder, [question.text for question in questions], cache)
    ranks: Ranks = {}
    with tempfile.TemporaryDirectory() as data:
        async with stored(passages, vectors, Path(data)) as backend:
            for question, vector in zip(questions, asked, strict=True):
                row = vector.astype("<f4").tobytes()
                found = await backend.query(rankings, question=question.text, vector=row)
                for method, ranking in found.items():
                    things = (passages[number].thing for number in ranking)
                    ranks.setdefault(method, []).append(rank_of(question.answers, things))
    return ranks


def chosen(ranks: Ranks, rows: Sequence[int]) -> Ranks:
    """The ranks of some of the questions."""
    return {method: [of_method[row] for row in rows] for method, of_method in ranks.items()}


def print_methods(title: str, ranks: Ranks) -> None:
    """A table of all methods with their intervals."""
    size = len(ranks["text"])
    bootstrap = Bootstrap(size)
    print(f"\n### {title}: {size} questions\n\n| method | {' | '.join(FIGURES)} |\n| --- |{' ---: |' * len(FIGURES)}")
    for method, of_method in ranks.items():
        figures = [str(bootstrap.figure(gains(of_method))) for gains in FIGURES.values()]
        print(f"| {method} | {' | '.join(figures)} |")


def print_difference(title: str, ranks: Ranks) -> None:
    """The default hybrid beside the better leg, question by question."""
    bootstrap = Bootstrap(len(ranks["text"]))
    for name, gains in FIGURES.items():
        by_leg = {leg: gains(ranks[leg]) for leg in ("text", "dense")}
        better = max(by_leg, key=lambda leg: by_leg[leg].mean())
        figure = bootstrap.figure(gains(ranks[DEFAULT]) - by_leg[better])
        verdict = "worse" if figure.high < 0 else "better" if figure.low > 0 else "even"
        signed = f"{figure.mean:+.3f} [{figure.low:+.3f}, {figure.high:+.3f}]"
        print(f"| {title} | {len(ranks['text'])} | {name} | {better} | {signed} | {verdict} |")


def report(questions: Sequence[Question], ranks: Ranks) -> None:
    """Prints all tables."""
    groups: dict[str, list[int]] = {"all": list(range(len(questions)))}
    for row, question in enumerate(questions):
        groups.setdefault(question.corpus, []).append(row)
    for row, question in enumerate(questions):
        groups.setdefault(question.kind, []).append(row)
    for title, rows in groups.items():
        print_methods(title, chosen(ranks, rows))
    print(f"\n### {DEFAULT} as it comes beside the better leg\n")
    print("| questions | number | figure | better leg | difference | |\n| --- | ---: | --- | --- | ---: | --- |")
    for title, rows in groups.items():
        print_difference(title, chosen(ranks, rows))


async def measure(cache: Path) -> tuple[list[Question], Ranks]:
    """Every question over its own documentation."""
    embedder = LocalEmbedder()
    await embedder.load()
    every: list[Question] = []
    ranks: Ranks = {}
    for corpus in ("python", "cmake"):
        passages = await asyncio.to_thread(load_passages, corpus)
        wanted = [question for question in load_questions() if question.corpus == corpus]
        questions = answerable(wanted, {passage.thing for passage in passages})
        print(f"{corpus}: {len(passages):,} chunks, {len(questions)} of {len(wanted)} questions have answers here")
        for method, of_method in (await ask(questions, passages, embedder, cache)).items():
            ranks.setdefault(method, []).extend(of_method)
        every += questions
    embedder.close()
    return every, ranks


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description="How well search finds known answers in real documentation.")
    parser.add_argument("--cache", type=Path, default=CACHE, help=f"where embeddings are kept (default: {CACHE})")
    parser.add_argument("--missed", action="store_true", help="also list what the default hybrid search missed")
    options = parser.parse_args()
    questions, ranks = asyncio.run(measure(options.cache))
    report(questions, ranks)
    if options.missed:
        for question, rank in zip(questions, ranks[DEFAULT], strict=True):
            if rank is None:
                print(f"missed: {question.corpus}, {question.kind}: {question.text}")


if __name__ == "__main__":
    main()
