"""An application whose functions forget whose rows they read: they do whatever a list of steps says, for any caller.

Two kinds of owners, two families of tables: "user" belongs to who signs in, "org" to everybody with the same claim.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

import reflow as rf
from reflow.errors import ReflowError
from reflow.generations import Embedding, Model

Step = Mapping[str, Any]
"""`do` names a step below, the rest are its arguments. `ref` is a document's id."""

DIMS = 3


class Note(rf.Table, table="notes", owner="user"):
    user: str = rf.owner()
    mark: int
    rank: int
    text: str

    by_user = rf.Index("user")
    by_user_rank = rf.Index("user", "rank")
    by_rank = rf.Index("rank", "mark")
    by_text = rf.Index("text")
    words = rf.TextIndex("text", filters=("rank",))
    meaning = rf.VectorIndex(dims=DIMS, filters=("rank",))


class Plan(rf.Table, table="plans", owner=rf.Owner("org", claim="org_id")):
    """Without an index by owner."""

    rank: int
    mark: int
    text: str
    org: str = rf.owner()

    by_rank = rf.Index("rank", "mark")
    by_text = rf.Index("text")
    words = rf.TextIndex("text", filters=("rank",))
    meaning = rf.VectorIndex(dims=DIMS, metric="euclidean", filters=("rank",))


logs = rf.collection("logs", owner="user", by_rank=rf.Index("rank", "mark"), by_text=rf.Index("text"))
memories = rf.Vectors("memories", dims=DIMS, owner=True)
shared = rf.Vectors("shared", dims=DIMS, owner=rf.Owner(claim="org_id"))

TABLES: dict[str, tuple[Any, ...]] = {"user": (Note, logs), "org": (Plan,)}
TYPED: dict[str, Any] = {"user": Note, "org": Plan}
INDEXES = {"user": memories, "org": shared}

tenants = rf.Module("tenants")


def _table(step: Step) -> Any:
    tables = TABLES[step["family"]]
    return tables[step.get("table", 0) % len(tables)]


def _index(step: Step, table: Any) -> Any:
    name = step.get("index")
    return None if name is None else getattr(table, name, None) or table.by_rank


def _selected(ctx: Any, step: Step) -> rf.Query[Any]:
    """A read as the step describes it: by any index, within any bounds, also those of another owner."""
    table = _table(step)
    query: Any = ctx.db.query(table)
    index = _index(step, table)
    if index is not None:
        owner = step.get("owner")
        first = index.fields[0]
        if first in ("user", "org"):
            query = query.using(index) if owner is None else query.using(index, **{first: owner})
        else:
            query = query.using(index)
            query = query.gte(step["above"]) if first == "rank" and step.get("above") is not None else query
    if step.get("down"):
        query = query.order("desc")
    if step.get("odd"):
        query = query.filter(lambda document: _field(document, "mark") % 2 == 1)
    return query


def _field(document: Any, name: str) -> Any:
    return cast("dict[str, Any]", document)[name] if isinstance(document, dict) else getattr(document, name)


def _options(step: Step, cursor: str | None) -> rf.PaginationOptions:
    return rf.PaginationOptions(num_items=step["count"], cursor=cursor, maximum_rows_read=step.get("most"))


# Reading


async def get(ctx: Any, step: Step) -> Any:
    return await ctx.db.get_many([step["ref"], step["other"]])


async def scan(ctx: Any, step: Step) -> Any:
    return await _selected(ctx, step).take(step["count"])


async def walk(ctx: Any, step: Step) -> Any:
    return [document async for document in _selected(ctx, step)]


async def only(ctx: Any, step: Step) -> Any:
    return await _selected(ctx, step).unique()


async def count(ctx: Any, step: Step) -> Any:
    return await _selected(ctx, step).count()


async def peep(ctx: Any, step: Step) -> Any:
    """What a filter, which is the application's own code, comes to see."""
    seen: list[Any] = []

    def look(document: Any) -> bool:
        seen.append(_field(document, "text"))
        return False

    await _selected(ctx, step).filter(look).collect()
    return seen


