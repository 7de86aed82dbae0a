"""Rule 8: one tenant's rows, vectors and namespaces are invisible from another's, whatever a function forgets.

Random callers run random functions over one database that all share. Whatever a caller gets has to be what they would
get from a database of their own, in which nobody else ever wrote: results, errors, lengths of pages, live results, and
results of the past. Besides, what a row says names its owner, and no other caller's answer may contain it.
"""

from __future__ import annotations

import base64
import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reflow.context import Identity
from reflow.storage.base import Storage
from reflow.storage.memory import MemoryStorage
from reflow.storage.sqlite import SqliteStorage
from reflow.testing import Simulation, simulate
from tests.support import arun
from tests.support.client import Client
from tests.support.tenants import OUTSIDE, READS, TABLES, WRITES, act, app, census, look, phantom, work

_ISSUER = "https://id.example"
_ID = re.compile(r"[0-9a-hjkmnp-tv-z]{31,37}")


def _user(name: str, **claims: Any) -> Identity:
    return Identity(issuer=_ISSUER, subject=name, claims=claims)


CALLERS: list[Identity | None] = [
    _user("ann", org_id="A"),
    _user("bob", org_id="A"),
    _user("eve", org_id="B"),
    _user("dan", org_id=7),
    None,
]
WATCHING = [CALLERS[0], CALLERS[2], CALLERS[4]]
OWNERS = {"user": [f"{_ISSUER}|ann", f"{_ISSUER}|bob", f"{_ISSUER}|eve", ""], "org": ["A", "B", "", "7"]}
_NOBODY = "nobody"


def owner_of(family: str, caller: Identity | None) -> str:
    """Whose rows a caller may see, as the model has it."""
    if caller is None:
        return _NOBODY
    claim = caller.claims.get("org_id")
    return caller.token_identifier if family == "user" else claim if isinstance(claim, str) else _NOBODY


def secret_of(family: str, owner: str) -> str:
    """A word that only rows of this owner contain."""
    return f"secret{family}{re.sub('[^a-zA-Z0-9]', '', owner)}"


class Program(NamedTuple):
    """What one caller does: some steps in one query, mutation or action."""

    kind: str
    family: str
    caller: int
    steps: Sequence[Mapping[str, Any]]


class World:
    """A database, and the ids that its rows have there by mark."""

    def __init__(self, sim: Simulation) -> None:
        self.sim = sim
        self.ids: dict[int, str] = {}
        self.labels: dict[str, str] = {}
        self._gone: dict[tuple[str, int, int], str] = {}

    def learn(self, mark: int, id: str) -> None:
        self.ids[mark] = id
        self.labels[id] = f"#{mark}"

    async def id_of(self, family: str, table: int, mark: int) -> str:
        """The id of a row; of one that was never here, an id that has gone."""
        if mark in self.ids:
            return self.ids[mark]
        key = (family, table, mark)
        if key not in self._gone:
            self._gone[key] = await self.sim.mutation(phantom, family=family, table=table)
            self.labels[self._gone[key]] = f"#{mark}"
        return self._gone[key]

    def comparable(self, value: Any) -> Any:
        """A result without what differs from one database to another: ids, times, cursors."""
        if isinstance(value, dict):
            own = ("_creationTime", "cursors")
            return {key: self.comparable(item) for key, item in value.items() if key not in own}
        if isinstance(value, list):
            return [self.comparable(item) for item in value]
        if isinstance(value, str):
            return _ID.sub(lambda found: self.labels.get(found[0], "?"), value)
        return value


