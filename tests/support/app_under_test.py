"""The application that protocol and client tests talk to. `python -m tests.support.app_under_test DATA` serves it."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import reflow as rf
from reflow.server.serve import serve


class Message(rf.Table, table="messages"):
    author: str
    body: str

    by_author = rf.Index("author")


class Counter(rf.Table, table="counters"):
    name: str
    value: int = 0

    by_name = rf.Index("name")


messages = rf.Module("messages")
counters = rf.Module("lib/counters", rename="camel")
extra = rf.Module("extra")


@messages.query
async def listing(ctx: rf.QueryCtx, author: str | None = None) -> list[Message]:
    query = ctx.db.query(Message)
    if author is not None:
        query = query.using(Message.by_author, author=author)
    return await query.collect()


@messages.query
async def page(ctx: rf.QueryCtx, paginationOpts: rf.PaginationOptions) -> rf.Page[Message]:
    return await ctx.db.query(Message).order("desc").paginate(paginationOpts)


@messages.query
async def count(ctx: rf.QueryCtx) -> int:
    return await ctx.db.query(Message).count()


@messages.mutation
async def send(ctx: rf.MutationCtx, author: str, body: str) -> rf.Id[Message]:
    return await ctx.db.insert(Message(author=author, body=body))


@messages.mutation(idempotency="body")
async def send_once(ctx: rf.MutationCtx, author: str, body: str) -> rf.Id[Message]:
    return await ctx.db.insert(Message(author=author, body=body))


@messages.mutation
async def refuse(ctx: rf.MutationCtx, data: Any) -> None:
    """Writes, then raises: nothing of it may be seen."""
    await ctx.db.insert(Message(author="refused", body="never seen"))
    raise rf.ApplicationError(data)


@messages.mutation
async def crash(ctx: rf.MutationCtx) -> None:
    raise ValueError("the reason")


@messages.query
async def failing(ctx: rf.QueryCtx, author: str) -> int:
    """Fails, with data, as soon as there is a message of that author."""
    found = await ctx.db.query(Message).using(Message.by_author, author=author).take(1)
    if found:
        raise rf.ApplicationError({"author": author})
    return 0


@messages.internal_query
async def secret(ctx: rf.QueryCtx) -> str:
    return "hidden"


@messages.internal_mutation
async def secret_send(ctx: rf.MutationCtx) -> str:
    await ctx.db.insert(Message(author="internal", body="internal"))
    return "hidden"


@messages.action
async def announce(ctx: rf.ActionCtx, author: str, body: str) -> int:
    """Calls out, so to say, and then writes."""
    await asyncio.sleep(0.01)
    await ctx.run_mutation(send, author=author, body=body)
    return await ctx.run_query(count)


@messages.action
async def wait(ctx: rf.ActionCtx, seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


@messages.action
async def refuse_action(ctx: rf.ActionCtx, data: Any) -> None:
    ctx.log("about to refuse")
    raise rf.ApplicationError(data)


@counters.mutation
async def add_one(ctx: rf.MutationCtx, name: str) -> int:
    found = await ctx.db.query(Counter).using(Counter.by_name, name=name).unique()
    if found is None:
        await ctx.db.insert(Counter(name=name, value=1))
        return 1
    await ctx.db.patch(found.id, value=found.value + 1)
    return found.value + 1


@counters.query
async def value_of(ctx: rf.QueryCtx, name: str) -> int:
    found = await ctx.db.query(Counter).using(Counter.by_name, name=name).unique()
    return 0 if found is None else found.value


@counters.action
async def counted(ctx: rf.ActionCtx, name: str) -> int:
    """Waits until that counter counts."""
    while not (value := await ctx.run_query(value_of, name=name)):
        await asyncio.sleep(0.02)
    return value


@extra.query
async def echo(ctx: rf.QueryCtx, value: Any) -> Any:
    return value


@extra.query
async def large(ctx: rf.QueryCtx, name: str, size: int) -> str:
    """A result of about `size` bytes that changes with a counter."""
    found = await ctx.db.query(Counter).using(Counter.by_name, name=name).unique()
    return f"{0 if found is None else found.value}:" + "x" * size


@extra.query
async def default(ctx: rf.QueryCtx) -> str:
    return "the default"


@extra.query
async def who(ctx: rf.QueryCtx) -> str | None:
    identity = ctx.auth.identity()
    return None if identity is None else identity.subject


app = rf.App(modules=[messages, counters, extra])


def main() -> None:
    """Serve on a free port and print the address."""
    serve(app, port=0, data=sys.argv[1], on_ready=lambda server: print(server.url, flush=True))


if __name__ == "__main__":
    main()
