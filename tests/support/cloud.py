"""reflow's own Pinecone-compatible server as "the cloud". `python -m tests.support.cloud DATA` serves it."""

from __future__ import annotations

import sys

import reflow as rf
from reflow.server.serve import serve

KEY = "cloud-key"

app = rf.App(modules=[], environment={"REFLOW_PINECONE_API_KEY": KEY}, durability="relaxed")


def main() -> None:
    """Serve on a free port and print the address."""
    serve(app, port=0, data=sys.argv[1], on_ready=lambda server: print(server.url, flush=True))


if __name__ == "__main__":
    main()
