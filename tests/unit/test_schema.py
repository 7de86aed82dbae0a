from __future__ import annotations

from typing import Any, Literal

import msgspec
import pytest

import reflow as rf
from reflow.errors import DefinitionError, InvalidValue
from reflow.testing import simulate
from tests.support import arun


class Camel(rf.Table, rename="camel"):
    """Everything below is camelCase for clients."""


class Address(rf.Object, rename="camel"):
    street_name: str
    house_no: int | None = rf.missing()


class Person(Camel, table="people"):
    first_name: str
    from_: str = "nowhere"
    tags: list[str] = []  # noqa: RUF012
    nick_name: str | None = rf.missing()
    boss: rf.Id[Person] | None = None
    home: Address | None = None
    team: rf.Id[Team] | None = None
    friends: list[rf.Id[Person]] = []  # noqa: RUF012
    by_name = rf.Index("first_name")


class Team(rf.Table, table="teams"):
    title: str
    level: Literal["low", "high"] = "low"
    big: rf.Int64 | None = None
    extra: dict[str, Any] = msgspec.field(default_factory=dict)


logs = rf.collection("logs", by_level=rf.Index("level", "at"))

tables = rf.Module("tables")


@tables.mutation
async def add(ctx: rf.MutationCtx, first_name: str) -> rf.Id[Person]:
    return await ctx.db.insert(Person(first_name=first_name))


@tables.query
async def raw(ctx: rf.QueryCtx, id: rf.Id[Person]) -> Any:
    return await ctx.db.get(id)


async def in_mutation(work: Any) -> Any:
    """Runs `work(ctx)` inside a mutation of an application with these tables."""
    module = rf.Module("once")
    results: list[Any] = []

    @module.mutation
    async def run(ctx: rf.MutationCtx) -> None:
        results.append(await work(ctx))

    async with simulate(rf.App(modules=[tables, module])) as sim:
        await sim.mutation("once:run")
        return results[0]


# Definitions


def test_a_renamed_table_keeps_python_names_in_python() -> None:
    assert Person.table_spec.fields == {
        "first_name": "firstName",
        "from_": "from",
        "tags": "tags",
        "nick_name": "nickName",
        "boss": "boss",
        "home": "home",
        "team": "team",
        "friends": "friends",
    }


def test_what_is_stored_has_the_wire_names_and_leaves_missing_fields_out() -> None:
    async def main() -> None:
        async with simulate(rf.App(modules=[tables])) as sim:
            id = await sim.mutation(add, "Ada")
            shown = await sim.query(raw, id)
        assert set(shown) == {
            *("_id", "_creationTime", "firstName", "from", "tags", "boss", "home", "team", "friends"),
        }
        assert shown["boss"] is None, "a default of None is written as null"
        assert shown["_id"] == id

    arun(main())


def test_id_and_time_are_there_once_a_document_is_stored() -> None:
    person = Person(first_name="Ada")
    with pytest.raises(AttributeError, match=r"no id yet"):
        _ = person.id
    with pytest.raises(AttributeError, match=r"not stored yet"):
        _ = person.created

    async def work(ctx: rf.MutationCtx) -> None:
        id = await ctx.db.insert(person)
        assert person.id == id
        found = await ctx.db.get(id)
        assert found is not None
        assert found.created == person.created
        assert found is not person, "a change of the object does not reach the store"

    arun(in_mutation(work))


def test_defaults_are_not_shared() -> None:
    one, other = Person(first_name="a"), Person(first_name="b")
    one.tags.append("x")
    assert other.tags == []


def test_a_default_factory_of_msgspec_works() -> None:
    team = Team(title="t")
    assert team.extra == {}
    assert msgspec.json.decode(msgspec.json.encode(team)) == {"title": "t", "level": "low", "big": None, "extra": {}}


def test_a_missing_field_is_none_in_python_and_absent_in_the_store() -> None:
    async def work(ctx: rf.MutationCtx) -> None:
        id = await ctx.db.insert(Person(first_name="a", nick_name="n", home=Address(street_name="s")))
        await ctx.db.patch(id, nick_name=rf.UNSET)
        found = await ctx.db.get(id)
        assert found is not None
        assert found.nick_name is None
        assert b"nickName" not in msgspec.json.encode(found)
        assert b"houseNo" not in msgspec.json.encode(found)

    arun(in_mutation(work))


