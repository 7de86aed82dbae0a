"""The application the benchmark serves: a table of small documents, one of counters, and the calls on them."""

from __future__ import annotations

import reflow as rf


class Person(rf.Table, table="people"):
    """A small document of five fields, one of them indexed."""

    name: str
    email: str
    age: int
    city: str
    active: bool

    by_city = rf.Index("city")


class Counter(rf.Table, table="counters"):
    """A number many clients increment or watch."""

    name: str
    value: int = 0


bench = rf.Module("bench")


@bench.mutation
async def create(ctx: rf.MutationCtx, name: str, email: str, age: int, city: str, active: bool) -> rf.Id[Person]:
    """Insert one person."""
    return await ctx.db.insert(Person(name=name, email=email, age=age, city=city, active=active))


@bench.mutation
async def create_counter(ctx: rf.MutationCtx, name: str, value: int) -> rf.Id[Counter]:
    """Insert one counter."""
    return await ctx.db.insert(Counter(name=name, value=value))


@bench.mutation
async def increment(ctx: rf.MutationCtx, id: rf.Id[Counter]) -> int:
    """Read a counter, add one, write it back; returns the new value."""
    counter = await ctx.db.get(id)
    if counter is None:
        raise rf.ApplicationError(f"no counter {id}")
    await ctx.db.patch(id, value=counter.value + 1)
    return counter.value + 1


@bench.query
async def get(ctx: rf.QueryCtx, id: rf.Id[Person]) -> Person | None:
    """One person by id."""
    return await ctx.db.get(id)


@bench.query
async def watch(ctx: rf.QueryCtx, id: rf.Id[Counter]) -> Counter | None:
    """One counter by id: what subscribers watch."""
    return await ctx.db.get(id)


@bench.query
async def count(ctx: rf.QueryCtx, city: str) -> int:
    """How many people live in a city."""
    return await ctx.db.query(Person).using(Person.by_city, city=city).count()


app = rf.App(modules=[bench])
