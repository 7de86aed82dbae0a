"""A corpus that is asked over the network: `python -m tests.support.answers_app DATA` serves it.

Its chat model is the one of the environment's CHAT_MODEL, CHAT_URL and CHAT_KEY.
"""

from __future__ import annotations

import sys

import reflow as rf
from reflow.rag.answers.openai_chat import configured_chat
from reflow.rag.corpus import Corpus
from reflow.server.serve import serve
from reflow.testing import HashingEmbedder

LIMITS = rf.Limits(answer_write_seconds=0.01, answer_page_blocks=8)

corpus = Corpus("docs", embedder=HashingEmbedder(64), public=True, chat=configured_chat, limits=LIMITS)
app = rf.App(components=[corpus], limits=LIMITS)


def main() -> None:
    """Serve on a free port and print the address."""
    serve(app, port=0, data=sys.argv[1], on_ready=lambda server: print(server.url, flush=True))


if __name__ == "__main__":
    main()
