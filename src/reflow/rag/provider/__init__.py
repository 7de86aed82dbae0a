"""What all paid or remote models share: requests that are tried again, turns, pauses, keys, streams."""

from __future__ import annotations

from reflow.rag.provider.endpoint import Answered, Endpoint
from reflow.rag.provider.failures import Garbage
from reflow.rag.provider.limiter import LimiterStats

__all__ = ["Answered", "Endpoint", "Garbage", "LimiterStats"]
