"""An application whose every mutation touches several documents and schedules two functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import reflow as rf
from reflow.engine.transaction import EngineTransaction


class Account(rf.Table, table="accounts"):
    name: int
    balance: int = 0
    moves: int = 0

    by_name = rf.Index("name")


class Transfer(rf.Table, table="transfers"):
    n: int
    words: str

    by_n = rf.Index("n")
    found = rf.TextIndex("words")
    near = rf.VectorIndex(dims=2, filters=("n",))


class Settled(rf.Table, table="settled"):
    n: int

    by_n = rf.Index("n")


bank = rf.Module("bank")

ship_out: Callable[[str], None] = print
"""Where the action's side effect goes; set by the process that runs it."""


@bank.mutation
async def transfer(ctx: rf.MutationCtx, n: int, source: int, target: int) -> int:
    for name, change in ((source, -1), (target, 1)):
        account = await ctx.db.query(Account).using(Account.by_name, name=name).unique()
        if account is None:
            await ctx.db.insert(Account(name=name, balance=change, moves=1))
        else:
            await ctx.db.patch(account.id, balance=account.balance + change, moves=account.moves + 1)
    await ctx.db.insert(Transfer(n=n, words=f"every t{n}"), vectors={Transfer.near: [1, 2]})
    await ctx.scheduler.run_after(0, settle, n=n)
    await ctx.scheduler.run_after(0, ship, n=n)
    return n


@bank.internal_mutation
async def settle(ctx: rf.MutationCtx, n: int) -> None:
    """Would leave a second row if it ran twice."""
    await ctx.db.insert(Settled(n=n))


@bank.internal_action
async def ship(ctx: rf.ActionCtx, n: int) -> None:
    ship_out(f"ship {n}")


app = rf.App(modules=[bank], limits=rf.Limits(documents_read=1_000_000, bytes_read=1 << 30, text_hits=100_000))


async def state(tx: EngineTransaction) -> dict[str, Any]:
    """All that the parent checks, of one snapshot."""
    db = rf.DatabaseReader(tx)
    transfers = await db.query(Transfer).using(Transfer.by_n).collect()
    last = transfers[-1].n if transfers else 0
    return {
        "accounts": await db.query(Account).collect(),
        "transfers": [row.n for row in transfers],
        "settled": [row.n async for row in db.query(Settled).using(Settled.by_n)],
        "scheduled": await db.query(rf.Scheduled).collect(),
        "found": await db.search(Transfer.found, f"t{last}", limit=1),
        "near": await db.nearest(Transfer.near, [1, 1], limit=2, n=last) if transfers else [],
    }