class Trial:
    """One shared database, and one for each owner alone."""

    def __init__(self, stack: AsyncExitStack, shared: World) -> None:
        self._stack = stack
        self.shared = shared
        self._alone: dict[tuple[str, str], World] = {}
        self._made: dict[str, list[tuple[int, int]]] = {family: [] for family in TABLES}
        """Marks of all rows that were ever made, with the place of their table in the family."""
        self._mark = 0
        self._past: list[tuple[int, Identity | None, list[Any], Any]] = []
        self.live: list[tuple[str, Identity | None, Client, int]] = []

    async def alone(self, family: str, caller: Identity | None, *, writes: bool = False) -> World:
        """The database of a caller's own. All who have not written yet have the same empty one."""
        key = (family, owner_of(family, caller))
        if key in self._alone:
            return self._alone[key]
        key = key if writes else ("", "")
        if key not in self._alone:
            self._alone[key] = World(await self._stack.enter_async_context(simulate(app)))
        return self._alone[key]

    # Running

    async def _steps(self, program: Program, world: World, marks: Sequence[int]) -> list[dict[str, Any]]:
        """The steps with this world's ids, and with what rows of this caller say."""
        secret = secret_of(program.family, owner_of(program.family, CALLERS[program.caller]))
        pairs = zip(program.steps, marks, strict=True)
        return [await self._step(step, program.family, world, secret, mark) for step, mark in pairs]

    async def _step(self, step: Mapping[str, Any], family: str, world: World, secret: str, mark: int) -> dict[str, Any]:
        found = {**step, "family": family, "mark": mark, "text": f"{step['words']} {secret} {mark}"}
        found["vector"] = [*step["vector"], mark + 0.5]
        made = self._made[family]
        for name in ("ref", "other"):
            mark, table = made[step[name] % len(made)] if made else (-1, 0)
            found[name] = await world.id_of(family, table, mark)
        if "steps" in step:
            found["steps"] = [await self._step(one, family, world, secret, mark) for one in step["steps"]]
        return found

    async def run(self, program: Program) -> None:
        caller = CALLERS[program.caller]
        marks = [self._mark + n for n in range(len(program.steps))]
        self._mark += len(marks)
        results: list[list[Any]] = []
        for world in (self.shared, await self.alone(program.family, caller, writes=program.kind != "query")):
            steps = await self._steps(program, world, marks)
            result = await self._call(world, program.kind, caller, steps)
            if world is self.shared:
                self.check_secrets(result, caller)
                if program.kind == "query":
                    self._note(caller, steps, result)
            self._learn(world, result)
            results.append(world.comparable(result))
        tables = len(TABLES[program.family])
        for mark, step in zip(marks, program.steps, strict=True):
            if mark in self.shared.ids:
                self._made[program.family].append((mark, step["table"] % tables))
        assert results[0] == results[1], program

    async def _call(self, world: World, kind: str, caller: Identity | None, steps: list[Any]) -> list[Any]:
        backend = world.sim.as_(caller)
        if kind == "query":
            return await backend.query(look, steps=steps)
        if kind == "mutation":
            return await backend.mutation(work, steps=steps)
        return await backend.action(act, steps=steps)

    def _learn(self, world: World, result: list[Any]) -> None:
        for made in result:
            if isinstance(made, dict) and "made" in made:
                world.learn(made["mark"], made["made"])

    # Checking

    def check_secrets(self, result: Any, caller: Identity | None) -> None:
        text = json.dumps(result)
        text += "".join(_decoded(word) for word in re.findall(r"[\w-]{16,}", text))
        for family, owners in OWNERS.items():
            for owner in owners:
                if owner != owner_of(family, caller) and owner:
                    assert secret_of(family, owner) not in text, f"{caller} sees what is {owner}'s: {text}"

    def _note(self, caller: Identity | None, steps: list[Any], result: list[Any]) -> None:
        """Keeps a result, to ask for it again as of its time."""
        if all(step["do"] in ("get", "scan", "walk", "count", "pages", "peep") for step in steps):
            self._past.append((self.shared.sim.engine.committer.published, caller, steps, result))

    async def check_past(self) -> None:
        engine = self.shared.sim.engine
        for ts, caller, steps, result in self._past:
            found = await engine.query_at(look, look.arguments.encode((), {"steps": steps}), ts, caller)
            assert found.failure is None
            assert look.decode_result(found.value or b"") == result

    def follow(self, sim: Simulation) -> None:
        for caller in WATCHING:
            for family in TABLES:
                client = Client(sim)
                client.sign_in(caller)
                self.live.append((family, caller, client, client.add(look, steps=_watched(family))))

    async def check_live(self) -> None:
        for family, caller, client, query in self.live:
            await client.up_to_date()
            found = client.value(query)
            self.check_secrets(found, caller)
            world = await self.alone(family, caller)
            fresh = await world.sim.as_(caller).query(look, steps=_watched(family))
            assert self.shared.comparable(found) == world.comparable(fresh), (family, caller)

    async def check_rows(self) -> None:
        """All that there is, is what each wrote alone."""
        together = self.shared.comparable(await self.shared.sim.query(census))
        apart: list[Any] = []
        for world in self._alone.values():
            apart += world.comparable(await world.sim.query(census))
        assert sorted(map(_stored, together)) == sorted(map(_stored, apart))


def _stored(document: Mapping[str, Any]) -> str:
    return json.dumps({key: document[key] for key in sorted(document) if key[0] != "_"})


def _decoded(word: str) -> str:
    try:
        return base64.urlsafe_b64decode(word + "=" * (-len(word) % 4)).decode("latin-1")
    except ValueError:
        return ""


def _watched(family: str) -> list[Any]:
    """A live query that forgets everything."""
    common = {"family": family, "table": 0, "count": 3, "vector": [1.0, 0.5, 0.0], "words": "red gr", "key": "a"}
    names = ["scan", "walk", "count", "nearest", "search", "hybrid", "records", "peek", "scan"]
    steps = [{**common, "do": name} for name in [*names, *(["schedules"] if family == "user" else [])]]
    return [*steps, {**common, "do": "walk", "index": "by_rank", "above": 1}, {**common, "do": "count", "table": 1}]


