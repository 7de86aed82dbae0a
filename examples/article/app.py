"""The playground as an application: `reflow dev examples/article/app.py`."""

from __future__ import annotations

import reflow as rf
from article.comparisons import comparisons
from article.corpus import corpus
from article.embedding import embedding
from article.lib.embeddings import embeddings
from article.lib.pinecone import pinecone
from article.reconcile import reconcile
from article.schema import Counters
from article.searches import searches
from article.sources import sources
from article.stores.inside import inside
from article.stores.remote import remote
from reflow.bundled import web_folder

app = rf.App(
    modules=[sources, searches, comparisons, corpus, embedding, inside, remote, reconcile, embeddings, pinecone],
    tables=[Counters],
    pages=web_folder("article"),
)
