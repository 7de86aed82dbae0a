"""Sources under any order of adding, replacing, deleting, stopping and embedding, against a model of a few lines."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Literal, cast

from hypothesis import given, settings
from hypothesis import strategies as st

import reflow as rf
from reflow.rag.corpus import Corpus
from tests.support import arun
from tests.support.corpora import ALL, Audit, GatedEmbedder, chunks, paragraphs, running, small, texts_of

KEYS = ("a", "a", "a", "b")
WORDS = ("boats", "tides", "gulls", "whales", "storms", "harbours")
POISON = "storms"

Kind = Literal["put", "remove", "stop", "retry", "hold", "step", "release", "settle"]
OFTEN: tuple[Kind, ...] = (
    *cast("tuple[Kind, ...]", ("put",) * 6),
    *cast("tuple[Kind, ...]", ("hold", "settle") * 3),
    "remove",
    "stop",
    "retry",
    "step",
)


@dataclass(frozen=True)
class Step:
    kind: Kind
    who: int
    key: str
    words: tuple[str, ...]


steps = st.builds(
    Step,
    kind=st.sampled_from(OFTEN),
    who=st.sampled_from((0, 0, 0, 1)),
    key=st.sampled_from(KEYS),
    words=st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map(tuple),
)


@dataclass
class Model:
    """What each user has put last under each key, and all that was ever there under it since it was last deleted."""

    last: dict[tuple[int, str], tuple[str, ...]] = field(default_factory=dict)
    ever: dict[tuple[int, str], list[tuple[str, ...]]] = field(default_factory=dict)

    def put(self, at: tuple[int, str], words: tuple[str, ...]) -> None:
        self.last[at] = words
        self.ever.setdefault(at, []).append(words)

    def remove(self, at: tuple[int, str]) -> None:
        self.last.pop(at, None)
        self.ever.pop(at, None)


async def check(callers: list[rf.Backend], corpus: Corpus, model: Model, poisoned: bool, done: bool) -> None:
    """What the sources show is what was put last, or until it is ready what was put before, never a mixture."""
    for who, caller in enumerate(callers):
        page = await caller.query(corpus.sources.list, pagination_opts=ALL)
        views = {view.key: view for view in page.page}
        assert set(views) == {key for user, key in model.last if user == who}
        for key, view in views.items():
            shown = [one.text for one in await chunks(caller, corpus, view.id)]
            allowed = [texts_of(corpus, paragraphs(*words)) for words in model.ever[who, key]]
            assert shown in allowed
            newest = texts_of(corpus, paragraphs(*model.last[who, key]))
            if view.pending is None or view.version == 0:
                assert shown == newest
            if done and view.state != "stopped":
                refused = poisoned and POISON in model.last[who, key]
                assert (view.state, shown) == ("failed" if refused else "ready", newest)


async def play(corpus: Corpus, embedder: GatedEmbedder, script: list[Step], owned: bool, poisoned: bool) -> None:
    audit, model = Audit(corpus), Model()
    if poisoned:
        embedder.refused = set(texts_of(corpus, paragraphs(POISON)))
    async with running(corpus, audit.module) as backend:
        users = [rf.Identity(issuer="i", subject=name, claims={}) for name in ("ann", "bob")]
        callers = [backend.as_(user) for user in users] if owned else [backend]
        for step in script:
            who = step.who % len(callers)
            await act(callers[who], corpus, embedder, model, step, who)
            assert await backend.query(audit.faults, settled=False) == []
            await check(callers, corpus, model, poisoned, done=False)
        embedder.release()
        await backend.settled()
        assert await backend.query(audit.faults, settled=True) == []
        await check(callers, corpus, model, poisoned, done=True)
        for who, caller in enumerate(callers):
            for key in set(KEYS):
                await caller.mutation(corpus.sources.remove_key, key=key)
                model.remove((who, key))
        assert set((await backend.query(audit.rows)).values()) == {0}


async def act(caller: rf.Backend, corpus: Corpus, embedder: GatedEmbedder, model: Model, step: Step, who: int) -> None:
    match step.kind:
        case "put":
            await caller.mutation(corpus.sources.put, key=step.key, text=paragraphs(*step.words))
            model.put((who, step.key), step.words)
        case "remove":
            assert await caller.mutation(corpus.sources.remove_key, key=step.key) == ((who, step.key) in model.last)
            model.remove((who, step.key))
        case "stop" | "retry":
            view = await caller.query(corpus.sources.by_key, key=step.key)
            if view is not None:
                function = corpus.sources.stop if step.kind == "stop" else corpus.sources.retry
                await caller.mutation(function, source=view.id)
        case "hold":
            embedder.hold()
        case "step":
            embedder.step()
            await asyncio.sleep(0.002)
        case "release":
            embedder.release()
        case "settle":
            embedder.release()
            await caller.settled()


@settings(max_examples=25, deadline=None)
@given(
    script=st.lists(steps, min_size=10, max_size=40), owned=st.booleans(), poisoned=st.booleans(), cache=st.booleans()
)
def test_sources_show_what_was_put_and_leave_nothing(
    script: list[Step], owned: bool, poisoned: bool, cache: bool
) -> None:
    embedder = GatedEmbedder()
    arun(play(small(embedder, owner=owned, cache=cache), embedder, script, owned, poisoned))
