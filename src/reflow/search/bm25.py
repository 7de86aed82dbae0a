"""BM25 as SQLite's FTS5 computes it, so that every storage, and a document not yet stored, scores alike.

Source: the bm25() auxiliary function of FTS5 (sqlite.org/fts5.html, section 5.1.1), after Robertson and Zaragoza,
"The Probabilistic Relevance Framework: BM25 and Beyond" (2009).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log

from reflow.storage.base import TextStats

K1 = 1.2
"""How soon further occurrences of a term stop counting."""

B = 0.75
"""How much long documents are held back."""

FLOOR = 1e-6
"""The weight of a term that half of the corpus or more holds: a hit still beats no hit."""


def weight(documents: int, matches: int) -> float:
    """The inverse document frequency of a term that `matches` of `documents` documents hold, at least `FLOOR`."""
    value = log((documents - matches + 0.5) / (matches + 0.5)) if matches <= documents else 0.0
    return value if value > 0.0 else FLOOR


def score(frequencies: Sequence[int], length: int, stats: TextStats) -> float:
    """The score of one document; higher is better, 0.0 where it holds none of the terms.

    `frequencies` has the occurrences of each query term, in the order of `stats.matches`; `length` is the document's
    number of tokens.
    """
    average = stats.average_length or 1.0
    damping = K1 * (1.0 - B + B * length / average)
    total = 0.0
    for frequency, matches in zip(frequencies, stats.matches, strict=True):
        if frequency:
            total += weight(stats.documents, matches) * (frequency * (K1 + 1.0)) / (frequency + damping)
    return total
