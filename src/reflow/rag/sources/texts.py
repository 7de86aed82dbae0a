"""The texts of versions, kept in blocks: a document of a table has a bound, a book has none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import reflow as rf
from reflow.rag.tables import Tables, TextBlock, Version


def blocks_of(text: str, size: int) -> list[tuple[int, int, str]]:
    """Pieces of a text of at most `size` characters, after a line's end where there is one in the second half: the
    offset of each, the number of the line where it starts (from 1), and its text."""
    blocks: list[tuple[int, int, str]] = []
    start, line = 0, 1
    while start < len(text):
        end = min(start + size, len(text))
        if end < len(text):
            at = text.rfind("\n", start + size // 2, end)
            end = at + 1 if at >= 0 else end - text.startswith("\r\n", end - 1)
        block = text[start:end]
        blocks.append((start, line, block))
        line += lines_in(block) - 1
        start = end
    return blocks


def lines_in(text: str) -> int:
    """The number of lines: a line ends with "\\n", "\\r\\n" or "\\r"; behind the last end there is one more."""
    return 1 + text.count("\n") + text.count("\r") - text.count("\r\n")


async def store(
    ctx: rf.MutationCtx, tables: Tables, version: Version, text: str, size: int, owned: Mapping[str, Any]
) -> None:
    """Keeps the text of a version, in blocks of at most `size` characters."""
    await ctx.db.insert_many(
        tables.TextBlock(
            source=version.source,
            version=version.number,
            number=number,
            start=start,
            first_line=line,
            text=block,
            **owned,
        )
        for number, (start, line, block) in enumerate(blocks_of(text, size))
    )


def blocks(ctx: rf.QueryCtx | rf.MutationCtx, tables: Tables, source: rf.Id[Any], version: int) -> rf.Query[TextBlock]:
    """The blocks of a version's text, in order."""
    return ctx.db.query(tables.TextBlock).using(tables.TextBlock.by_version, source=source, version=version)


async def load(ctx: rf.QueryCtx | rf.MutationCtx, tables: Tables, source: rf.Id[Any], version: int) -> str:
    """The text of a version; "" where none is kept."""
    return "".join([block.text for block in await blocks(ctx, tables, source, version).collect()])


async def forget(ctx: rf.MutationCtx, tables: Tables, source: rf.Id[Any], version: int) -> None:
    """Removes the text of a version."""
    rows = await blocks(ctx, tables, source, version).collect()
    await ctx.db.delete_many(block.id for block in rows)
