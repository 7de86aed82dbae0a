"""The server: `python -m benchmarks.answers.server DATA RATE TOKENS` serves a corpus with a model that tells the time.

Each of its words is "number@seconds ", the time of the system's monotonic clock at which the model has said it.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence

import reflow as rf
from reflow.rag.answers.chat import FunctionChat, Message, Parts, Usage
from reflow.rag.corpus import Corpus
from reflow.server.serve import serve
from reflow.testing import HashingEmbedder


def talking(rate: float, tokens: int) -> FunctionChat:
    """A model that says `tokens` words, `rate` of them in a second."""

    async def said(messages: Sequence[Message]) -> Parts:
        begun = time.monotonic()
        for number in range(tokens):
            await asyncio.sleep(max(0.0, begun + number / rate - time.monotonic()))
            yield f"{number}@{time.monotonic():.6f} "
        yield Usage(tokens_in=100, tokens_out=tokens)

    return FunctionChat(said, id="talking")


def main() -> None:
    """Serve on a free port and print the address."""
    data, rate, tokens = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
    corpus = Corpus("docs", embedder=HashingEmbedder(64), public=True, chat=talking(rate, tokens))
    serve(rf.App(components=[corpus]), port=0, data=data, on_ready=lambda server: print(server.url, flush=True))


if __name__ == "__main__":
    main()