async def pages(ctx: Any, step: Step) -> Any:
    """All pages, one after another; where each begins is not the same in two databases, how long each is has to be."""
    found: list[Any] = []
    cursor: str | None = None
    while True:
        page = await _selected(ctx, step).paginate(_options(step, cursor))
        found.append([page.page, page.page_status, page.is_done])
        cursor = page.continue_cursor
        if page.is_done or len(found) > 40:
            return found


async def cursors(ctx: Any, step: Step) -> Any:
    """What of the index's keys pages let out. They differ from one database to another."""
    page = await _selected(ctx, step).paginate(_options(step, None))
    return {"cursors": [cursor for cursor in (page.continue_cursor, page.split_cursor) if cursor is not None]}


async def nearest(ctx: Any, step: Step) -> Any:
    searches = getattr(ctx, "db", ctx)
    index = TYPED[step["family"]].meaning
    hits = await searches.nearest(index, step["vector"], limit=step["count"], filter=_conditions(step))
    return [[hit.doc, hit.score] for hit in hits]


async def approximate(ctx: Any, step: Step) -> Any:
    index = TYPED[step["family"]].meaning
    if not isinstance(ctx, rf.ActionCtx):
        return None
    hits = await ctx.nearest(index, step["vector"], limit=step["count"], filter=_conditions(step), approximate=True)
    return [hit.doc for hit in hits]


def _conditions(step: Step) -> dict[str, Any]:
    """Conditions of the caller's choice, which may name another owner."""
    found: dict[str, Any] = {}
    if step.get("above") is not None:
        found["rank"] = {"$gte": step["above"]}
    if step.get("owner") is not None:
        found["$or"] = [{_owner_field(step): step["owner"]}, {"rank": {"$gte": 0}}]
    return found


def _owner_field(step: Step) -> str:
    return "user" if step["family"] == "user" else "org"


_ALL = 50


async def search(ctx: Any, step: Step) -> Any:
    """Scores depend on the whole corpus, so that only which documents are found can be compared."""
    searches = getattr(ctx, "db", ctx)
    table = TYPED[step["family"]]
    hits = await searches.search(table.words, step["words"], limit=_ALL, filter=_conditions(step))
    few = await searches.search(table.words, step["words"], limit=step["count"], filter=_conditions(step))
    return [by_mark([hit.doc for hit in hits]), len(few)]


async def search_pages(ctx: Any, step: Step) -> Any:
    searches = getattr(ctx, "db", ctx)
    found: list[Any] = []
    cursor: str | None = None
    while True:
        page = await searches.search_page(TYPED[step["family"]].words, step["words"], _options(step, cursor))
        found += page.page
        cursor = page.continue_cursor
        if page.is_done:
            return by_mark([hit.doc for hit in found])


async def hybrid(ctx: Any, step: Step) -> Any:
    searches = getattr(ctx, "db", ctx)
    table = TYPED[step["family"]]
    arguments = (table.meaning, table.words, step["vector"], step["words"])
    hits = await searches.hybrid(*arguments, limit=_ALL, filter=_conditions(step))
    told = await searches.hybrid(*arguments, limit=_ALL, filter=_conditions(step), explain=True)
    left = [one.doc for one in told.left_out]
    return [by_mark([hit.doc for hit in hits]), by_mark([hit.doc for hit in told.hits]), by_mark(left)]


def by_mark(documents: list[Any]) -> list[Any]:
    return sorted(documents, key=lambda document: _field(document, "mark"))


async def vector(ctx: Any, step: Step) -> Any:
    found = await ctx.db.vector(TYPED[step["family"]].meaning, step["ref"])
    return None if found is None else found.tolist()


async def lacking(ctx: Any, step: Step) -> Any:
    return await ctx.generations.lacking(TYPED[step["family"]].meaning, 1)


async def schedules(ctx: Any, step: Step) -> Any:
    rows = await ctx.db.query(rf.Scheduled).collect()
    return [[row.args, row.state.kind] for row in rows]


