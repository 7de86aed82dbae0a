"""What went wrong in background work: in words for people, and whether trying again may help."""

from __future__ import annotations

import reflow as rf
from reflow.errors import Overloaded, ProviderError, ReflowError


def in_words(error: Exception) -> str:
    """An error as people read it: reflow's own explain themselves, of others the kind matters."""
    return str(error) if isinstance(error, ReflowError) else f"{type(error).__name__}: {error}"


def may_pass(error: Exception) -> bool:
    """Whether the same work may succeed another time. What is not known to be final is taken for passing."""
    if isinstance(error, ProviderError):
        return error.retryable
    return isinstance(error, rf.RetryAfter | Overloaded) or not isinstance(error, ReflowError)
