"""The process for test_generations_kill: models are changed and removed without end while documents come and go."""

from __future__ import annotations

import asyncio
import itertools
import random
import sys

from tests.crash.fate import say
from tests.support.generation_rules import MODELS, app, change_model, clear_away, remove, rewrite, write


async def main(directory: str, first: int) -> None:
    async with app().open(directory) as backend:
        say("opened")

        async def churn(start: int) -> None:
            ids = [await backend.mutation(write, text=f"start {start} {n}") for n in range(8)]
            for n in itertools.count():
                ids.append(await backend.mutation(write, text=f"note {start} {n}"))
                await backend.mutation(rewrite, id=random.choice(ids), text=f"again {start} {n}")
                await backend.mutation(remove, id=ids.pop(random.randrange(len(ids))))

        async def change() -> None:
            for name in itertools.islice(itertools.cycle(MODELS), first, None):
                number = await backend.action(change_model, name=name)
                say(f"flipped {number} {name}")
                await backend.action(clear_away)

        await asyncio.gather(churn(2 * first), churn(2 * first + 1), change())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
