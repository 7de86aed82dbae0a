"""An application whose mutations tell what they saw, and a model that says what they should have seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

import reflow as rf


class Counter(rf.Table, table="counters"):
    name: str
    n: int = 0

    by_name = rf.Index("name")


class Item(rf.Table, table="items"):
    group: int
    n: int

    by_group = rf.Index("group", "n")


shop = rf.Module("shop")


@shop.mutation
async def add(ctx: rf.MutationCtx, name: str, by: int) -> int | None:
    """Read, change, write: the counter before, None where there was none and one was made."""
    found = await ctx.db.query(Counter).using(Counter.by_name, name=name).unique()
    if found is None:
        await ctx.db.insert(Counter(name=name, n=by))
        return None
    await ctx.db.patch(found.id, n=found.n + by)
    return found.n


@shop.mutation
async def append(ctx: rf.MutationCtx, group: int) -> int:
    """Numbers items by counting them: two that count alike are a phantom."""
    n = await ctx.db.query(Item).using(Item.by_group, group=group).count()
    await ctx.db.insert(Item(group=group, n=n))
    return n


@shop.mutation
async def put(ctx: rf.MutationCtx, group: int, n: int) -> int:
    """A blind write."""
    await ctx.db.insert(Item(group=group, n=n))
    return n


@shop.mutation
async def drop(ctx: rf.MutationCtx, group: int, above: int) -> int | None:
    """Removes the first item of a range."""
    found = await ctx.db.query(Item).using(Item.by_group, group=group).gt(above).first()
    if found is not None:
        await ctx.db.delete(found.id)
    return found and found.n


@shop.mutation
async def shift(ctx: rf.MutationCtx, source: int, target: int) -> list[int]:
    """Moves the two last items of a group to another one."""
    found = await ctx.db.query(Item).using(Item.by_group, group=source).order("desc").take(2)
    for item in found:
        await ctx.db.patch(item.id, group=target)
    return [item.n for item in found]


@shop.mutation
async def note(ctx: rf.MutationCtx, name: str) -> int:
    """Reads a whole table and writes into the other."""
    total = sum([item.n async for item in ctx.db.query(Item)])
    await ctx.db.insert(Counter(name=f"total of {name}", n=total))
    return total


@shop.mutation
async def check(ctx: rf.MutationCtx) -> dict[str, int]:
    """Reads only."""
    counters = await ctx.db.query(Counter).collect()
    return {"counters": sum(c.n for c in counters), "items": await ctx.db.query(Item).count()}


@shop.query
async def everything(ctx: rf.QueryCtx) -> dict[str, Any]:
    """The whole state, as the model has it."""
    counters = await ctx.db.query(Counter).using(Counter.by_name).collect()
    items = await ctx.db.query(Item).using(Item.by_group).collect()
    # Equal names sort by creation, and side by side that may be another order than that of the commits.
    return {"counters": sorted([c.name, c.n] for c in counters), "items": [[i.group, i.n] for i in items]}


app = rf.App(modules=[shop])


@dataclass
class Model:
    """The same, one after another, in plain Python."""

    counters: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    items: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])

    def run(self, name: str, args: dict[str, Any]) -> Any:
        return getattr(self, name)(**args)

    def add(self, name: str, by: int) -> int | None:
        for place, (other, n) in enumerate(self.counters):
            if other == name:
                self.counters[place] = (name, n + by)
                return n
        self.counters.append((name, by))
        return None

    def append(self, group: int) -> int:
        n = sum(1 for other, _ in self.items if other == group)
        self.items.append((group, n))
        return n

    def put(self, group: int, n: int) -> int:
        self.items.append((group, n))
        return n

    def drop(self, group: int, above: int) -> int | None:
        found = sorted(n for other, n in self.items if other == group and n > above)
        if not found:
            return None
        self.items.remove((group, found[0]))
        return found[0]

    def shift(self, source: int, target: int) -> list[int]:
        found = sorted((n for other, n in self.items if other == source), reverse=True)[:2]
        for n in found:
            self.items.remove((source, n))
            self.items.append((target, n))
        return found

    def note(self, name: str) -> int:
        total = sum(n for _, n in self.items)
        self.counters.append((f"total of {name}", total))
        return total

    def check(self) -> dict[str, int]:
        return {"counters": sum(n for _, n in self.counters), "items": len(self.items)}

    def everything(self) -> dict[str, Any]:
        return {"counters": [list(c) for c in sorted(self.counters)], "items": [list(i) for i in sorted(self.items)]}


Operation = tuple[str, dict[str, Any]]

_GROUPS = st.integers(0, 1)
_NAMES = st.sampled_from("ab")

OPERATIONS: st.SearchStrategy[Operation] = st.one_of(
    st.tuples(st.just("add"), st.fixed_dictionaries({"name": _NAMES, "by": st.integers(1, 3)})),
    st.tuples(st.just("append"), st.fixed_dictionaries({"group": _GROUPS})),
    st.tuples(st.just("put"), st.fixed_dictionaries({"group": _GROUPS, "n": st.integers(0, 3)})),
    st.tuples(st.just("drop"), st.fixed_dictionaries({"group": _GROUPS, "above": st.integers(-1, 2)})),
    st.tuples(st.just("shift"), st.fixed_dictionaries({"source": _GROUPS, "target": _GROUPS})),
    st.tuples(st.just("note"), st.fixed_dictionaries({"name": _NAMES})),
    st.tuples(st.just("check"), st.just({})),
)

CLIENTS: st.SearchStrategy[Sequence[Sequence[Operation]]] = st.lists(
    st.lists(OPERATIONS, min_size=1, max_size=5), min_size=2, max_size=6
)
"""What each of several clients does, one after another."""
