"""Which commits make a live search run again, and which do not; searches as part of a mutation's read set."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from random import Random
from typing import Any

import pytest

import reflow as rf
from reflow.engine.outcomes import Result
from reflow.search.metric import VectorQuery
from reflow.testing import Simulation, simulate
from tests.support import arun
from tests.support.client import Client
from tests.support.simulated import simulated

RUNS: Counter[str] = Counter()
PASSING = {"tag": {"$in": ["b", "c"]}, "len(title)": {"$gte": 3}}


class Doc(rf.Table, table="docs"):
    title: str
    tag: str = "a"
    seen: int = 0

    words = rf.TextIndex("title", filters=("tag",))
    meaning = rf.VectorIndex(dims=2, filters=("tag", "len(title)"))


docs = rf.Module("docs")


@docs.mutation
async def add(ctx: rf.MutationCtx, title: str, vector: list[float] | None = None, tag: str = "a") -> rf.Id[Doc]:
    vectors = None if vector is None else {Doc.meaning: vector}
    return await ctx.db.insert(Doc(title=title, tag=tag), vectors=vectors)


@docs.mutation
async def change(ctx: rf.MutationCtx, id: rf.Id[Doc], fields: dict[str, Any]) -> None:
    await ctx.db.patch(id, **fields)


@docs.mutation
async def move(ctx: rf.MutationCtx, id: rf.Id[Doc], vector: list[float]) -> None:
    await ctx.db.set_vector(Doc.meaning, id, vector)


@docs.mutation
async def remove(ctx: rf.MutationCtx, id: rf.Id[Doc]) -> None:
    await ctx.db.delete(id)


@docs.query
async def near(ctx: rf.QueryCtx, filtered: bool = False, me: str = "") -> list[str]:
    RUNS[f"near {me}".strip()] += 1
    hits = await ctx.db.nearest(Doc.meaning, [1, 0], limit=2, filter=PASSING if filtered else None)
    return [hit.doc.title for hit in hits]


@docs.query
async def find(ctx: rf.QueryCtx, text: str, tag: str | None = None) -> list[str]:
    RUNS["find"] += 1
    filter = None if tag is None else {"tag": tag}
    return [hit.doc.title for hit in await ctx.db.search(Doc.words, text, filter=filter)]


@docs.query
async def both(ctx: rf.QueryCtx, text: str) -> list[str]:
    RUNS["both"] += 1
    hits = await ctx.db.hybrid(Doc.meaning, Doc.words, [1, 0], text, limit=2, min_length=3)
    return [hit.doc.title for hit in hits]


@docs.query
async def vector_of(ctx: rf.QueryCtx, id: rf.Id[Doc]) -> list[float] | None:
    RUNS["vector"] += 1
    found = await ctx.db.vector(Doc.meaning, id)
    return None if found is None else found.tolist()


@docs.mutation
async def add_unless_near(ctx: rf.MutationCtx, title: str, vector: list[float]) -> bool:
    """Stores a document unless there is one that is almost the same."""
    RUNS["unless"] += 1
    hits = await ctx.db.nearest(Doc.meaning, vector, limit=1)
    if hits and hits[0].score > 0.99:
        return False
    await ctx.db.insert(Doc(title=title), vectors={Doc.meaning: vector})
    return True


@docs.mutation
async def add_unless_named(ctx: rf.MutationCtx, title: str) -> bool:
    """Stores a document unless one has this very word in its title."""
    hits = await ctx.db.search(Doc.words, f"{title} zzz")
    if hits:
        return False
    await ctx.db.insert(Doc(title=title))
    return True


app = rf.App(modules=[docs], limits=rf.Limits(hybrid_candidates=2))


class Counted:
    """Counts the runs of one query, and the scans of vectors, of one step after another."""

    def __init__(self, sim: Simulation, client: Client, name: str) -> None:
        self._sim = sim
        self._client = client
        self._name = name
        self.scans = 0
        search = sim.engine.vectors.search

        async def counted(place: Any, query: VectorQuery, ts: int, **options: Any) -> Any:
            self.scans += 1
            return await search(place, query, ts, **options)

        sim.engine.vectors.search = counted

    async def runs(self, mutation: Any, *args: Any, **kwargs: Any) -> int:
        """How often the query ran because of a mutation."""
        before = RUNS[self._name]
        await self._sim.mutation(mutation, *args, **kwargs)
        await self._client.up_to_date()
        return RUNS[self._name] - before


async def counted(sim: Simulation, name: str, function: Any, **args: Any) -> tuple[Counted, Client, int]:
    client = Client(sim)
    query = client.add(function, **args)
    await client.up_to_date()
    return Counted(sim, client, name), client, query


@simulated(app)
async def test_rule_6_a_nearest_query_runs_again_only_for_new_or_changed_hits(sim: Simulation) -> None:
    first = await sim.mutation(add, "first", [10, 1])
    await sim.mutation(add, "second", [10, 2])
    third = await sim.mutation(add, "third", [10, 5])
    step, client, query = await counted(sim, "near", near)
    assert client.value(query) == ["first", "second"]
    assert await step.runs(add, "far", [0, 1]) == 0
    assert await step.runs(add, "no vector") == 0
    assert await step.runs(change, third, {"seen": 1}) == 0
    assert await step.runs(move, third, [10, 6]) == 0
    assert await step.runs(change, third, {"tag": "b"}) == 0
    assert await step.runs(change, first, {"seen": 1}) == 1
    assert await step.runs(add, "nearer", [10, 0]) == 1
    assert client.value(query) == ["nearer", "first"]
    assert await step.runs(move, third, [20, 1]) == 1
    assert client.value(query) == ["nearer", "third"]
    assert await step.runs(move, first, [0, -1]) == 0
    assert await step.runs(remove, first) == 0
    assert await step.runs(remove, third) == 1
    assert client.value(query) == ["nearer", "second"]
    assert step.scans == 0, "all of that was known from the hits that were kept"


@simulated(app)
async def test_rule_7_rows_are_scanned_again_only_when_too_few_hits_are_left(sim: Simulation) -> None:
    ids = [await sim.mutation(add, f"{n}", [10, n]) for n in range(12)]
    step, client, query = await counted(sim, "near", near)
    for gone in range(9):
        assert await step.runs(remove, ids[gone]) == 1
        assert client.value(query) == [f"{gone + 1}", f"{gone + 2}"]
    assert step.scans == 3, "of twice the hits, one search in three has to look"
    assert await step.runs(remove, ids[9]) == 1
    assert await step.runs(remove, ids[10]) == 1
    assert client.value(query) == ["11"]
    assert await step.runs(add, "anything", [-1, 0]) == 1
    assert client.value(query) == ["11", "anything"]
    assert step.scans == 3, "there were fewer than it keeps, so it knew all"


@simulated(app)
async def test_rule_6_only_what_passes_the_filter_wakes(sim: Simulation) -> None:
    other = await sim.mutation(add, "other", [10, 1], tag="a")
    await sim.mutation(add, "wanted", [10, 3], tag="b")
    step, client, query = await counted(sim, "near", near, filtered=True)
    assert client.value(query) == ["wanted"]
    assert await step.runs(add, "nearest of all", [1, 0], tag="a") == 0
    assert await step.runs(add, "no", [1, 0], tag="b") == 0
    assert await step.runs(add, "any", [-1, 0], tag="c") == 1
    assert client.value(query) == ["wanted", "any"]
    assert await step.runs(change, other, {"seen": 3}) == 0
    assert await step.runs(change, other, {"tag": "c"}) == 1
    assert client.value(query) == ["other", "wanted"]
    assert await step.runs(change, other, {"title": "ot"}) == 1
    assert client.value(query) == ["wanted", "any"]
    assert await step.runs(change, other, {"title": "other again"}) == 1
    assert step.scans == 0


@simulated(app)
async def test_a_live_vector_follows_only_its_own_document(sim: Simulation) -> None:
    mine = await sim.mutation(add, "mine", [1, 0])
    other = await sim.mutation(add, "other", [1, 0])
    step, client, query = await counted(sim, "vector", vector_of, id=mine)
    assert await step.runs(move, other, [5, 5]) == 0
    assert await step.runs(add, "new", [5, 5]) == 0
    assert await step.runs(move, mine, [2, 3]) == 1
    assert client.value(query) == [2, 3]
    assert await step.runs(remove, mine) == 1
    assert client.value(query) is None


@simulated(app)
async def test_rule_6_a_text_query_runs_again_for_its_words_and_prefixes(sim: Simulation) -> None:
    for n in range(40):
        await sim.mutation(add, f"filler {n}", tag="a")
    red = await sim.mutation(add, "red house")
    step, client, query = await counted(sim, "find", find, text="red ho")
    assert client.value(query) == ["red house"]
    assert await step.runs(add, "blue garden") == 0
    assert await step.runs(add, "a h") == 0
    assert await step.runs(change, red, {"seen": 1}) == 1, "the hit is shown, so it is followed"
    assert await step.runs(add, "horses") == 1, "the last word is a prefix"
    assert await step.runs(add, "redish") == 0, "only the last one is"
    assert await step.runs(add, "RED") == 1
    assert set(client.value(query)) == {"red house", "horses", "RED"}
    assert await step.runs(change, red, {"title": "green"}) == 1
    assert await step.runs(change, red, {"title": "brown"}) == 0
    assert await step.runs(change, red, {"tag": "b"}) == 0


@simulated(app)
async def test_a_text_query_follows_the_corpus_when_it_has_drifted_by_a_tenth(sim: Simulation) -> None:
    for n in range(39):
        await sim.mutation(add, f"filler {n}", tag="a")
    await sim.mutation(add, "red")
    step, _, _ = await counted(sim, "find", find, text="red")
    assert [await step.runs(add, "two words") for _ in range(9)] == [0, 0, 0, 0, 1, 0, 0, 0, 0]


@simulated(app)
async def test_rule_8_another_tenants_texts_do_not_wake_a_filtered_search(sim: Simulation) -> None:
    for n in range(60):
        await sim.mutation(add, f"red {n}", tag="ab"[n % 2])
    ids = [await sim.mutation(add, "red last", tag="b"), await sim.mutation(add, "grey", tag="b")]
    step, _, _ = await counted(sim, "find", find, text="red", tag="a")
    assert await step.runs(remove, ids[0]) == 0
    assert await step.runs(change, ids[1], {"title": "red after all"}) == 0
    assert await step.runs(change, ids[1], {"tag": "a"}) == 1, "now it passes the filter"
    assert [await step.runs(add, "red", tag="b") for _ in range(7)].count(1) == 1, "how rare a word is has drifted"


@simulated(app)
async def test_rule_6_a_hybrid_query_runs_again_for_either_of_its_searches(sim: Simulation) -> None:
    for n in range(40):
        await sim.mutation(add, f"filler {n}", [10, n + 5])
    step, client, query = await counted(sim, "both", both, text="castle")
    assert await step.runs(add, "far away", [0, 1]) == 0
    assert await step.runs(add, "no", [1, 0]) == 0, "too short"
    assert await step.runs(add, "near", [10, 0]) == 1
    assert client.value(query) == ["near", "filler 0"]
    assert await step.runs(add, "castle") == 1, "without a vector"
    assert client.value(query) == ["near", "castle"]
    assert await step.runs(add, "hill", [10, 0.5]) == 1, "one of the candidates by meaning"
    assert await step.runs(add, "the castle on the hill") == 1
    assert client.value(query) == ["near", "castle"]


@simulated(app)
async def test_equal_searches_are_one_and_go_with_those_who_follow_them(sim: Simulation) -> None:
    for n in range(8):
        await sim.mutation(add, f"{n}", [10, n])
    standing = sim.engine.cache.standing_searches
    client = Client(sim)
    mine = client.add(near, me="mine")
    other = client.add(near, me="other")
    await client.up_to_date()
    assert len(standing) == 1
    assert standing.hits_kept == 4
    client.remove(mine)
    await client.up_to_date()
    new = await sim.mutation(add, "new", [10, 0])
    await client.up_to_date()
    assert client.value(other) == ["0", "new"]
    assert len(standing) == 1
    client.close()
    assert len(standing) == 1, "its cached result is still right"
    await sim.mutation(remove, new)
    await sim.quiet()
    assert (len(standing), standing.hits_kept) == (0, 0)


def test_without_room_for_more_hits_a_search_knows_its_result_only() -> None:
    tight = rf.App(modules=[docs], limits=rf.Limits(standing_hits=0))

    async def main() -> None:
        async with simulate(tight) as sim:
            ids = [await sim.mutation(add, f"{n}", [10, n]) for n in range(6)]
            step, client, query = await counted(sim, "near", near)
            assert await step.runs(add, "far", [0, 1]) == 0
            assert await step.runs(add, "nearer", [11, 0]) == 1
            assert (client.value(query), step.scans) == (["0", "nearer"], 0)
            assert await step.runs(remove, ids[0]) == 1
            assert (client.value(query), step.scans) == (["nearer", "1"], 1)

    arun(main())


def test_rule_6_a_failed_commit_leaves_no_trace_in_standing_searches() -> None:
    async def main() -> None:
        async with simulate(app) as sim:
            await sim.mutation(add, "first", [10, 1])
            await sim.mutation(add, "second", [10, 2])
            step, client, query = await counted(sim, "near", near)
            sim.faults.commit = 1.0
            with pytest.raises(rf.ReflowError):
                await sim.mutation(add, "lost", [10, 0])
            sim.faults.commit = 0.0
            await client.up_to_date()
            assert client.value(query) == ["first", "second"]
            assert await step.runs(add, "kept", [10, 0.5]) == 1
            assert (client.value(query), step.scans) == (["kept", "first"], 0)

    arun(main())


async def _unless_near(vectors: Sequence[list[float]], prefilled: Sequence[list[float]]) -> tuple[list[bool], int]:
    async with simulate(app, interleave=True, seed=3) as sim:
        for vector in prefilled:
            await sim.mutation(add, "there", vector)
        before = RUNS["unless"]
        outcomes = await asyncio.gather(
            *(sim.mutation(add_unless_near, f"{n}", vector) for n, vector in enumerate(vectors))
        )
        return list(outcomes), RUNS["unless"] - before


def test_rule_2_insert_unless_there_is_a_near_duplicate_under_concurrency() -> None:
    corners = [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]]
    vectors = [[x + 0.001 * n, y] for n in range(10) for x, y in corners]
    outcomes, runs = arun(_unless_near(vectors, []))
    assert [sum(outcomes[corner::4]) for corner in range(4)] == [1, 1, 1, 1]
    assert runs > len(vectors), "they did meet"


def test_rule_2_searches_whose_hits_stand_do_not_conflict() -> None:
    corners = [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]]
    near = [[x + 0.3 * y, y + 0.3 * x] for x, y in corners]
    outcomes, runs = arun(_unless_near(corners, near))
    assert outcomes == [True] * 4
    assert runs == 4, "each found its own corner, which the others did not touch"


def test_rule_2_insert_unless_a_word_is_there_under_concurrency() -> None:
    async def main() -> None:
        async with simulate(app, interleave=True, seed=5) as sim:
            names = ["red", "green", "blue"] * 6
            outcomes = await asyncio.gather(*(sim.mutation(add_unless_named, name) for name in names))
            assert [sum(outcomes[n::3]) for n in range(3)] == [1, 1, 1]

    arun(main())


@docs.query
async def two(ctx: rf.QueryCtx, angle: float) -> list[Any]:
    """Hits, something else, and hits again: commits find time to come in between."""
    first = await ctx.db.nearest(Doc.meaning, [10, angle], limit=3)
    await ctx.db.query(Doc).take(2)
    second = await ctx.db.nearest(Doc.meaning, [angle, 10], limit=2, filter=PASSING)
    return [[hit.doc.title, hit.score] for hit in (*first, *second)]


@pytest.mark.parametrize("seed", range(10))
def test_rule_3_searches_that_commits_overtake_are_of_one_snapshot(seed: int) -> None:
    """Over a storage that suspends at every await, commits are published while queries load what they have found."""
    random = Random(seed)

    async def write(sim: Simulation, ids: list[rf.Id[Doc]]) -> None:
        for _ in range(12):
            vector = [random.uniform(-10, 10), random.uniform(-10, 10)]
            match random.randint(0, 3):
                case 0:
                    ids.append(await sim.mutation(add, f"{random.random()}", vector, tag=random.choice("abc")))
                case 1 if len(ids) > 4:
                    await sim.mutation(remove, ids.pop(random.randrange(len(ids))))
                case _:
                    with suppress(rf.ReflowError):  # another writer may have removed it
                        await sim.mutation(move, random.choice(ids), vector)

    async def main() -> None:
        async with simulate(app, interleave=True, seed=seed) as sim:
            ids = [await sim.mutation(add, f"{n}", [10, n], tag="abc"[n % 3]) for n in range(9)]
            client = Client(sim)
            states: list[tuple[int, dict[int, Result]]] = []
            client.seen = lambda: states.append((client.version.ts, dict(client.results)))
            angles = {client.add(two, angle=float(angle)): float(angle) for angle in range(0, 12, 3)}
            await client.up_to_date()
            await asyncio.gather(*(write(sim, ids) for _ in range(4)))
            await client.up_to_date()
            await sim.quiet()
            states.append((sim.engine.committer.published, dict(client.results)))
            for ts, results in states:
                for query, result in results.items():
                    fresh = await sim.engine.query_at(two, two.arguments.encode((angles[query],), {}), ts)
                    assert result.value is not None
                    assert result.value == fresh.value

    arun(main())
