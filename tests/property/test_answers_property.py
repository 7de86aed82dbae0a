"""Whatever people do with answers, and whenever the server stops: each comes to one end, and nothing is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import reflow as rf
from reflow.errors import ApplicationError, ProviderBusy, ProviderError
from reflow.rag.answers.chat import FunctionChat, Message, Parts
from reflow.rag.corpus import Corpus
from reflow.storage.memory import MemoryStorage
from reflow.testing import HashingEmbedder, Simulation, VirtualClock, simulate
from tests.support import arun

WORDS = 12
LIMITS = rf.Limits(answer_write_seconds=0.0, answer_page_blocks=3, answers_per_sweep=1)

Deed = tuple[str, int]

deeds = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask", "ask", "stop", "retry", "delete", "turns", "turns", "restart", "time"]),
        st.integers(0, 40),
    ),
    max_size=14,
)
fates = st.lists(st.sampled_from(["fine", "slow", "slow", "busy", "broken", "quota", "bug"]), max_size=8)


class Model:
    """Says the question's words, or fails as its fate has it; each call takes the next fate."""

    def __init__(self, fates: Sequence[str]) -> None:
        self.fates = list(fates)

    async def say(self, messages: Sequence[Message]) -> Parts:
        fate = self.fates.pop(0) if self.fates else "fine"
        question = messages[-1].content.rpartition("Question: ")[2]
        if fate == "busy":
            raise ProviderBusy("come back later", 5.0)
        if fate == "quota":
            raise ProviderError("the account is used up", "quota")
        for number, word in enumerate(said(question).split(" ")):
            if number == WORDS // 2 and fate == "broken":
                raise ProviderError("broke off", "broken", retryable=True)
            if number == WORDS // 2 and fate == "bug":
                raise KeyError("oops")
            yield word + " " if number < WORDS else word
            for _ in range(60 if fate == "slow" else 1):
                await asyncio.sleep(0)


def said(question: str) -> str:
    """What the model makes of a question."""
    return " ".join([*(f"{question.removesuffix('?')}{number}" for number in range(WORDS)), "[1]"])


class World:
    """A corpus that lives through restarts."""

    def __init__(self, fates: Sequence[str]) -> None:
        self.corpus = Corpus(
            "docs", embedder=HashingEmbedder(16), chat=FunctionChat(Model(fates).say, id="model"), limits=LIMITS
        )
        module = rf.Module("rows")
        tables = self.corpus.tables

        @module.internal_query(owners="all")
        async def rows(ctx: rf.QueryCtx) -> dict[str, list[str]]:
            records = await ctx.db.query(tables.AnswerRecord).collect()
            blocks = await ctx.db.query(tables.AnswerBlock).using(tables.AnswerBlock.by_answer).collect()
            return {
                "answers": [row.id for row in await ctx.db.query(tables.Answer).collect()],
                "records": [row.answer for row in records],
                "blocks": [f"{block.answer} {block.number}" for block in blocks],
            }

        self.app = rf.App(modules=[module], components=[self.corpus], limits=LIMITS)
        self.storage = MemoryStorage(limits=LIMITS)
        self.clock = VirtualClock()
        self.asked: dict[str, str] = {}

    async def live(self, deeds: Sequence[Deed], seed: int) -> None:
        """Does all of it, in one server after another, until nothing is left to do."""
        rest = list(deeds)
        first = True
        while rest or first:
            async with simulate(self.app, storage=self.storage, clock=self.clock, seed=seed, interleave=True) as sim:
                if first:
                    await sim.mutation(self.corpus.sources.put, key="a", text="Some words to answer from.")
                    await sim.quiet()
                    first = False
                while rest:
                    deed, number = rest.pop(0)
                    if deed == "restart":
                        break
                    await self.do(sim, deed, number)
        async with simulate(self.app, storage=self.storage, clock=self.clock, seed=seed) as sim:
            for _ in range(20):
                await sim.advance(30)
            await self.check(sim)

    async def do(self, sim: Simulation, deed: str, number: int) -> None:
        answers = self.corpus.answers
        match deed:
            case "ask":
                question = f"q{len(self.asked)}?"
                self.asked[await sim.mutation(answers.ask, question, kind="chat")] = question
            case "turns":
                for _ in range(number * 10):
                    await asyncio.sleep(0)
            case "time":
                self.clock.advance(number / 8)
                await asyncio.sleep(0)
            case _ if self.asked:
                function: Any = {"stop": answers.stop, "retry": answers.retry, "delete": answers.delete}[deed]
                chosen = list(self.asked)[number % len(self.asked)]
                await sim.mutation(function, chosen)
                if deed == "delete":
                    del self.asked[chosen]
            case _:
                pass

    async def check(self, sim: Simulation) -> None:
        rows: dict[str, list[str]] = await sim.query("rows:rows")
        assert sorted(rows["answers"]) == sorted(rows["records"]) == sorted(self.asked)
        for id, question in self.asked.items():
            view = await sim.query(self.corpus.answers.get, id)
            text = await sim.query(self.corpus.answers.text, id)
            numbers = [int(block.split()[1]) for block in rows["blocks"] if block.startswith(id)]
            assert numbers == list(range(len(numbers)))
            assert view.state in ("done", "failed", "stopped"), (view.state, view.error)
            assert said(question).startswith(text)
            assert view.characters == len(text)
            assert (view.state == "failed") == (view.error is not None)
            if view.state == "done":
                assert (text, view.cited) == (said(question), [1])
        assert {block.split()[0] for block in rows["blocks"]} <= set(self.asked)


# An example takes a second: to shrink one would take longer than a test may.
@settings(max_examples=20, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(deeds, fates, st.integers(0, 1000))
def test_every_answer_comes_to_one_end_and_leaves_nothing_behind(
    deeds: list[Deed], fates: list[str], seed: int
) -> None:
    arun(World(fates).live(deeds, seed))


def test_the_deeds_are_allowed() -> None:
    """None of them is refused for an answer that is there: else the property would say little."""

    async def main() -> None:
        world = World([])
        async with simulate(world.app) as sim:
            await world.do(sim, "ask", 0)
            for deed in ("stop", "retry", "delete"):
                await world.do(sim, deed, 0)
            assert world.asked == {}
            try:
                await sim.mutation(world.corpus.answers.stop, "nothing")
            except ApplicationError:
                return
        raise AssertionError

    arun(main())
