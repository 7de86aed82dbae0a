"""What a process that serves sets for itself."""

from __future__ import annotations

import ctypes
from collections.abc import Coroutine
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from reflow.server.serve import calm_collector
from reflow.server.serve import run as run_loop

_BLAS_SETTERS = ("scipy_openblas_set_num_threads64_", "openblas_set_num_threads64_", "openblas_set_num_threads")


def run(main: Coroutine[Any, Any, None]) -> None:
    """Runs to the end on a fast event loop, with a process set up to serve."""
    calm_collector()
    use_one_blas_thread()
    run_loop(main)


def use_one_blas_thread() -> bool:
    """Has numpy's OpenBLAS compute in the calling thread; False where numpy brings another library.

    A scan of vectors takes a millisecond. OpenBLAS's own threads would spin between two of them, on processors that
    the embedder needs: 7 % of all processor time while the standard library is indexed beside an open page.
    """
    package = Path(np.__file__).parent
    for path in chain((package.parent / "numpy.libs").glob("*openblas*"), (package / ".dylibs").glob("*openblas*")):
        library = ctypes.CDLL(str(path))
        for name in _BLAS_SETTERS:
            if setter := getattr(library, name, None):
                setter(1)
                return True
    return False
