"""How well the default search finds entries of the standard library, without a server.

The thirty questions of the playground were written before anything was tuned. What was tuned since (layout, chunk
size, what counts as public) was chosen on the fifty others in `questions_tuning.json` as much as on them.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import apsw
import numpy as np
import pytest

from playground.layout import chunks_of_entry
from playground.stdlib import read_library
from reflow.limits import DEFAULT
from reflow.rag.embedders.base import Vectors
from reflow.rag.embedders.local import LocalEmbedder
from reflow.search.hybrid import fuse
from reflow.search.tokens import query_terms, tokens

HERE = Path(__file__).parent
QUESTIONS = HERE.parents[1] / "examples" / "playground" / "questions.json"
TUNING = HERE / "questions_tuning.json"


class Library:
    """The library's chunks in a matrix and a text index, searched as the playground does."""

    def __init__(self, embedder: LocalEmbedder) -> None:
        chunks = [chunk for item in read_library() for chunk in chunks_of_entry(item.entry)]
        self.embedder = embedder
        self.names = [chunk.name for chunk in chunks]
        self.vectors = self._embed([chunk.text for chunk in chunks])
        self.text = apsw.Connection(":memory:")
        self.text.execute("create virtual table chunks using fts5(terms)")
        with self.text:
            rows = ((number, " ".join(tokens(chunk.text))) for number, chunk in enumerate(chunks))
            self.text.executemany("insert into chunks(rowid, terms) values (?, ?)", rows)

    def _embed(self, texts: list[str]) -> Vectors:
        async def main() -> Vectors:
            parts = [await self.embedder.embed(texts[at : at + 200]) for at in range(0, len(texts), 200)]
            return np.concatenate(parts)

        return asyncio.run(main())

    def found(self, file: Path) -> int:
        """How many questions of a file have an expected entry among the first five hits."""
        questions = json.loads(file.read_text("utf-8"))
        vectors = self._embed([item["question"] for item in questions])
        return sum(
            not set(item["expected"]).isdisjoint(self.search(item["question"], vector))
            for item, vector in zip(questions, vectors, strict=True)
        )

    def search(self, question: str, vector: Vectors) -> list[str | None]:
        scores = self.vectors @ vector
        dense = [(int(number), float(scores[number])) for number in np.argsort(-scores)[: DEFAULT.hybrid_candidates]]
        match = " OR ".join(f'"{term.term}"{"*" if term.prefix else ""}' for term in query_terms(question))
        text = self.text.execute(
            "select rowid, -bm25(chunks) from chunks where terms match ? order by bm25(chunks) limit ?",
            (match, DEFAULT.hybrid_candidates),
        )
        return [self.names[number] for number, _ in fuse(dense, list(text), limit=5)]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_most_questions_find_their_entry_among_the_first_five() -> None:
    embedder = LocalEmbedder()
    library = Library(embedder)
    first, second = library.found(QUESTIONS), library.found(TUNING)
    stats = embedder.stats
    embedder.close()
    print(f"{len(library.names)} chunks, {stats.session_cpu_seconds:.1f} s in the model; {first} of 30, {second} of 50")
    assert len(library.names) >= 3000
    assert first >= 24
    assert second >= 40
