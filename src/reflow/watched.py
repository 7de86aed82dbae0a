"""Who watches what: live queries, counted. Nothing is told of arguments, results and callers."""

from __future__ import annotations

from reflow.schema import Object


class WatchedQuery(Object):
    """A function whose results are followed: by how many different `queries` (arguments, and callers where it asks who
    they are), over how many connections (`watchers`)."""

    path: str
    queries: int
    watchers: int


class Watched(Object):
    """All live queries, those of functions with most watchers first. `watchers` are connections that follow anything,
    `queries` different ones that are kept up to date."""

    watchers: int
    queries: int
    functions: list[WatchedQuery]