async def inside(ctx: Any, step: Step) -> Any:
    """The status tables that are nobody's."""
    return [await ctx.db.query(rf.File).collect(), await ctx.db.query(rf.Generation).collect()]


# Free-standing indexes


async def records(ctx: Any, step: Step) -> Any:
    index = ctx.vectors.index(INDEXES[step["family"]] if step.get("declared") else INDEXES[step["family"]].name)
    space = {} if step.get("namespace") is None else {"namespace": step["namespace"]}
    result = await index.query(vector=step["vector"], top_k=step["count"], include_metadata=True, **space)
    stats = await index.stats()
    told = await index.list_namespaces()
    return [
        [[match.id, match.score, match.metadata] for match in result.matches],
        await index.fetch(["a", "b"], **space),
        await index.list(**space),
        (await index.fetch_by_metadata({"rank": {"$gte": 0}}, **space)).records,
        [stats.records, stats.namespaces, stats.dims, stats.metric],
        [[info.name, info.records] for info in told.namespaces],
        await index.describe_namespace(step.get("namespace") or ""),
    ]


async def by_record(ctx: Any, step: Step) -> Any:
    index = ctx.vectors.index(INDEXES[step["family"]].name)
    result = await index.query(id=step["key"], top_k=step["count"], include_values=True)
    return [[match.id, match.values] for match in result.matches]


async def put_record(ctx: Any, step: Step) -> Any:
    index = ctx.vectors.index(INDEXES[step["family"]].name)
    space = {} if step.get("namespace") is None else {"namespace": step["namespace"]}
    return await index.upsert([(step["key"], step["vector"], {"rank": step["rank"], "text": step["text"]})], **space)


async def change_records(ctx: Any, step: Step) -> Any:
    index = ctx.vectors.index(INDEXES[step["family"]].name)
    await index.update(step["key"], set_metadata={"rank": 9})
    return await index.update_by_filter({"rank": {"$gte": step["rank"]}}, set_metadata={"seen": True})


async def drop_records(ctx: Any, step: Step) -> Any:
    index = ctx.vectors.index(INDEXES[step["family"]].name)
    space = {} if step.get("namespace") is None else {"namespace": step["namespace"]}
    if step["rank"] == 0:
        await index.delete(delete_all=True, **space)
    elif step["rank"] == 1:
        await index.delete_namespace(step.get("namespace") or "")
    elif step["rank"] == 2:
        await index.delete(filter={"rank": {"$gte": 1}}, **space)
    else:
        await index.delete([step["key"]], **space)


# Writing


async def insert(ctx: Any, step: Step) -> Any:
    table = _table(step)
    fields = {"mark": step["mark"], "rank": step["rank"], "text": step["text"]}
    if step.get("owner") is not None:
        fields[_owner_field(step)] = step["owner"]
    if table is logs:
        id = await ctx.db.insert(logs, fields)
    else:
        id = await ctx.db.insert(table(**fields), vectors={table.meaning: step["vector"]})
    return {"mark": step["mark"], "made": id}


async def patch(ctx: Any, step: Step) -> None:
    changes: dict[str, Any] = {"rank": step["rank"]}
    if step.get("owner") is not None:
        changes[_owner_field(step)] = step["owner"]
    await ctx.db.patch(step["ref"], **changes)


async def replace(ctx: Any, step: Step) -> None:
    before = await ctx.db.get(step["ref"])
    fields = {"mark": step["mark"], "rank": step["rank"], "text": step["text"]}
    if step.get("owner") is not None:
        fields[_owner_field(step)] = step["owner"]
    await ctx.db.replace(step["ref"], fields if isinstance(before, dict) else TYPED[step["family"]](**fields))


async def delete(ctx: Any, step: Step) -> None:
    await ctx.db.delete_many([step["ref"], step["other"]])


async def set_vector(ctx: Any, step: Step) -> None:
    await ctx.db.set_vector(TYPED[step["family"]].meaning, step["ref"], step["vector"])


