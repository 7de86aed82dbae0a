"""Where the vectors of chunks and searches are: one seam, and two stores that fit it.

`Inside` has them in reflow, in the transactions of their documents. `Remote` has them in a service such as Pinecone,
which only actions can talk to. The setting REFLOW_VECTORS_URL decides, here and nowhere else.
"""

from __future__ import annotations

import reflow as rf
from article.lib import pinecone
from article.stores.base import Answer, Embedded, Piece, Store, Vector
from article.stores.inside import INSIDE
from article.stores.remote import REMOTE

__all__ = ["Answer", "Embedded", "Piece", "Store", "Vector", "store_of"]


def store_of(ctx: rf.QueryCtx | rf.MutationCtx | rf.ActionCtx) -> Store:
    """The store that the settings name."""
    return REMOTE if pinecone.is_configured(ctx.env) else INSIDE