# What is tried

_RANK = st.integers(0, 3)
_WORDS = st.sampled_from(["red", "green", "grey red", "blue"])
_XY = st.sampled_from([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [-1.0, 0.5]])
_NAMES: dict[str, list[str]] = {
    "query": list(READS),
    "mutation": [*READS, *WRITES, *["insert"] * 12, "put_record", "put_record"],
    "action": list(OUTSIDE),
}
_OF_USERS = {"schedule", "schedules"}
"""What is scheduled belongs to a user, also where tables belong to organisations."""


def _step(kind: str, family: str, deep: bool = False) -> st.SearchStrategy[dict[str, Any]]:
    names = [name for name in _NAMES[kind] if family == "user" or name not in _OF_USERS]
    if deep:
        names = [name for name in names if name not in ("nested", "undone")]
    owners: list[str | None] = [*OWNERS[family], *[None] * 6]
    fields: dict[str, st.SearchStrategy[Any]] = {
        "do": st.sampled_from(names),
        "table": st.integers(0, 1),
        "ref": st.integers(0, 20),
        "other": st.integers(0, 20),
        "rank": _RANK,
        "words": _WORDS,
        "vector": _XY,
        "count": st.integers(1, 4),
        "most": st.none() | st.integers(1, 3),
        "index": st.sampled_from([None, "by_user", "by_user_rank", "by_rank", "by_text"]),
        "owner": st.sampled_from(owners),
        "namespace": st.sampled_from([*owners, "", "__default__", "ghost"]),
        "above": st.none() | _RANK,
        "down": st.booleans(),
        "odd": st.booleans(),
        "declared": st.booleans(),
        "key": st.sampled_from(["a", "b", "c"]),
    }
    if not deep:
        inner = "query" if kind != "mutation" else "mutation"
        plain = st.lists(_step("query", family, True), max_size=2)
        fields["steps"] = plain if inner == "query" else plain | st.lists(_step(inner, family, True), max_size=2)
    return st.fixed_dictionaries(fields)


@st.composite
def programs(draw: st.DrawFn) -> Program:
    kind = draw(st.sampled_from(["query", "mutation", "mutation", "mutation", "action"]))
    family = draw(st.sampled_from(sorted(TABLES)))
    caller = draw(st.sampled_from([0, 0, 1, 1, 2, 2, 3, 4]))
    return Program(kind, family, caller, draw(st.lists(_step(kind, family), min_size=1, max_size=6)))


_PLAIN: dict[str, Any] = {
    **{"table": 0, "ref": 0, "other": 0, "rank": 1, "words": "red green", "vector": [1.0, 0.0], "count": 1},
    **{"most": None, "index": None, "owner": None, "namespace": None, "above": None, "down": False, "odd": False},
    **{"declared": True, "key": "a", "steps": []},
}
_SETTLED = [
    Program("mutation", family, caller, [{**_PLAIN, "do": "insert"}, {**_PLAIN, "do": "put_record"}])
    for family in TABLES
    for caller in (0, 2)
]
"""Two tenants have something from the start, so that there is something to leak."""


async def tried(found: Sequence[Program], storage: Storage, seed: int, interleave: bool) -> None:
    async with AsyncExitStack() as stack:
        sim = await stack.enter_async_context(simulate(app, storage=storage, seed=seed, interleave=interleave))
        trial = Trial(stack, World(sim))
        trial.follow(sim)
        for program in (*_SETTLED, *found):
            await trial.run(program)
            await trial.check_live()
        await trial.check_past()
        await trial.check_rows()


_SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@settings(_SLOW, max_examples=25)
@given(st.lists(programs(), min_size=2, max_size=10), st.integers(0, 3))
def test_rule_8_what_is_another_tenants_is_not_there(found: list[Program], seed: int) -> None:
    arun(tried(found, MemoryStorage(), seed, interleave=False))


@settings(_SLOW, max_examples=8)
@given(st.lists(programs(), min_size=2, max_size=10), st.integers(0, 3), st.booleans())
def test_rule_8_holds_on_disk(found: list[Program], seed: int, interleave: bool) -> None:
    with tempfile.TemporaryDirectory() as directory:
        storage = SqliteStorage(Path(directory), durability="relaxed")
        arun(tried(found, storage, seed, interleave))


@pytest.mark.parametrize("owner", OWNERS["user"][:2])
def test_rule_8_the_search_for_secrets_sees_them(owner: str) -> None:
    """A test that could not fail would prove nothing."""
    word = secret_of("user", owner)
    for told in ([word], {"cursor": base64.urlsafe_b64encode(b"\0\1\2" + word.encode() * 2).decode()}):
        with pytest.raises(AssertionError, match="sees what is"):
            Trial(AsyncExitStack(), World.__new__(World)).check_secrets(told, CALLERS[2])
