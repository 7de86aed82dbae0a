"""`Ledger`: tokens, time, retries and money, as ordinary live tables, and the budgets that stop work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reflow.rag.part import Part

if TYPE_CHECKING:
    from reflow.rag.corpus import Corpus


class Ledger(Part):
    """Tokens, time, retries and money, as ordinary live tables, and the budgets that stop work."""

    def __init__(self, corpus: Corpus) -> None:
        super().__init__(corpus, "ledger")
