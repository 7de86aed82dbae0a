"""`Maps`: the vectors in two dimensions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reflow.rag.part import Part

if TYPE_CHECKING:
    from reflow.rag.corpus import Corpus


class Maps(Part):
    """The vectors in two dimensions."""

    def __init__(self, corpus: Corpus) -> None:
        super().__init__(corpus, "maps")
