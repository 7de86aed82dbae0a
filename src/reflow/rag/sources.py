"""`Sources`: what is added, replaced and deleted, and how a new version takes the place of the one before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reflow.rag.part import Part

if TYPE_CHECKING:
    from reflow.rag.corpus import Corpus


class Sources(Part):
    """What is added, replaced and deleted, and how a new version takes the place of the one before."""

    def __init__(self, corpus: Corpus) -> None:
        super().__init__(corpus, "sources")