async def drop_vector(ctx: Any, step: Step) -> None:
    await ctx.db.delete_vector(TYPED[step["family"]].meaning, step["ref"])


async def schedule(ctx: Any, step: Step) -> None:
    await ctx.scheduler.run_after(1e6, later, text=step["text"])


async def embed(ctx: Any, step: Step) -> Any:
    """A generation is everybody's, so no caller may start one."""
    model = Model(embedder="m", dims=DIMS)
    await ctx.generations.start(TYPED[step["family"]].meaning, model)
    return await ctx.generations.put(TYPED[step["family"]].meaning, 2, [(step["ref"], Embedding.of([1, 0, 0], model))])


# Calling


async def peek(ctx: Any, step: Step) -> str:
    """Somebody who sees everything is called in between; what comes after must not gain by it."""
    await ctx.run_query(census)
    return "peeked"


async def nested(ctx: Any, step: Step) -> Any:
    return await ctx.run_query(look, steps=step["steps"])


async def undone(ctx: Any, step: Step) -> Any:
    try:
        await ctx.run_mutation(fail, steps=step["steps"])
    except RuntimeError:
        return "undone"


Done = Callable[[Any, Step], Awaitable[Any]]

READS: dict[str, Done] = {
    step.__name__: step
    for step in (
        get,
        scan,
        walk,
        only,
        count,
        peep,
        pages,
        cursors,
        nearest,
        search,
        search_pages,
        hybrid,
        vector,
        lacking,
    )
}
READS |= {step.__name__: step for step in (schedules, inside, records, by_record, peek, nested)}
WRITES: dict[str, Done] = {
    step.__name__: step for step in (insert, patch, replace, delete, set_vector, drop_vector, schedule, embed, undone)
}
WRITES |= {step.__name__: step for step in (put_record, change_records, drop_records)}
OUTSIDE: dict[str, Done] = {
    step.__name__: step
    for step in (nearest, approximate, search, search_pages, hybrid, records, by_record, put_record, drop_records, peek)
}
OUTSIDE |= {"lacking": lacking, "nested": nested}


async def _all(ctx: Any, steps: list[Any], known: Mapping[str, Done]) -> list[Any]:
    done: list[Any] = []
    for step in steps:
        if step["do"] not in known:
            continue
        try:
            done.append(await known[step["do"]](ctx, step))
        except ReflowError as error:
            done.append([type(error).__name__, str(error)])
    return done


@tenants.query
async def look(ctx: rf.QueryCtx, steps: list[Any]) -> list[Any]:
    return await _all(ctx, steps, READS)


@tenants.mutation
async def work(ctx: rf.MutationCtx, steps: list[Any]) -> list[Any]:
    return await _all(ctx, steps, READS | WRITES)


@tenants.mutation
async def fail(ctx: rf.MutationCtx, steps: list[Any]) -> None:
    await _all(ctx, steps, READS | WRITES)
    raise RuntimeError("changed my mind")


@tenants.action
async def act(ctx: rf.ActionCtx, steps: list[Any]) -> list[Any]:
    return await _all(ctx, steps, OUTSIDE)


@tenants.internal_mutation
async def later(ctx: rf.MutationCtx, text: str) -> None:
    """Work for another day."""


# Those who may see all


@tenants.internal_query(owners="all")
async def census(ctx: rf.QueryCtx) -> list[Any]:
    return [
        *await ctx.db.query(Note).collect(),
        *await ctx.db.query(Plan).collect(),
        *await ctx.db.query(logs).collect(),
    ]


@tenants.internal_mutation(owners="all")
async def phantom(ctx: rf.MutationCtx, family: str, table: int) -> str:
    """The id of a document that is gone."""
    step = {"family": family, "table": table, "mark": 0, "rank": 0, "text": "", "vector": [1, 1, 1], "owner": "ghost"}
    made = await insert(ctx, step)
    await ctx.db.delete(made["made"])
    return made["made"]


app = rf.App(modules=[tenants], environment={})