def broken(body: str) -> None:
    """Executes a definition."""
    exec("from __future__ import annotations\nimport reflow as rf\n" + body, {})


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ('class A(rf.Table, table="a"):\n  x: int\n  by_y = rf.Index("y")', "'y', which is no field of 'a'"),
        ('class A(rf.Table, table="a"):\n  x: int\n  w = rf.TextIndex("x", filters=("y",))', "'y', which is no field"),
        ('class A(rf.Table, table="a"):\n  x: int\n  v = rf.VectorIndex(dims=2, filters=("y",))', "'y', which is no"),
        ('class A(rf.Table, table="a"):\n  id: str', "'id' is there on every document"),
        ('class A(rf.Table, table="a"):\n  created: str', "'created' is there on every document"),
        ('class A(rf.Table, table="a", rename="camel"):\n  a_b: str\n  aB: str', "both stored as 'aB'"),
        ('class A(rf.Table, table="_a"):\n  x: int', "can't name a table"),
        ('class A(rf.Table, table=""):\n  x: int', "can't name a table"),
        ('class A(rf.Table, table="1a"):\n  x: int', "can't name a table"),
        ('class A(rf.Table, table="a"):\n  _x: int', "names start with a letter"),
        ('class A(rf.Table):\n  x: int\n  by_x = rf.Index("x")', "no table name"),
        ('class A(rf.Object, table="a"):\n  x: int', "is no rf.Table"),
        ('class A(rf.Object):\n  x: int\n  by_x = rf.Index("x")', "is no rf.Table"),
        ('class A(rf.Table, table="a", rename="snake"):\n  x: int', "rename='snake' is unknown"),
        ('class A(rf.Table, table="a"):\n  x: list[int] = [1]', "must be empty"),
        ("rf.Index()", "1 to 16 different fields"),
        ('rf.Index("x", "x")', "1 to 16 different fields"),
        ("rf.VectorIndex(dims=0)", "dims must be"),
        ('rf.VectorIndex(dims=2, filters="x")', 'filters=("x",)'),
        ('i = rf.Index("x")\nrf.collection("a", i=i)\nrf.collection("b", i=i)', "define one Index per table"),
        ('rf.collection("a b")', "can't name a table"),
        ('rf.collection("a", i=rf.Index("_x"))', "can't be named '_x'"),
        ("class A(rf.Table): ...\nprint(A.table_spec)", "names no table"),
    ],
)
def test_a_definition_that_cannot_work_says_so(body: str, says: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        broken(body)
    assert says in str(caught.value)


def test_two_tables_of_one_name_are_refused() -> None:
    class One(rf.Table, table="same"):
        x: int

    class Two(rf.Table, table="same"):
        x: int

    async def main() -> None:
        async with simulate(rf.App(modules=[tables], tables=[One, Two])):
            pass

    with pytest.raises(DefinitionError, match=r"'same' is defined twice"):
        arun(main())


def test_a_table_that_is_not_part_of_the_app_is_refused() -> None:
    class Foreign(rf.Table, table="foreign"):
        x: int

    async def work(ctx: rf.MutationCtx) -> None:
        with pytest.raises(DefinitionError, match=r"not part of this app"):
            await ctx.db.insert(Foreign(x=1))

    arun(in_mutation(work))


# Checks of documents


def test_wrong_documents_are_refused_with_the_place() -> None:
    async def work(ctx: rf.MutationCtx) -> None:
        wrong: Any = 3
        with pytest.raises(InvalidValue, match=r"people.*Expected `str`, got `int` - at `\$.firstName`"):
            await ctx.db.insert(Person(first_name=wrong))
        with pytest.raises(InvalidValue, match=r"\$.home.houseNo"):
            await ctx.db.insert(Person(first_name="a", home=Address(street_name="s", house_no="x")))  # type: ignore[arg-type]
        with pytest.raises(InvalidValue, match=r"Invalid enum value"):
            await ctx.db.insert(Team(title="t", level="none"))  # type: ignore[arg-type]
        with pytest.raises(InvalidValue, match=r"2\*\*53|Int64"):
            await ctx.db.insert(logs, {"at": 1 << 60})
        assert await ctx.db.query(Person).count() == 0

    arun(in_mutation(work))


def test_ids_inside_documents_are_checked_against_their_table() -> None:
    async def work(ctx: rf.MutationCtx) -> None:
        team = await ctx.db.insert(Team(title="t", big=rf.Int64(1 << 60)))
        boss = await ctx.db.insert(Person(first_name="boss", team=team))
        await ctx.db.insert(Person(first_name="a", boss=boss, friends=[boss]))
        with pytest.raises(InvalidValue, match=r"is an id of table 'teams', expected one of table 'people'"):
            await ctx.db.insert(Person(first_name="b", boss=rf.Id(team)))
        with pytest.raises(InvalidValue, match=r"expected one of table 'people'"):
            await ctx.db.insert(Person(first_name="b", friends=[boss, rf.Id(team)]))
        with pytest.raises(InvalidValue, match=r"is not a document id"):
            await ctx.db.patch(boss, boss="nonsense")

    arun(in_mutation(work))


def test_a_patch_names_the_wrong_field() -> None:
    async def work(ctx: rf.MutationCtx) -> None:
        id = await ctx.db.insert(Person(first_name="a"))
        with pytest.raises(InvalidValue, match=r"has no field 'firstName'; it has"):
            await ctx.db.patch(id, firstName="b")
        with pytest.raises(InvalidValue, match=r"first_name can't be removed"):
            await ctx.db.patch(id, first_name=rf.UNSET)
        with pytest.raises(InvalidValue, match=r"\$.firstName"):
            await ctx.db.patch(id, first_name=None)
        with pytest.raises(InvalidValue, match=r"has no field '_id'"):
            await ctx.db.patch(id, _id="x")

    arun(in_mutation(work))


def test_a_document_of_another_class_is_refused() -> None:
    async def work(ctx: rf.MutationCtx) -> None:
        id = await ctx.db.insert(Person(first_name="a"))
        with pytest.raises(InvalidValue, match=r"holds Person, not Team"):
            await ctx.db.replace(id, Team(title="t"))  # type: ignore[arg-type]
        with pytest.raises(InvalidValue, match=r"holds Person, not Team"):
            await ctx.db.insert_many([Person(first_name="a"), Team(title="t")])  # type: ignore[list-item]

    arun(in_mutation(work))


def test_an_oversize_document_is_refused() -> None:
    async def work(ctx: rf.MutationCtx) -> None:
        with pytest.raises(InvalidValue, match=r"limits.document_bytes allows 1048576"):
            await ctx.db.insert(logs, {"text": "x" * (1 << 20)})

    arun(in_mutation(work))


# Collections


def test_a_collection_holds_plain_dicts() -> None:
    async def work(ctx: rf.MutationCtx) -> None:
        id = await ctx.db.insert(logs, {"level": "warn", "at": 2, "more": {"a": [1, 2.5, None, True]}})
        await ctx.db.insert(logs, {"level": "warn", "at": 1})
        found: Any = await ctx.db.get(id)
        assert found == {
            **{"_id": id, "_creationTime": found["_creationTime"]},
            **{"level": "warn", "at": 2, "more": {"a": [1, 2.5, None, True]}},
        }
        assert [row["at"] for row in await ctx.db.query(logs).using(logs.by_level, level="warn").collect()] == [1, 2]
        await ctx.db.patch(id, more=rf.UNSET, at=5)
        patched: Any = await ctx.db.get(id)
        assert "more" not in patched
        await ctx.db.replace(id, found | {"at": 7})
        replaced: Any = await ctx.db.get(id)
        assert replaced["at"] == 7
        with pytest.raises(InvalidValue, match=r"can't be patched"):
            await ctx.db.patch(id, _id="x")
        with pytest.raises(InvalidValue):
            await ctx.db.insert(logs, {"_secret": 1})
        with pytest.raises(InvalidValue, match=r"holds dicts, not list"):
            await ctx.db.insert(logs, [1])  # type: ignore[arg-type]
        with pytest.raises(AttributeError, match=r"has no index 'by_at'"):
            _ = logs.by_at

    arun(in_mutation(work))
