"""`Jobs`: durable embedding, until every chunk has its vector or the reason why not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reflow.rag.part import Part

if TYPE_CHECKING:
    from reflow.rag.corpus import Corpus


class Jobs(Part):
    """Durable embedding, until every chunk has its vector or the reason why not."""

    def __init__(self, corpus: Corpus) -> None:
        super().__init__(corpus, "jobs")
