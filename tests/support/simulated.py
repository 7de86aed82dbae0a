"""Tests written as coroutines over a running application."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any

from reflow.app import App
from reflow.functions import Module
from reflow.testing import Simulation, simulate
from tests.support import arun


def simulated(app: App, **options: Any) -> Callable[[Callable[[Simulation], Awaitable[None]]], Callable[[], None]]:
    """Runs a test inside an application; `options` are those of `reflow.testing.simulate`."""

    def decorate(test: Callable[[Simulation], Awaitable[None]]) -> Callable[[], None]:
        async def main() -> None:
            async with simulate(app, **options) as sim:
                await test(sim)

        @functools.wraps(test)
        def run() -> None:
            arun(main())

        del run.__wrapped__  # pytest would ask for a fixture named sim
        return run

    return decorate


def inside(
    app: App, kind: str = "mutation", **options: Any
) -> Callable[[Callable[[Any], Awaitable[Any]]], Callable[[], None]]:
    """Runs a test's body as one mutation (or query) of an application: it gets `ctx`."""

    def decorate(test: Callable[[Any], Awaitable[Any]]) -> Callable[[], None]:
        module = Module("test")
        path = f"test:{test.__name__}"
        (module.mutation if kind == "mutation" else module.query)(test)
        both = App(modules=[*app.modules, module], limits=app.limits, environment=app.environment)

        async def main() -> None:
            async with simulate(both, **options) as sim:
                await (sim.mutation(path) if kind == "mutation" else sim.query(path))

        @functools.wraps(test)
        def run() -> None:
            arun(main())

        del run.__wrapped__
        return run

    return decorate
