"""The playground with its vectors in a remote store, and chances for that store to fail."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager

import reflow as rf
from article.app import app
from article.lib import embeddings
from article.schema import Counters
from reflow import Backend
from reflow.rag.embedders.base import Embedder
from reflow.storage.base import Storage
from reflow.storage.memory import MemoryStorage
from reflow.testing.embedder import HashingEmbedder
from tests.support.article import FastClock, Playground

LIMITS = rf.Limits(remote_request_seconds=0.3)
"""What hangs is given up soon: the clock for it is the real one."""


@asynccontextmanager
async def playing_remotely(
    url: str,
    key: str,
    embedder: Embedder | None = None,
    *,
    storage: Storage | None = None,
    environment: Mapping[str, str] | None = None,
    clock: FastClock | None = None,
    limits: rf.Limits = LIMITS,
    modules: Sequence[rf.Module] = (),
) -> AsyncGenerator[Playground, None]:
    """The playground over memory (or `storage`), its vectors at `url`; `environment` takes the place of both."""
    settings = {"REFLOW_VECTORS_URL": url, "PINECONE_API_KEY": key} if environment is None else environment
    remote = rf.App(modules=[*app.modules, *modules], tables=[Counters], environment=settings, limits=limits)
    embeddings.use(embedder if embedder is not None else HashingEmbedder())
    engine = remote.engine(storage or MemoryStorage(), clock=clock or FastClock(), log_errors=False)
    await engine.start()
    try:
        yield Playground(Backend(engine))
    finally:
        await engine.close()
        embeddings.use(None)
