"""The map of a corpus: vectors in two dimensions, made in the background."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import reflow as rf
from reflow.context import Identity
from reflow.errors import ApplicationError
from reflow.limits import Limits
from reflow.rag.corpus import Corpus
from reflow.rag.measures.maps import Block, MapState
from reflow.rag.measures.projection import Plane, Projection, Vectors, fitted, principal_plane
from reflow.rag.search.queries import Options
from reflow.storage.memory import MemoryStorage
from reflow.testing import HashingEmbedder, Simulation, simulate
from tests.support import arun

ANN = Identity(issuer="https://id.example", subject="ann")
EVE = Identity(issuer="https://id.example", subject="eve")
SMALL = Limits(map_block_points=4, map_batch=3)


def some_vectors(count: int, dims: int, seed: int = 0) -> Vectors:
    rng = np.random.default_rng(seed)
    spread = np.geomspace(1, 0.01, dims)
    return (rng.standard_normal((count, dims)) * spread).astype(np.float32)


# --- Projection ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "dims"), [(500, 384), (100, 50), (40, 200), (5, 3), (1000, 2)])
def test_the_plane_is_that_of_an_exact_decomposition(count: int, dims: int) -> None:
    vectors = some_vectors(count, dims)
    plane = principal_plane(vectors)
    _, spread, axes = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    for own, exact in zip(plane.axes, axes, strict=False):
        assert abs(float(own @ exact)) == pytest.approx(1, abs=1e-3)
    assert plane.explained == pytest.approx((spread[:2] ** 2).sum() / (spread**2).sum(), rel=1e-3)
    points = plane.place(vectors)
    assert float(np.abs(points).max()) == pytest.approx(1)
    assert np.allclose(points.mean(axis=0), 0, atol=1e-4)


def test_the_same_vectors_give_the_same_plane() -> None:
    vectors = some_vectors(300, 64)
    first, second = principal_plane(vectors), principal_plane(vectors.copy())
    assert np.array_equal(first.axes, second.axes)
    flipped = principal_plane(vectors[::-1].copy())
    assert np.allclose(np.abs(first.axes), np.abs(flipped.axes), atol=1e-3)
    assert np.allclose(first.axes, flipped.axes, atol=1e-3), "the same way round, too"


@pytest.mark.parametrize(
    "vectors", [np.ones((1, 8), np.float32), np.ones((7, 8), np.float32), np.eye(2, dtype=np.float32), np.ones((3, 1))]
)
def test_a_plane_of_next_to_nothing(vectors: NDArray[Any]) -> None:
    plane = principal_plane(vectors.astype(np.float32))
    points = plane.place(vectors.astype(np.float32))
    assert points.shape == (len(vectors), 2)
    assert np.isfinite(points).all()
    assert 0 <= plane.explained <= 1


def test_a_plane_is_unpacked_as_it_was() -> None:
    vectors = some_vectors(50, 12)
    plane = principal_plane(vectors)
    again = Plane.unpacked(plane.packed(), plane.scale, plane.explained)
    assert np.array_equal(again.place(vectors), plane.place(vectors))


def test_points_are_fitted_into_the_square() -> None:
    points = fitted(np.array([[10.0, 5.0], [14.0, 5.0], [12.0, 6.0]]))
    assert points.tolist() == [[-1, -0.25], [1, -0.25], [0, 0.25]]
    assert fitted(np.array([[3.0, 3.0]])).tolist() == [[0, 0]]


# --- Maps of a corpus ---------------------------------------------------------------------------------------------


def with_corpus(sources: int = 6, **options: Any) -> Any:
    def decorate(test: Any) -> Any:
        def run() -> None:
            async def main() -> None:
                given: dict[str, Any] = {"limits": SMALL} | options
                corpus = Corpus("docs", embedder=HashingEmbedder(dims=32), public=True, **given)
                async with simulate(rf.App(components=[corpus])) as sim:
                    backend = sim.as_(ANN) if corpus.owner is not None else sim
                    for n in range(sources):
                        await backend.mutation(corpus.sources.put, f"k{n}", f"ship number{n} in harbour{n % 2}")
                    await sim.quiet()
                    await test(corpus, sim)

            arun(main())

        run.__name__ = test.__name__
        return run

    return decorate


async def made(corpus: Corpus, sim: Simulation, backend: rf.Backend | None = None) -> MapState:
    backend = backend or sim
    await backend.mutation(corpus.maps.make)
    await sim.quiet()
    return await backend.query(corpus.maps.get)


async def blocks(corpus: Corpus, backend: rf.Backend, state: MapState) -> list[Block]:
    found = [await backend.query(corpus.maps.points, state.version, number) for number in range(state.blocks)]
    assert await backend.query(corpus.maps.points, state.version, state.blocks) is None
    return [block for block in found if block is not None]


def places(found: list[Block]) -> dict[str, tuple[float, float]]:
    return {chunk: (x, y) for block in found for chunk, x, y in zip(block.chunks, block.x, block.y, strict=True)}


@with_corpus()
async def test_a_map_has_every_chunk_once(corpus: Corpus, sim: Simulation) -> None:
    state = await sim.query(corpus.maps.get)
    assert (state.state, state.version, state.blocks, state.stale) == ("none", 0, 0, False)
    state = await made(corpus, sim)
    assert (state.state, state.count, state.total, state.blocks, state.stale) == ("ready", 6, 6, 2, False)
    assert state.explained is not None
    assert 0 < state.explained <= 1
    found = await blocks(corpus, sim, state)
    assert [len(block.chunks) for block in found] == [4, 2]
    page = rf.PaginationOptions(num_items=10)
    sources = (await sim.query(corpus.sources.list, page)).page
    assert {block.sources[place] for block in found for place in block.source} == {one.id for one in sources}
    chunks = {(await sim.query(corpus.sources.chunks, page, one.id)).page[0].id for one in sources}
    assert places(found).keys() == chunks
    assert {(one.key, one.count) for one in state.largest} == {(f"k{n}", 1) for n in range(6)}


@with_corpus()
async def test_a_map_says_when_the_corpus_has_changed(corpus: Corpus, sim: Simulation) -> None:
    first = await made(corpus, sim)
    watch = sim.watch(corpus.maps.get)
    assert not (await anext(watch)).stale
    await sim.advance(1)
    await sim.mutation(corpus.sources.put, "k3", "something else")
    assert (await anext(watch)).stale
    await sim.quiet()
    second = await made(corpus, sim)
    assert (second.version, second.stale, second.count) == (first.version + 1, False, 6)
    assert await sim.query(corpus.maps.points, first.version, 0) is None, "the former one is gone"
    await sim.mutation(corpus.sources.remove_key, "k3")
    state = await sim.query(corpus.maps.get)
    assert (state.stale, len(state.largest)) == (True, 5)
    await watch.aclose()  # pyright: ignore[reportAttributeAccessIssue] - it is a generator


@with_corpus()
async def test_searches_have_a_place_on_the_map(corpus: Corpus, sim: Simulation) -> None:
    search = await sim.mutation(corpus.searches.start, "ship number3 in harbour1")
    assert await sim.query(corpus.maps.place, search) is None
    state = await made(corpus, sim)
    place = await sim.query(corpus.maps.place, search)
    assert place is not None
    source = await sim.query(corpus.sources.by_key, "k3")
    assert source is not None
    chunk = (await sim.query(corpus.sources.chunks, rf.PaginationOptions(num_items=1), source.id)).page[0].id
    assert (place.x, place.y) == pytest.approx(places(await blocks(corpus, sim, state))[chunk], abs=1e-3)
    with pytest.raises(ApplicationError, match="is no search"):
        await sim.query(corpus.maps.place, source.id)


@with_corpus()
async def test_words_alone_have_no_place(corpus: Corpus, sim: Simulation) -> None:
    await made(corpus, sim)
    search = await sim.mutation(corpus.searches.start, "ship", Options(mode="text"))
    await sim.quiet()
    assert await sim.query(corpus.maps.place, search) is None


def corner(vectors: Vectors) -> NDArray[np.floating]:
    """A projection that has the second half of what it gets in the upper right."""
    return np.array([[0.0, 0.0] if place < len(vectors) // 2 else [4.0, 4.0] for place in range(len(vectors))])


@with_corpus(projection=corner)
async def test_another_projection(corpus: Corpus, sim: Simulation) -> None:
    state = await made(corpus, sim)
    assert (state.state, state.explained) == ("ready", None)
    found = places(await blocks(corpus, sim, state))
    assert sorted(found.values()) == [(-1, -1)] * 3 + [(1, 1)] * 3
    search = await sim.mutation(corpus.searches.start, "ship number5 in harbour1")
    await sim.quiet()
    place = await sim.query(corpus.maps.place, search)
    assert place is not None
    assert place.x == pytest.approx(place.y)
    assert place.x > 0.5, "near to the chunks that are like it"


@pytest.mark.parametrize(
    ("projection", "says"),
    [
        (lambda vectors: vectors, "two finite numbers"),
        (lambda vectors: np.full((len(vectors), 2), np.nan), "two finite numbers"),
        (lambda vectors: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_a_projection_that_fails_says_why(projection: Projection, says: str) -> None:
    @with_corpus(projection=projection)
    async def test(corpus: Corpus, sim: Simulation) -> None:
        state = await made(corpus, sim)
        assert (state.state, state.version, state.blocks) == ("failed", 0, 0)
        assert state.error is not None
        assert says in state.error
        corpus.projection = None
        state = await made(corpus, sim)
        assert (state.state, state.error, state.count) == ("ready", None, 6)

    test()


@with_corpus(sources=0)
async def test_a_map_of_nothing(corpus: Corpus, sim: Simulation) -> None:
    state = await made(corpus, sim)
    assert (state.state, state.version, state.blocks, state.count) == ("ready", 1, 0, 0)
    search = await sim.mutation(corpus.searches.start, "ship")
    await sim.quiet()
    assert await sim.query(corpus.maps.place, search) is None


@with_corpus(sources=40, limits=Limits(map_points=10, map_batch=7))
async def test_rule_10_of_many_vectors_a_map_shows_a_sample(corpus: Corpus, sim: Simulation) -> None:
    state = await made(corpus, sim)
    assert state.total == 40
    assert 1 <= state.count <= 10
    assert len(places(await blocks(corpus, sim, state))) == state.count
    again = await made(corpus, sim)
    assert places(await blocks(corpus, sim, again)).keys() <= {*await all_chunks(corpus, sim)}


async def all_chunks(corpus: Corpus, sim: Simulation) -> list[str]:
    page = rf.PaginationOptions(num_items=100)
    sources = (await sim.query(corpus.sources.list, page)).page
    return [row.id for one in sources for row in (await sim.query(corpus.sources.chunks, page, one.id)).page]


@with_corpus()
async def test_two_who_ask_at_once_make_one_map(corpus: Corpus, sim: Simulation) -> None:
    await asyncio.gather(*(sim.mutation(corpus.maps.make) for _ in range(5)))
    assert (await sim.query(corpus.maps.get)).state == "making"
    await sim.quiet()
    assert (await sim.query(corpus.maps.get)).version == 1


def test_a_map_that_was_cut_short_is_made_after_all() -> None:
    async def main() -> None:
        storage = MemoryStorage()
        corpus = Corpus("docs", embedder=HashingEmbedder(dims=32), public=True, limits=SMALL)
        app = rf.App(components=[corpus])
        begun, release = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def waiting(vectors: Vectors) -> NDArray[np.floating]:
            loop.call_soon_threadsafe(begun.set)
            release.wait()
            return vectors[:, :2]

        corpus.projection = waiting
        async with simulate(app, storage=storage) as sim:
            for n in range(6):
                await sim.mutation(corpus.sources.put, f"k{n}", f"ship number{n}")
            await sim.quiet()
            await sim.mutation(corpus.maps.make)
            await begun.wait()
        release.set()
        async with simulate(app, storage=storage) as sim:
            assert (await sim.query(corpus.maps.get)).state == "making"
            await sim.advance(5)
            state = await sim.query(corpus.maps.get)
            assert (state.state, state.version, state.count) == ("ready", 1, 6)
            assert len(places(await blocks(corpus, sim, state))) == 6

    arun(main())


@with_corpus(owner=True)
async def test_rule_8_each_owner_has_a_map_of_their_own(corpus: Corpus, sim: Simulation) -> None:
    ann, eve = sim.as_(ANN), sim.as_(EVE)
    await eve.mutation(corpus.sources.put, "hers", "a ship of hers")
    await sim.quiet()
    anns = await made(corpus, sim, ann)
    state = await eve.query(corpus.maps.get)
    assert (state.state, state.largest) == ("none", [])
    assert await eve.query(corpus.maps.points, anns.version, 0) is None
    eves = await made(corpus, sim, eve)
    assert (anns.count, eves.count) == (6, 1)
    assert [one.key for one in eves.largest] == ["hers"]
    assert len(places(await blocks(corpus, ann, anns))) == 6
    assert not places(await blocks(corpus, eve, eves)).keys() & places(await blocks(corpus, ann, anns)).keys()
    assert not (await ann.query(corpus.maps.get)).stale
    search = await ann.mutation(corpus.searches.start, "ship")
    await sim.quiet()
    with pytest.raises(ApplicationError):
        await eve.query(corpus.maps.place, search)
    with pytest.raises(ApplicationError, match="sign in"):
        await sim.mutation(corpus.maps.make)
    assert (await sim.query(corpus.maps.get)).state == "none"
