"""What a process that serves sets for itself."""

from __future__ import annotations

import gc
from collections.abc import Coroutine
from typing import Any

from reflow.server.serve import run as run_loop

_GC_THRESHOLD = (50_000, 20, 50)
"""Objects of requests and syntax trees die by reference counting; cycles are rare, and looking for them is not free."""


def run(main: Coroutine[Any, Any, None]) -> None:
    """Runs to the end on a fast event loop, with a garbage collector that leaves alone what start-up has made."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLD)
    run_loop(main)
