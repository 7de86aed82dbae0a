"""What a corpus says of itself: what it lacks, and who watches it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

import pytest

import reflow as rf
from reflow.context import Identity
from reflow.engine.environment import assign
from reflow.errors import MissingExtra
from reflow.rag.answers.chat import FunctionChat, Message
from reflow.rag.answers.openai_chat import OpenAIChat, configured_chat
from reflow.rag.corpus import Corpus
from reflow.rag.costs.spending import Budget, Entry, Price, Spending
from reflow.rag.embedders import LocalEmbedder, OpenAICompatible, minilm
from reflow.rag.measures.status import Check, Gate
from reflow.rag.search.asking import SearchSettings
from reflow.rag.search.rerank import CohereReranker
from reflow.rag.search.transform import rewrite
from reflow.testing import HashingEmbedder, Simulation, simulate
from tests.support import arun

ANN = Identity(issuer="https://id.example", subject="ann")


def with_corpus(environment: dict[str, str] | None = None, **options: Any) -> Any:
    def decorate(test: Any) -> Any:
        def run() -> None:
            async def main() -> None:
                given: dict[str, Any] = {"embedder": HashingEmbedder(), "public": True} | options
                corpus = Corpus("docs", **given)
                app = rf.App(components=[corpus], environment=environment or {})
                async with simulate(app) as sim:
                    await test(corpus, sim)

            arun(main())

        run.__name__ = test.__name__
        return run

    return decorate


async def gate(corpus: Corpus, backend: rf.Backend) -> tuple[Gate, dict[str, Check]]:
    found = await backend.query(corpus.status.check)
    return found, {check.name: check for check in found.checks}


async def echo(messages: Sequence[Message]) -> str:
    return messages[-1].content


# --- The gate -----------------------------------------------------------------------------------------------------


@with_corpus()
async def test_without_keys_everything_that_is_needed_is_there(corpus: Corpus, sim: Simulation) -> None:
    found, checks = await gate(corpus, sim)
    assert found.ready
    assert {name: check.state for name, check in checks.items()} == {"embedder": "ok", "chat": "off", "reranker": "off"}
    assert "testing/hashing" in checks["embedder"].text
    assert "chat=" in checks["chat"].text


@with_corpus(
    embedder=OpenAICompatible("text-embedding-3-small"),
    chat=OpenAIChat("gpt-4o-mini"),
    search=SearchSettings(
        reranker=CohereReranker("rerank-v3.5"), transforms={"rewrite": rewrite(FunctionChat(echo, id="echo"))}
    ),
)
async def test_a_variable_that_is_set_clears_the_gate_live(corpus: Corpus, sim: Simulation) -> None:
    found, checks = await gate(corpus, sim)
    assert not found.ready
    assert checks["embedder"].state == checks["chat"].state == checks["reranker"].state == "missing"
    assert [(one.name, one.is_set) for one in checks["embedder"].variables] == [("OPENAI_API_KEY", False)]
    assert checks["embedder"].command == "reflow env set OPENAI_API_KEY"
    assert "OPENAI_API_KEY is not set" in checks["chat"].text
    assert checks["transforms"].text == "hypothetical, rewrite"
    async with aclosing(cast("AsyncGenerator[Gate]", sim.watch(corpus.status.check))) as watch:
        assert not (await anext(watch)).ready
        await assign(sim.engine, {"OPENAI_API_KEY": "sk-one"})
        assert [one.name for one in (await anext(watch)).checks if one.state == "missing"] == ["reranker"]
        await assign(sim.engine, {"COHERE_API_KEY": "co-one"})
        last = await anext(watch)
        assert last.ready
        assert [one.is_set for check in last.checks for one in check.variables] == [True] * 3
        assert "-one" not in repr(last), "no value is told"


@with_corpus(chat=configured_chat)
async def test_a_chat_model_may_be_chosen_by_variables(corpus: Corpus, sim: Simulation) -> None:
    assert (await gate(corpus, sim))[1]["chat"].state == "off"
    await assign(sim.engine, {"CHAT_MODEL": "tiny", "CHAT_URL": "http://127.0.0.1:9/v1"})
    found, checks = await gate(corpus, sim)
    assert found.ready
    assert (checks["chat"].state, checks["chat"].text) == ("ok", "tiny")
    await assign(sim.engine, {"CHAT_URL": "no address"})
    assert (await gate(corpus, sim))[1]["chat"].state == "missing"


def test_a_local_model_says_what_is_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert LocalEmbedder().lacks is None
    assert "is not there" in (LocalEmbedder(model_path=tmp_path / "none.onnx").lacks or "")
    monkeypatch.setattr(minilm, "PACKAGE", "no_such_package")
    embedder = LocalEmbedder()
    with pytest.raises(MissingExtra) as error:
        minilm.load()
    assert embedder.lacks == str(error.value)

    @with_corpus(embedder=embedder)
    async def test(corpus: Corpus, sim: Simulation) -> None:
        found, checks = await gate(corpus, sim)
        assert not found.ready
        assert "install `reflow[local]`" in checks["embedder"].text

    test()


def test_vectors_of_another_model_are_told() -> None:
    async def main() -> None:
        from reflow.storage.memory import MemoryStorage

        class Other(HashingEmbedder):
            id = "testing/other"

        storage, old, new = MemoryStorage(), HashingEmbedder(), Other()
        former = Corpus("docs", embedder=old, public=True)
        async with simulate(rf.App(components=[former]), storage=storage) as sim:
            await sim.mutation(former.sources.put, "k", "some text")
            await sim.quiet()
            assert "model" not in (await gate(former, sim))[1]
        changed = Corpus("docs", embedder=new, public=True)
        async with simulate(rf.App(components=[changed]), storage=storage) as sim:
            found, checks = await gate(changed, sim)
            assert (found.ready, checks["model"].state) == (False, "missing")
            assert "others=[...]" in checks["model"].text
        both = Corpus("docs", embedder=new, others=[old], public=True)
        async with simulate(rf.App(components=[both]), storage=storage) as sim:
            found, checks = await gate(both, sim)
            assert (found.ready, checks["model"].state) == (True, "warning")
            assert checks["model"].command == "reflow reembed"

    arun(main())


def test_budgets_and_prices_are_told() -> None:
    async def main() -> None:
        spending = Spending(
            prices={"priced": Price(per_million_input=1)}, budgets=[Budget(money=1, tokens=10)], currency="EUR"
        )
        corpus = Corpus("docs", embedder=HashingEmbedder(), public=True, spending=spending)
        module = rf.Module("desk")

        @module.mutation
        async def work(ctx: rf.MutationCtx, model: str, tokens: int) -> None:
            await corpus.ledger.record(ctx, Entry(work="embed", model=model, tokens_in=tokens))

        async with simulate(rf.App(modules=[module], components=[corpus])) as sim:
            await sim.mutation(work, "priced", 5)
            found, checks = await gate(corpus, sim)
            assert found.currency == "EUR"
            assert not {"budget", "prices"} & checks.keys()
            await sim.mutation(work, "unheard of", 5)
            found, checks = await gate(corpus, sim)
            assert found.ready
            assert "unheard of" in checks["prices"].text
            assert "10 of 10 tokens" in checks["budget"].text

    arun(main())


@with_corpus(owner=True, spending=Spending(budgets=[Budget(money=0)]))
async def test_rule_8_the_gate_tells_no_owner_what_others_use(corpus: Corpus, sim: Simulation) -> None:
    for backend in (sim.as_(ANN), sim):
        checks = (await gate(corpus, backend))[1]
        assert "0 of 0" not in checks["budget"].text
    assert corpus.status.live.internal
    assert not corpus.status.check.internal


# --- Who watches --------------------------------------------------------------------------------------------------


async def watched(corpus: Corpus, backend: rf.Backend) -> tuple[int, int, dict[str, tuple[int, int]]]:
    found = await backend.query(corpus.status.live)
    return found.watchers, found.queries, {one.path: (one.queries, one.watchers) for one in found.functions}


@with_corpus()
async def test_live_queries_are_counted_per_function(corpus: Corpus, sim: Simulation) -> None:
    assert await watched(corpus, sim) == (0, 0, {})
    # Pages are followed one by one, since each keeps its own ends; other equal queries are shared.
    options = [rf.PaginationOptions(num_items=n) for n in (5, 5, 7)]
    watches: list[Any] = [sim.watch(corpus.sources.list, one) for one in options]
    watches += [sim.watch(corpus.sources.totals) for _ in range(2)]
    for watch in watches:
        await anext(watch)
    assert await watched(corpus, sim) == (0, 0, {}), "counted once a second"
    await sim.advance(1)
    assert await watched(corpus, sim) == (5, 4, {"docs/sources:list": (3, 3), "docs/sources:totals": (1, 2)})
    for watch in watches:
        await watch.aclose()
    await sim.advance(1)
    assert await watched(corpus, sim) == (0, 0, {})


@with_corpus()
async def test_who_watches_is_itself_live(corpus: Corpus, sim: Simulation) -> None:
    live: Any = sim.watch(corpus.status.live)
    assert [one.path for one in (await anext(live)).functions] == ["docs/status:live"]
    other: Any = sim.watch(corpus.sources.totals)
    await anext(other)
    await sim.advance(1)
    assert (await anext(live)).watchers == 2
    await other.aclose()
    await sim.advance(1)
    assert (await anext(live)).watchers == 1
    following = asyncio.ensure_future(anext(live))
    await sim.advance(3)
    assert not following.done(), "what has not changed is not sent again"
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    await live.aclose()
