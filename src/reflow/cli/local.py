"""Calls of functions in this process, with plain JSON going in and out as at a server's door."""

from __future__ import annotations

import json
from typing import Any, cast

from reflow import values
from reflow.auth import Identity
from reflow.backend import Backend
from reflow.engine.outcomes import error_of


async def call(backend: Backend, path: str, args: dict[str, Any], identity: Identity | None = None) -> Any:
    """The result of any function, called by `identity`. Raises FunctionNotFound, CallFailed, ApplicationError."""
    engine = backend.engine
    result = await engine.call(engine.resolve(path), values.encode(args), identity)
    if result.failure is not None:
        raise error_of(result.failure)
    return json.loads(values.to_plain(cast(bytes, result.value)))
