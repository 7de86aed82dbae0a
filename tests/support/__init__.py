"""Helpers shared by the tests."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache"


def arun(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end on a fresh event loop and return its result."""
    return asyncio.run(main)
