"""The BM25 of transactions equals that of SQLite."""

from __future__ import annotations

import random
from typing import Any

import apsw
import pytest

from reflow.search.bm25 import FLOOR, score, weight
from reflow.storage.base import TextStats


def test_scores_equal_those_of_fts5() -> None:
    draw = random.Random(7)
    words = ["red", "green", "blue", "grey", "black"]
    texts = [[draw.choice(words[: draw.randint(1, 5)]) for _ in range(draw.randint(0, 12))] for _ in range(60)]
    connection = apsw.Connection(":memory:")
    connection.execute("CREATE VIRTUAL TABLE t USING fts5 (tokens)")
    connection.executemany("INSERT INTO t VALUES (?)", [(" ".join(text),) for text in texts])
    for query in (["black"], ["red", "blue"], ["grey", "green", "black", "black"]):
        matches = tuple(sum(word in text for text in texts) for word in query)
        stats = TextStats(len(texts), sum(map(len, texts)) / len(texts), matches)
        rows = connection.execute("SELECT rowid, -bm25(t) FROM t WHERE t MATCH ?", (" OR ".join(query),))
        found: dict[Any, Any] = dict(rows)  # pyright: ignore[reportArgumentType]
        expected = {
            row + 1: score([text.count(word) for word in query], len(text), stats)
            for row, text in enumerate(texts)
            if any(word in text for word in query)
        }
        assert found == pytest.approx(expected, rel=1e-12)
        assert expected


def test_common_words_weigh_next_to_nothing_and_unknown_corpora_do_not_fail() -> None:
    assert weight(10, 1) > weight(10, 4) > weight(10, 5) == weight(10, 10) == weight(0, 0) == weight(0, 1) == FLOOR
    assert score([0, 0], 5, TextStats(10, 4.0, (1, 2))) == 0.0
    assert score([1], 5, TextStats(0, 0.0, (0,))) > 0.0
