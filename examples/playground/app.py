"""The playground as an application: `reflow dev examples/playground/app.py`."""

from __future__ import annotations

import reflow as rf
from playground.comparisons import comparisons
from playground.corpus import corpus
from playground.embedding import embedding
from playground.lib.embeddings import embeddings
from playground.lib.pinecone import pinecone
from playground.reconcile import reconcile
from playground.schema import Counters
from playground.searches import searches
from playground.sources import sources
from playground.stores.inside import inside
from playground.stores.remote import remote
from reflow.bundled import web_folder

app = rf.App(
    modules=[sources, searches, comparisons, corpus, embedding, inside, remote, reconcile, embeddings, pinecone],
    tables=[Counters],
    pages=web_folder(),
)
