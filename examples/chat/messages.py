"""What a team says, and how it finds it again. No function here names a team: the tables' `owner=` does."""

from __future__ import annotations

from functools import cache

import reflow as rf
from chat.schema import Channel, Message
from reflow.rag.embedders.local import LocalEmbedder

channels = rf.Module("channels")
messages = rf.Module("messages", rename="camel")

FIRST_CHANNEL = "general"
NAME_LENGTH = 40
BODY_LENGTH = 4000
RETRY = rf.Retry(attempts=5)


class Found(rf.Object):
    """A message that answers a question. `score`: 0 to 1, by meaning and words together."""

    message: Message
    channel: str
    score: float


@cache
def embedder() -> LocalEmbedder:
    """The model on this machine, loaded once."""
    return LocalEmbedder()


def _author(ctx: rf.MutationCtx) -> str:
    identity = ctx.auth.identity()
    if identity is None:
        raise rf.ApplicationError("Sign in first.")
    return identity.name or identity.subject


# Channels


@channels.query
async def all(ctx: rf.QueryCtx) -> list[Channel]:
    """The team's channels by name."""
    return await ctx.db.query(Channel).using(Channel.by_name).collect()


@channels.mutation
async def create(ctx: rf.MutationCtx, name: str) -> rf.Id[Channel]:
    """The channel of that name, a new one where there is none."""
    name = " ".join(name.strip().lstrip("#").split()).lower()
    if not 0 < len(name) <= NAME_LENGTH:
        raise rf.ApplicationError(f"A channel's name has 1 to {NAME_LENGTH} characters.")
    for channel in await all(ctx):
        if channel.name == name:
            return channel.id
    return await ctx.db.insert(Channel(name=name))


@channels.mutation
async def begin(ctx: rf.MutationCtx) -> rf.Id[Channel]:
    """Where a team starts to talk."""
    return await create(ctx, FIRST_CHANNEL)


# Messages


@messages.mutation
async def send(ctx: rf.MutationCtx, channel: rf.Id[Channel], body: str) -> rf.Id[Message]:
    """Says something; it can be found by its words at once, by its meaning a moment later."""
    author, body = _author(ctx), body.strip()
    if not 0 < len(body) <= BODY_LENGTH:
        raise rf.ApplicationError(f"A message has 1 to {BODY_LENGTH} characters.")
    if await ctx.db.get(channel) is None:
        raise rf.ApplicationError("This channel is gone.")
    id = await ctx.db.insert(Message(channel=channel, author=author, body=body))
    await ctx.scheduler.run_after(0, embed, message=id)
    return id


@messages.query
async def page(ctx: rf.QueryCtx, channel: rf.Id[Channel], pagination_opts: rf.PaginationOptions) -> rf.Page[Message]:
    """A channel's messages, the newest first."""
    return await (
        ctx.db.query(Message).using(Message.by_channel, channel=channel).order("desc").paginate(pagination_opts)
    )


@messages.query
async def find(ctx: rf.QueryCtx, text: str, vector: list[float]) -> list[Found]:
    """The team's messages that are nearest to a question, live. `vector`: what `question` gave for `text`."""
    _check_question(text)
    hits = await ctx.db.hybrid(Message.meaning, Message.words, vector, text, limit=8)
    names = {channel.id: channel.name for channel in await all(ctx)}
    return [Found(message=hit.doc, channel=names.get(hit.doc.channel, "?"), score=hit.score) for hit in hits]


@messages.action
async def question(ctx: rf.ActionCtx, text: str) -> list[float]:
    """The vector of a question, 384 numbers."""
    if ctx.auth.identity() is None:
        raise rf.ApplicationError("Sign in first.")
    _check_question(text)
    return (await embedder().embed([text], "query"))[0].tolist()


def _check_question(text: str) -> None:
    if not 0 < len(text) <= BODY_LENGTH:
        raise rf.ApplicationError(f"A question has 1 to {BODY_LENGTH} characters.")


# In the background nobody is signed in: these two work for every team, and say so.


@messages.internal_action(owners="all", retry=RETRY)
async def embed(ctx: rf.ActionCtx, message: rf.Id[Message]) -> None:
    """Gives a message its vector."""
    found = await ctx.run_query(body_of, message=message)
    if found is not None:
        vector = (await embedder().embed([found], "document"))[0].tolist()
        await ctx.run_mutation(save_vector, message=message, vector=vector)


@messages.internal_query(owners="all")
async def body_of(ctx: rf.QueryCtx, message: rf.Id[Message]) -> str | None:
    """What is to be embedded."""
    found = await ctx.db.get(message)
    return None if found is None else found.body


@messages.internal_mutation(owners="all")
async def save_vector(ctx: rf.MutationCtx, message: rf.Id[Message], vector: list[float]) -> None:
    """Stores a message's vector, unless the message is gone."""
    if await ctx.db.get(message) is not None:
        await ctx.db.set_vector(Message.meaning, message, vector)
