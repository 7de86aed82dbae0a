"""`Evaluation`: a golden set of questions, and how well searches find what is expected."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reflow.rag.part import Part

if TYPE_CHECKING:
    from reflow.rag.corpus import Corpus


class Evaluation(Part):
    """A golden set of questions, and how well searches find what is expected."""

    def __init__(self, corpus: Corpus) -> None:
        super().__init__(corpus, "evaluation")
