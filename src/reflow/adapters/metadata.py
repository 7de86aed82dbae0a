"""What of a foreign document's metadata filters can name: the flat part that a vector index takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeGuard, cast

_EXACT = 2**53
"""Whole numbers beyond it are not exact in JSON, so they are left to what keeps them exactly."""


def filterable(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The entries that an index takes as they are: strings, finite numbers, booleans, non-empty lists of strings."""
    return {key: value for key, value in metadata.items() if key and not key.startswith("$") and _is_flat(value)}


def _is_flat(value: object) -> bool:
    if isinstance(value, str | bool):
        return True
    if isinstance(value, int):
        return abs(value) <= _EXACT
    if isinstance(value, float):
        return math.isfinite(value)
    return is_texts(value)


def is_texts(value: object) -> TypeGuard[list[str]]:
    """Whether it is a list of strings that is not empty."""
    return (
        isinstance(value, list) and value != [] and all(isinstance(item, str) for item in cast("list[object]", value))
    )
