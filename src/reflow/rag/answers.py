"""`Answers`: questions that are answered from what a search finds, with citations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reflow.rag.part import Part

if TYPE_CHECKING:
    from reflow.rag.corpus import Corpus


class Answers(Part):
    """Questions that are answered from what a search finds, with citations."""

    def __init__(self, corpus: Corpus) -> None:
        super().__init__(corpus, "answers")
