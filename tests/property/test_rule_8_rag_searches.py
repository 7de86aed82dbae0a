"""Rule 8 for searches of a corpus: each owner finds what they would find if nobody else were there."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import reflow as rf
from reflow.context import Identity
from reflow.errors import ApplicationError, AuthenticationRequired, CallFailed, ReflowError
from reflow.limits import Limits
from reflow.rag.search.asking import SearchSettings
from reflow.rag.search.queries import Options
from reflow.rag.search.rerank import FunctionReranker
from reflow.testing import simulate
from tests.support import arun
from tests.support.searched import app_of, corpus_of, names

ANN = Identity(issuer="https://id.example", subject="ann", claims={"org_id": "A"})
BOB = Identity(issuer="https://id.example", subject="bob", claims={"org_id": "B"})
PEOPLE = {"ann": ANN, "bob": BOB}

WORDS = ["cat", "dog", "sea", "fog"]
TEXTS = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join), min_size=1, max_size=3)
WHO = st.sampled_from(["ann", "bob"])
ADDED = st.lists(st.tuples(WHO, TEXTS, st.sampled_from([0.5, 1.0, 2.0])), min_size=1, max_size=6)


def owned(**options: Any) -> Any:
    return corpus_of(owner=True, **options)


async def shown(see: Any, corpus: Any, added: Sequence[tuple[str, list[str], float]], who: str) -> list[Any]:
    """What somebody sees of their searches."""
    sim = see.as_(PEOPLE[who])
    seen: list[Any] = []
    for mode in ("dense", "text", "hybrid"):
        for limit in (2, 100):
            # Scores by words are of the whole corpus, so only what is found can be compared.
            if mode != "dense" and limit == 2:
                continue
            id = await sim.mutation(corpus.searches.start, "cat fog", Options(mode=mode, limit=limit))
            await see.quiet()
            rows = (await sim.query(corpus.searches.results, id)).rows
            told = await sim.query(corpus.searches.explain, id)
            once = await sim.action(corpus.searches.once, "cat fog", Options(mode=mode, limit=limit))
            assert names(once.rows) == names(rows)
            pairs = sorted((row.text, round(row.score, 4) if mode == "dense" else 0, row.source_key) for row in rows)
            seen.append([pairs, sorted(one.row.source_key for one in told.left_out)])
    listed = await sim.query(corpus.searches.history, rf.PaginationOptions(num_items=50))
    seen.append(sorted((row.input, row.options.mode, row.asks) for row in listed.page))
    return seen


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(added=ADDED)
def test_rule_8_others_make_no_difference_to_what_is_found(added: list[tuple[str, list[str], float]]) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            together = owned()
            both = await stack.enter_async_context(simulate(app_of(together)))
            alone = {who: (own := owned(), await stack.enter_async_context(simulate(app_of(own)))) for who in PEOPLE}
            for number, (who, texts, importance) in enumerate(added):
                for sim in (both, alone[who][1]):
                    fields = {"importance": importance}
                    call = sim.as_(PEOPLE[who]).action
                    await call("tests:add_embedded", key=f"{who} {number}", texts=texts, fields=fields)
            for who, (corpus, sim) in alone.items():
                assert await shown(both, together, added, who) == await shown(sim, corpus, added, who)

    arun(main())


def test_rule_8_what_is_another_owners_does_not_exist() -> None:
    judged: list[Sequence[str]] = []

    def judge(query: str, texts: Sequence[str]) -> list[float]:
        judged.append(texts)
        return [1.0] * len(texts)

    async def main() -> None:
        search = SearchSettings(reranker=FunctionReranker(judge, id="testing/judge"))
        corpus: Any = owned(search=search, filters=("year",), limits=Limits(searches_kept=2))
        async with simulate(app_of(corpus)) as see:
            ann: Any = see.as_(ANN)
            bob: Any = see.as_(BOB)
            mine = {"category": "mine", "summary": "cat", "importance": 9.0}
            secret = await ann.action("tests:add_embedded", key="a", texts=["ann's cat", "ann's dog"], fields=mine)
            await bob.action("tests:add_embedded", key="b", texts=["bob's cat"], fields={"category": "his"})
            theirs = await ann.mutation(corpus.searches.start, "cat", Options(rerank=True))
            await see.quiet()
            chunk = (await ann.query(corpus.searches.results, theirs)).rows[0].id

            own = await bob.mutation(corpus.searches.start, "cat", Options(rerank=True))
            assert own != theirs, "a search is used again by its owner only"
            await see.quiet()
            assert names((await bob.query(corpus.searches.results, own)).rows) == ["bob's cat"]
            assert [sorted(texts) for texts in judged] == [["ann's cat", "ann's dog"], ["bob's cat"]]
            spied = '{"$or": [{"owner": "x"}, {"owner": {"$exists": true}}, {"category": "mine"}]}'
            found = await bob.action(corpus.searches.once, "cat", Options(filter=spied))
            assert names(found.rows) == ["bob's cat"]
            assert (await bob.query(corpus.searches.choices)).categories == ["his"]
            assert "owner" not in (await bob.query(corpus.searches.choices)).filters

            for function in ("results", "explain", "get", "similar"):
                with pytest.raises(ApplicationError, match="is no search"):
                    await bob.query(f"docs/searches:{function}", search_id=theirs)
            for function in ("rerun", "pin"):
                with pytest.raises(ApplicationError, match="is no search"):
                    await bob.mutation(f"docs/searches:{function}", search_id=theirs)
            await bob.mutation(corpus.searches.delete, theirs)
            with pytest.raises(ApplicationError, match="is no chunk"):
                await bob.query(corpus.searches.near, chunk)
            with pytest.raises(ApplicationError, match="is no source"):
                await bob.mutation(corpus.searches.start, "cat", Options(sources=[secret]))
            for number in range(3):  # the limit is each owner's
                await bob.mutation(corpus.searches.start, f"cat {number}")
            await see.quiet()
            assert (await ann.query(corpus.searches.get, theirs)).input == "cat"
            assert [row.input for row in await ann.query(corpus.searches.past, "cat")] == ["cat"]
            similar = await bob.query(corpus.searches.similar, await bob.mutation(corpus.searches.start, "cat 2"))
            assert [row.input for row in similar] == ["cat 1"]

            with pytest.raises((AuthenticationRequired, CallFailed), match="sign in"):
                await see.mutation(corpus.searches.start, "cat")
            with pytest.raises(ReflowError, match="sign in"):
                await see.action(corpus.searches.once, "cat")
            assert (await see.query(corpus.searches.history, rf.PaginationOptions(num_items=9))).page == []
            assert (await see.query(corpus.searches.past, "cat")) == []

    arun(main())


def test_rule_8_background_work_names_whose_chunks_it_searches() -> None:
    corpus: Any = owned()
    module = rf.Module("work")

    @module.internal_action(owners="all")
    async def search(ctx: rf.ActionCtx, owner: str | None) -> list[str]:
        within = None if owner is None else {"owner": owner} if owner else {}
        return names((await corpus.searches.find(ctx, "cat", within=within)).rows)

    async def main() -> None:
        async with simulate(app_of(corpus, module)) as sim:
            for who, identity in PEOPLE.items():
                await sim.as_(identity).action("tests:add_embedded", key=who, texts=[f"{who}'s cat"])
            assert await sim.action(search, ANN.token_identifier) == ["ann's cat"]
            with pytest.raises(CallFailed, match=r"within=corpus.owned\(row\)"):
                await sim.action(search, "")
            with pytest.raises(ReflowError, match="sign in"):
                await sim.action(search, None)

    arun(main())
