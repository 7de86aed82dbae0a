"""The playground as an application: `reflow dev examples/playground/app.py`.

One corpus, open to everybody who can reach the server. The variables EMBEDDING_MODEL and CHAT_MODEL choose its models:
without them a model on this machine embeds, and answers are put together from the sources' own sentences.
"""

from __future__ import annotations

import os

import reflow as rf
from playground.library import imports
from reflow import rag
from reflow.bundled import web_folder

corpus = rag.Corpus(
    "docs",
    embedder=rag.configured_embedder(os.environ),
    others=rag.other_embedders(os.environ),
    chat=rag.configured_chat,
    public=True,
)

app = rf.App(modules=[imports], components=[corpus], pages=web_folder())
