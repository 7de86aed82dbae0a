"""The application of the tests of files. `python -m tests.support.files_app DATA` serves it."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator

import reflow as rf
from reflow.server.serve import serve

files = rf.Module("files", rename="camel")


class Post(rf.Table, table="posts"):
    text: str
    file: rf.Id[rf.File] | None = rf.missing()


@files.mutation
async def generate_upload_url(ctx: rf.MutationCtx) -> str:
    return await ctx.storage.upload_url()


@files.mutation
async def upload_url_and_fail(ctx: rf.MutationCtx) -> None:
    raise rf.ApplicationError(await ctx.storage.upload_url())


@files.mutation
async def send(ctx: rf.MutationCtx, storage_id: rf.Id[rf.File], text: str = "") -> rf.Id[Post]:
    return await ctx.db.insert(Post(text=text, file=storage_id))


@files.query
async def posts(ctx: rf.QueryCtx) -> list[dict[str, str | None]]:
    found = await ctx.db.query(Post).collect()
    return [{"text": post.text, "url": post.file and await ctx.storage.url(post.file)} for post in found]


@files.query
async def url(ctx: rf.QueryCtx, file: rf.Id[rf.File]) -> str | None:
    return await ctx.storage.url(file)


@files.query
async def metadata(ctx: rf.QueryCtx, file: rf.Id[rf.File]) -> rf.File | None:
    return await ctx.storage.metadata(file)


@files.query
async def listing(ctx: rf.QueryCtx) -> list[rf.File]:
    return await ctx.db.query(rf.File).collect()


@files.mutation
async def delete(ctx: rf.MutationCtx, file: rf.Id[rf.File]) -> None:
    await ctx.storage.delete(file)


@files.mutation
async def delete_and_fail(ctx: rf.MutationCtx, file: rf.Id[rf.File]) -> None:
    await ctx.storage.delete(file)
    assert await ctx.storage.url(file) is None
    raise rf.ApplicationError("not after all")


@files.action
async def store(
    ctx: rf.ActionCtx, size: int, content_type: str | None = None, sha256: str | None = None
) -> rf.Id[rf.File]:
    """Stores a file that counts up."""
    return await ctx.storage.store(counted(size, max(1000, size // 100)), content_type=content_type, sha256=sha256)


@files.action
async def read(ctx: rf.ActionCtx, file: rf.Id[rf.File], start: int = 0, stop: int | None = None) -> bytes | None:
    found = await ctx.storage.get(file, start=start, stop=stop)
    return None if found is None else await found.read()


def content(size: int) -> bytes:
    """What a file of that size has in it."""
    block = b"".join(number.to_bytes(4, "big") for number in range(1024))
    return (block * (size // len(block) + 1))[:size]


async def counted(size: int, piece: int = 1000) -> AsyncIterator[bytes]:
    """The same in pieces."""
    whole = memoryview(content(size))
    for at in range(0, size, piece):
        yield bytes(whole[at : at + piece])


app = rf.App(modules=[files])


def main() -> None:
    """Serve on a free port and print the address."""
    serve(app, port=0, data=sys.argv[1], on_ready=lambda server: print(server.url, flush=True))


if __name__ == "__main__":
    main()
