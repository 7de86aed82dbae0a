"""Real embeddings: the demo's corpus, the docstrings of the standard library, by the local embedder."""

from __future__ import annotations

import asyncio
import json
import sys

import numpy as np

from reflow.bundled import example_folder
from reflow.rag.embedders.local import LocalEmbedder

from .data import QUERIES, Dataset, dataset, save


def corpus() -> Dataset:
    """The corpus as a data set; embeds it once, about a minute of processor time. A row's topic is its source file.

    Raises MissingExtra without the local embedder.
    """
    try:
        return dataset("corpus")
    except FileNotFoundError:
        print("embedding the demo's corpus", file=sys.stderr, flush=True)
        asyncio.run(_embed())
        return dataset("corpus")


async def _embed() -> None:
    texts, topics, questions = _read()
    embedder = LocalEmbedder()
    try:
        vectors = await embedder.embed(texts)
        queries = await embedder.embed(questions, kind="query")
    finally:
        embedder.close()
    save("corpus", vectors, queries, np.array(topics), np.bincount(topics).astype(np.float64))


def _read() -> tuple[list[str], list[int], list[str]]:
    """The chunks, the number of each one's source, and questions: the playground's own, then the summaries of chunks
    from all over the corpus, without the name of what they describe."""
    sys.path.insert(0, str(example_folder("article").parent))
    from article import corpora

    texts: list[str] = []
    topics: list[int] = []
    for number, source in enumerate(corpora.StandardLibrary().texts()):
        texts += [entry.text for entry in source.entries]
        topics += [number] * len(source.entries)
    asked = json.loads((example_folder("playground") / "questions.json").read_text("utf-8"))
    questions = [str(item["question"]) for item in asked]
    summaries = [text.partition("\n")[0].partition(": ")[2] for text in texts]
    long = [summary for summary in summaries if len(summary) > 20]
    step = len(long) // (QUERIES - len(questions))
    return texts, topics, (questions + long[::step])[:QUERIES]
