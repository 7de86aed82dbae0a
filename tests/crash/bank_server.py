"""The bank's real server, for test_kill: prints its address, then "ship <n>" from the scheduled action."""

from __future__ import annotations

import asyncio
import sys

from reflow.server.serve import run, serving
from tests.crash import bank
from tests.crash.fate import say


async def main(directory: str) -> None:
    bank.ship_out = say
    async with serving(bank.app, port=0, data=directory) as server:
        say(server.url)
        await asyncio.Event().wait()


if __name__ == "__main__":
    run(main(sys.argv[1]))
