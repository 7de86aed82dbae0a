"""`Searches`: searches by words, by meaning and by both, stored as documents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reflow.rag.part import Part

if TYPE_CHECKING:
    from reflow.rag.corpus import Corpus


class Searches(Part):
    """Searches by words, by meaning and by both, stored as documents."""

    def __init__(self, corpus: Corpus) -> None:
        super().__init__(corpus, "searches")
