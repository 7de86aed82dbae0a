"""Calls of functions in this process, with plain JSON going in and out as at a server's door."""

from __future__ import annotations

import json
from typing import Any, cast

from reflow import values
from reflow.backend import Backend
from reflow.engine.runner import error_of


async def call(backend: Backend, path: str, args: dict[str, Any]) -> Any:
    """The result of any function. Raises FunctionNotFound, CallFailed, ApplicationError."""
    engine = backend.engine
    result = await engine.call(engine.resolve(path), values.encode(args))
    if result.failure is not None:
        raise error_of(result.failure)
    return json.loads(values.to_plain(cast(bytes, result.value)))
