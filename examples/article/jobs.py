"""What became of scheduled actions."""

from __future__ import annotations

from typing import Any

import reflow as rf


async def is_alive(db: rf.DatabaseReader, job: rf.Id[Any] | None) -> bool:
    """Whether a scheduled action is still to run, or runs."""
    row = None if job is None else await db.get(job)
    return isinstance(row, rf.Scheduled) and row.state.kind in ("pending", "inProgress")


async def is_last_try(db: rf.DatabaseReader, job: rf.Id[Any] | None, retry: rf.Retry) -> bool:
    """Whether the running try of a scheduled action is its last one; True for one that was not scheduled."""
    row = None if job is None else await db.get(job)
    return not isinstance(row, rf.Scheduled) or row.attempt >= retry.attempts
