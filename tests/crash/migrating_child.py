"""The process for test_migrations_kill: runs a migration and ends itself (SIGKILL) at a moment of one of its commits.

Arguments: directory, version, "raw" or "running", migration, moment, and which of these it is. Says "done" when the
migration is.
"""

from __future__ import annotations

import asyncio
import sys

from reflow.backend import Backend
from reflow.storage.lock import DirectoryLock
from reflow.storage.sqlite import SqliteStorage
from tests.crash.fate import Fate, FatefulVFS, say
from tests.crash.migrating import version


async def main(directory: str, name: str, mode: str, migration: str, moment: str, times: int) -> None:
    fate = Fate(moment, times, armed=False)
    vfs = FatefulVFS(fate)
    app = version(name)
    with DirectoryLock(directory):
        storage = SqliteStorage(directory, on_commit=fate.comes, vfs="fateful", limits=app.limits)
        engine = app.engine(storage)
        await (engine.start_raw() if mode == "raw" else engine.start())
        fate.armed = vfs is not None
        row = await Backend(engine).action(f"notes:{migration}")
        fate.armed = False
        await engine.close()
        say(row.state)


if __name__ == "__main__":
    directory, name, mode, migration, moment, times = sys.argv[1:]
    asyncio.run(main(directory, name, mode, migration, moment, int(times)))
