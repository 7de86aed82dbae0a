"""Owners: whose rows a function sees and writes, how it is said, and what it says to whom it refuses."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import reflow as rf
from reflow.context import Identity
from reflow.errors import CallFailed, DefinitionError, DocumentNotFound
from reflow.storage.memory import MemoryStorage
from reflow.testing import Simulation, simulate
from tests.support import arun
from tests.support.client import Client
from tests.support.simulated import simulated

ANN = Identity(issuer="https://id.example", subject="ann", claims={"org_id": "A"})
BOB = Identity(issuer="https://id.example", subject="bob", claims={"org_id": "A"})
EVE = Identity(issuer="https://id.example", subject="eve", claims={"org_id": "B"})
DAN = Identity(issuer="https://other.example", subject="dan", claims={"role": "x"})


class Note(rf.Table, table="notes", owner="user"):
    user: str = rf.owner()
    text: str

    by_user = rf.Index("user")
    by_text = rf.Index("text")
    meaning = rf.VectorIndex(dims=2)
    words = rf.TextIndex("text")


class Plan(rf.Table, table="plans", owner=rf.Owner("org", claim="org_id")):
    text: str
    org: str = rf.owner()


class Pin(rf.Table, table="pins"):
    text: str


logs = rf.collection("logs", owner="user")
memories = rf.Vectors("memories", dims=2, owner=True)

notes = rf.Module("notes")


@notes.mutation
async def add(ctx: rf.MutationCtx, text: str, user: str = "", vector: list[float] | None = None) -> rf.Id[Note]:
    return await ctx.db.insert(Note(text=text, user=user), vectors={} if vector is None else {Note.meaning: vector})


@notes.mutation
async def add_plan(ctx: rf.MutationCtx, text: str) -> rf.Id[Plan]:
    return await ctx.db.insert(Plan(text=text))


@notes.mutation
async def add_log(ctx: rf.MutationCtx, user: str | None = None) -> dict[str, Any] | None:
    return await ctx.db.get(await ctx.db.insert(logs, {"level": 1} if user is None else {"level": 1, "user": user}))


@notes.mutation
async def edit(ctx: rf.MutationCtx, id: rf.Id[Note], text: str, user: str | None = None) -> None:
    await (ctx.db.patch(id, text=text) if user is None else ctx.db.patch(id, text=text, user=user))


@notes.mutation
async def rewrite(ctx: rf.MutationCtx, id: rf.Id[Note], text: str, user: str = "") -> None:
    await ctx.db.replace(id, Note(text=text, user=user))


@notes.mutation
async def erase(ctx: rf.MutationCtx, id: rf.Id[Note]) -> None:
    await ctx.db.delete(id)


@notes.mutation
async def erase_both(ctx: rf.MutationCtx, mine: rf.Id[Note], other: rf.Id[Note]) -> str:
    try:
        await ctx.db.delete_many([mine, other])
    except DocumentNotFound as error:
        return str(error)
    return ""


@notes.mutation
async def revector(ctx: rf.MutationCtx, id: rf.Id[Note], vector: list[float] | None) -> list[float] | None:
    if vector is None:
        await ctx.db.delete_vector(Note.meaning, id)
    else:
        await ctx.db.set_vector(Note.meaning, id, vector)
    found = await ctx.db.vector(Note.meaning, id)
    return None if found is None else found.tolist()


@notes.query
async def listed(ctx: rf.QueryCtx) -> list[str]:
    return [note.text for note in await ctx.db.query(Note).collect()]


@notes.query
async def plans(ctx: rf.QueryCtx) -> list[str]:
    return [plan.text for plan in await ctx.db.query(Plan).collect()]


@notes.query
async def read(ctx: rf.QueryCtx, id: rf.Id[Note]) -> Note | None:
    return await ctx.db.get(id)


@notes.query
async def swallowing(ctx: rf.QueryCtx) -> str:
    """Whatever goes wrong, nothing is told."""
    try:
        found = await ctx.db.query(Note).collect()
    except BaseException:
        return "nothing"
    return ",".join(note.text for note in found)


@notes.query
async def pins(ctx: rf.QueryCtx) -> int:
    return await ctx.db.query(Pin).count()


@notes.query
async def peeped(ctx: rf.QueryCtx) -> list[list[str]]:
    """What filters come to see, which are the application's own code: by any index, or by none."""
    seen: list[list[str]] = []
    for query in (ctx.db.query(Note), ctx.db.query(Note).using(Note.by_text), ctx.db.query(Plan)):
        texts: list[str] = []
        await query.filter(lambda row, texts=texts: bool(texts.append(row.text))).count()
        await query.filter(lambda row, texts=texts: bool(texts.append(row.text))).collect()
        seen.append(texts)
    return seen


@notes.mutation
async def later(ctx: rf.MutationCtx, text: str, all: bool) -> rf.Id[Any]:
    return await ctx.scheduler.run_after(60, tidy_all if all else tidy, text=text)


@notes.mutation
async def call_off(ctx: rf.MutationCtx, id: str) -> None:
    await ctx.scheduler.cancel(rf.Id(id))


@notes.query
async def waiting(ctx: rf.QueryCtx) -> list[Any]:
    return [row.args for row in await ctx.db.query(rf.Scheduled).collect()]


@notes.internal_mutation
async def tidy(ctx: rf.MutationCtx, text: str) -> int:
    assert await ctx.db.query(Note).collect() == []
    await ctx.db.insert(Note(text=text))
    return 0


@notes.internal_mutation(owners="all")
async def tidy_all(ctx: rf.MutationCtx, text: str) -> int:
    found = await ctx.db.query(Note).collect()
    for note in found:
        await ctx.db.patch(note.id, text=text)
    return len(found)


@notes.internal_query(owners="all")
async def rows(ctx: rf.QueryCtx) -> list[rf.Scheduled]:
    return await ctx.db.query(rf.Scheduled).collect()


@notes.internal_mutation(owners="all")
async def give(ctx: rf.MutationCtx, id: rf.Id[Note], user: str) -> None:
    await ctx.db.patch(id, user=user)


@notes.internal_mutation(owners="all")
async def add_for(ctx: rf.MutationCtx, text: str, user: str) -> rf.Id[Note]:
    return await ctx.db.insert(Note(text=text, user=user))


@notes.internal_query(owners="all")
async def everything(ctx: rf.QueryCtx) -> list[str]:
    return [note.text for note in await ctx.db.query(Note).collect()]


@notes.internal_query(owners="all")
async def notes_of_all(ctx: rf.QueryCtx) -> list[Note]:
    return await ctx.db.query(Note).collect()


@notes.internal_mutation(owners="all")
async def name_the_model(ctx: rf.MutationCtx) -> rf.Id[rf.Generation]:
    return (await ctx.generations.adopt(Note.meaning, rf.Model(embedder="m", dims=2))).id


@notes.mutation
async def flip(ctx: rf.MutationCtx) -> None:
    await ctx.generations.flip(Note.meaning, 1)


@notes.action
async def save_file(ctx: rf.ActionCtx) -> rf.Id[rf.File]:
    return await ctx.storage.store(b"bytes")


@notes.query
async def status(ctx: rf.QueryCtx, model: rf.Id[rf.Generation], file: rf.Id[rf.File]) -> list[Any]:
    """What of reflow's own tables a function comes to see."""
    listed = [await ctx.db.query(table).collect() for table in (rf.Generation, rf.File)]
    metadata = await ctx.storage.metadata(file)
    return [*listed, await ctx.db.get_many([model, file]), metadata is not None, await ctx.db.query(rf.File).count()]


@notes.internal_query
async def inner(ctx: rf.QueryCtx) -> list[str]:
    return [note.text for note in await ctx.db.query(Note).collect()]


@notes.internal_query(owners="all")
async def outer(ctx: rf.QueryCtx) -> list[list[str]]:
    return [await ctx.run_query(inner), await ctx.run_query(everything)]


@notes.query
async def nested(ctx: rf.QueryCtx) -> list[Any]:
    """Before, inside and after a call of what sees all."""
    before = await ctx.run_query(inner)
    return [before, await ctx.run_query(outer), await ctx.run_query(inner), await listed(ctx)]


@notes.query
async def beside(ctx: rf.QueryCtx) -> list[str]:
    """What sees all is begun in a task of its own, which is a mistake, and not awaited."""
    task = asyncio.ensure_future(ctx.run_query(everything))
    found = [note.text for note in [*await ctx.db.query(Note).collect(), *await ctx.db.query(Note).collect()]]
    task.cancel()
    return found


@notes.mutation
async def keep(ctx: rf.MutationCtx, key: str, values: list[float], namespace: str = "") -> int:
    return await ctx.vectors.index(memories).upsert([(key, values)], namespace=namespace)


@notes.query
async def kept(ctx: rf.QueryCtx, namespace: str = "") -> list[str]:
    found = await ctx.vectors.index("memories").query(vector=[1, 0], namespace=namespace)
    return [match.id for match in found.matches]


@notes.internal_query(owners="all")
async def kept_by(ctx: rf.QueryCtx, owner: str) -> list[str]:
    found = await ctx.vectors.index(memories).query(vector=[1, 0], namespace=rf.namespace_of(owner))
    return [match.id for match in found.matches]


@notes.action
async def found_outside(ctx: rf.ActionCtx) -> list[list[str]]:
    near = await ctx.nearest(Note.meaning, [1, 0])
    words = await ctx.search(Note.words, "red")
    both = await ctx.hybrid(Note.meaning, Note.words, [1, 0], "red", explain=True)
    index = ctx.vectors.index(memories)
    return [
        [hit.doc.text for hit in near],
        [hit.doc.text for hit in words],
        [hit.doc.text for hit in [*both.hits, *both.left_out]],
        (await index.list()).ids,
    ]


@notes.internal_action(owners="all")
async def found_by_all(ctx: rf.ActionCtx) -> list[str]:
    return sorted(hit.doc.text for hit in await ctx.nearest(Note.meaning, [1, 0]))


@notes.mutation(idempotency="key")
async def once(ctx: rf.MutationCtx, key: str) -> list[str]:
    await ctx.db.insert(Plan(text=key))
    return [plan.text + plan.org for plan in await ctx.db.query(Plan).collect()]


@notes.query
async def paged(ctx: rf.QueryCtx, opts: rf.PaginationOptions) -> rf.Page[Note]:
    return await ctx.db.query(Note).paginate(opts)


app = rf.App(modules=[notes], environment={})


async def refused(call: Any) -> str:
    with pytest.raises(CallFailed) as raised:
        await call
    return str(raised.value)


# Reading and writing


@simulated(app)
async def test_each_caller_has_rows_of_their_own(sim: Simulation) -> None:
    ann, eve = sim.as_(ANN), sim.as_(EVE)
    mine = await ann.mutation(add, text="ann's")
    await eve.mutation(add, text="eve's")
    assert await ann.query(listed) == ["ann's"]
    assert await eve.query(listed) == ["eve's"]
    assert await sim.query(listed) == []
    note = await ann.query(read, id=mine)
    assert note is not None
    assert note.user == "https://id.example|ann"
    assert await eve.query(read, id=mine) is None
    assert await sim.query(everything) == ["ann's", "eve's"]


@simulated(app)
async def test_tenants_share_what_their_claim_names(sim: Simulation) -> None:
    await sim.as_(ANN).mutation(add_plan, text="of A")
    await sim.as_(EVE).mutation(add_plan, text="of B")
    assert await sim.as_(BOB).query(plans) == ["of A"]
    assert await sim.as_(EVE).query(plans) == ["of B"]
    assert await sim.as_(DAN).query(plans) == []


@simulated(app)
async def test_what_is_anothers_does_not_exist(sim: Simulation) -> None:
    """The errors are those of a document that is gone, word by word."""
    id = await sim.as_(ANN).mutation(add, text="x")
    eve = sim.as_(EVE)
    hidden = [
        await refused(eve.mutation(edit, id=id, text="y")),
        await refused(eve.mutation(rewrite, id=id, text="y")),
        await refused(eve.mutation(erase, id=id)),
    ]
    assert await sim.as_(ANN).query(listed) == ["x"]
    await sim.as_(ANN).mutation(erase, id=id)
    gone = [
        await refused(eve.mutation(edit, id=id, text="y")),
        await refused(eve.mutation(rewrite, id=id, text="y")),
        await refused(eve.mutation(erase, id=id)),
    ]
    assert hidden == gone
    assert f"can't patch document {id!r} of table 'notes': it does not exist" in hidden[0]


@simulated(app)
async def test_a_vector_is_as_hidden_as_its_row(sim: Simulation) -> None:
    """Taking away a vector says nothing of whether there was one."""
    ann, eve = sim.as_(ANN), sim.as_(EVE)
    with_vector = await ann.mutation(add, text="x", vector=[1, 0])
    without = await ann.mutation(add, text="y")
    for id in (with_vector, without):
        assert await eve.mutation(revector, id=id, vector=None) is None
        assert "it does not exist" in await refused(eve.mutation(revector, id=id, vector=[0, 1]))
    assert await ann.mutation(revector, id=with_vector, vector=[2, 0]) == [2, 0]
    assert await ann.mutation(revector, id=without, vector=None) is None


@simulated(app)
async def test_what_a_failing_call_has_done_does_not_tell_of_others(sim: Simulation) -> None:
    """The first of two is deleted, whether the second is another's or gone."""
    gone = await sim.as_(EVE).mutation(add, text="gone")
    await sim.as_(EVE).mutation(erase, id=gone)
    there = await sim.as_(EVE).mutation(add, text="there")
    for other in (there, gone):
        mine = await sim.as_(ANN).mutation(add, text="mine")
        told = await sim.as_(ANN).mutation(erase_both, mine=mine, other=other)
        assert told.replace(other, "#") == "can't delete document '#' of table 'notes': it does not exist"
        assert await sim.as_(ANN).query(listed) == []
    assert await sim.as_(EVE).query(listed) == ["there"]


@simulated(app)
async def test_a_row_can_be_nobody_elses_from_the_start(sim: Simulation) -> None:
    ann = sim.as_(ANN)
    told = await refused(ann.mutation(add, text="x", user=EVE.token_identifier))
    assert "NotTheOwner: notes.user is the caller, and can't be set to 'https://id.example|eve': leave it out" in told
    id = await ann.mutation(add, text="x", user=ANN.token_identifier)
    assert "NotTheOwner" in await refused(ann.mutation(edit, id=id, text="x", user=EVE.token_identifier))
    assert "NotTheOwner" in await refused(ann.mutation(edit, id=id, text="x", user=""))
    assert "NotTheOwner" in await refused(ann.mutation(rewrite, id=id, text="x", user=EVE.token_identifier))
    await ann.mutation(rewrite, id=id, text="y")
    note = await ann.query(read, id=id)
    assert note is not None
    assert (note.text, note.user) == ("y", ANN.token_identifier)


@simulated(app)
async def test_collections_have_owners_too(sim: Simulation) -> None:
    found = await sim.as_(ANN).mutation(add_log)
    assert found is not None
    assert found["user"] == ANN.token_identifier
    assert "NotTheOwner" in await refused(sim.as_(ANN).mutation(add_log, user="x"))


@simulated(app)
async def test_who_writes_has_to_be_somebody(sim: Simulation) -> None:
    told = await refused(sim.mutation(add, text="x"))
    assert "AuthenticationRequired: a document of table 'notes' belongs to its users, and nobody is signed in" in told
    told = await refused(sim.as_(DAN).mutation(add_plan, text="x"))
    assert "this caller's token has not a text as its claim 'org_id': have the identity provider add it" in told


@pytest.mark.parametrize("claim", [None, 7, "", True, ["A"], {"A": 1}, "\ud800"])
def test_a_claim_that_is_no_text_owns_nothing(claim: Any) -> None:
    rule = rf.Owner("org", claim="org_id")
    assert rule.of(Identity(issuer="i", subject="s", claims={"org_id": claim})) is None


@pytest.mark.parametrize("spelled", ["https://id.example", "https://id.example/", "id.example"])
def test_the_provider_that_counts_is_spelled_as_freely_as_where_tokens_are_checked(spelled: str) -> None:
    rule = rf.Owner("org", claim="org_id", issuer=spelled)
    assert rule.of(ANN) == "A"
    assert rule.of(Identity(issuer="https://id.example/", subject="ann", claims={"org_id": "A"})) == "A"
    assert rule.of(Identity(issuer="http://id.example", subject="ann", claims={"org_id": "A"})) is None


def test_a_claim_may_count_from_one_provider_only() -> None:
    rule = rf.Owner("org", claim="org_id", issuer=ANN.issuer)
    forged = Identity(issuer="https://anybody.example", subject="ann", claims={"org_id": "A"})
    assert rule.of(ANN) == "A"
    assert rule.of(forged) is None


# Indexes make it fast


def test_an_index_by_owner_spares_the_rows_of_others() -> None:
    async def main() -> None:
        small = rf.App(modules=[notes], environment={}, limits=rf.Limits(documents_read=5))
        async with simulate(small) as sim:
            for n in range(8):
                await sim.as_(EVE).mutation(add, text=f"{n}")
                await sim.as_(EVE).mutation(add_plan, text=f"{n}")
            await sim.as_(ANN).mutation(add, text="mine")
            assert await sim.as_(ANN).query(listed) == ["mine"]
            assert "limits.documents_read" in await refused(sim.as_(ANN).query(plans))

    arun(main())


@simulated(app)
async def test_a_filter_never_sees_what_is_anothers(sim: Simulation) -> None:
    for caller, text in ((ANN, "a"), (EVE, "e")):
        await sim.as_(caller).mutation(add, text=text)
        await sim.as_(caller).mutation(add_plan, text=text)
    assert await sim.as_(ANN).query(peeped) == [["a", "a"]] * 3
    assert await sim.query(peeped) == [[]] * 3


# Everybody's, and whose it is while they are called


@simulated(app)
async def test_a_nested_function_sees_what_it_declares_and_leaves_nothing_behind(sim: Simulation) -> None:
    await sim.as_(ANN).mutation(add, text="a")
    await sim.as_(EVE).mutation(add, text="e")
    assert await sim.as_(ANN).query(nested) == [["a"], [["a"], ["a", "e"]], ["a"], ["a"]]


@simulated(app, interleave=True)
async def test_a_call_of_what_sees_all_does_not_lend_its_eyes_to_what_runs_beside_it(sim: Simulation) -> None:
    await sim.as_(ANN).mutation(add, text="a")
    await sim.as_(EVE).mutation(add, text="e")
    assert await sim.as_(ANN).query(beside) == ["a", "a"]


@simulated(app)
async def test_who_writes_for_all_names_the_owner(sim: Simulation) -> None:
    told = await refused(sim.mutation(add_for, text="x", user=""))
    assert "a document of table 'notes' would be nobody's: a function for all owners gives 'user' a value" in told
    id = await sim.mutation(add_for, text="x", user=EVE.token_identifier)
    assert await sim.as_(EVE).query(listed) == ["x"]
    assert "would be nobody's" in await refused(sim.mutation(give, id=id, user=""))


@simulated(app)
async def test_background_work_has_no_user(sim: Simulation) -> None:
    ann = sim.as_(ANN)
    await ann.mutation(add, text="mine")
    await ann.mutation(later, text="x", all=False)
    await ann.mutation(later, text="tidied", all=True)
    await sim.advance(61)
    states = [row.state for row in await sim.query(rows)]
    assert [state.kind for state in states] == ["failed", "success"]
    assert "AuthenticationRequired" in (states[0].error or "")
    assert await ann.query(listed) == ["tidied"]


@simulated(app)
async def test_what_was_scheduled_is_seen_and_cancelled_by_who_scheduled_it(sim: Simulation) -> None:
    id = await sim.as_(ANN).mutation(later, text="secret", all=True)
    assert await sim.as_(ANN).query(waiting) == [[{"text": "secret"}]]
    assert await sim.as_(EVE).query(waiting) == []
    assert await sim.query(waiting) == []
    assert "is no scheduled function" in await refused(sim.as_(EVE).mutation(call_off, id=id))
    await sim.as_(ANN).mutation(call_off, id=id)
    assert [row.state.kind for row in await sim.query(rows)] == ["canceled"]


@simulated(app)
async def test_reflows_own_tables_tell_nothing_of_others(sim: Simulation) -> None:
    """A file is known by its id, as everywhere; nobody can make a list of ids."""
    file, model = await sim.as_(ANN).action(save_file), await sim.mutation(name_the_model)
    for caller in (ANN, EVE, None):
        assert await sim.as_(caller).query(status, model=model, file=file) == [[], [], [None, None], True, 0]
        told = await refused(sim.as_(caller).mutation(flip))
        assert "NotTheOwner: a generation of notes.meaning is made of the rows of all owners" in told


# Caches, live queries, pages


@simulated(app)
async def test_results_are_shared_only_where_nothing_owned_is_read(sim: Simulation) -> None:
    for caller in (ANN, BOB, EVE, None):
        await sim.as_(caller).query(pins)
    assert len(sim.engine.cache) == 1
    for caller in (ANN, BOB, EVE, None):
        await sim.as_(caller).query(listed)
    assert len(sim.engine.cache) == 5


@simulated(app)
async def test_a_function_that_swallows_everything_is_still_run_for_its_caller(sim: Simulation) -> None:
    await sim.as_(ANN).mutation(add, text="a")
    await sim.as_(EVE).mutation(add, text="e")
    assert [await sim.as_(caller).query(swallowing) for caller in (ANN, EVE, None)] == ["a", "e", ""]


@simulated(app)
async def test_a_live_query_follows_who_is_signed_in_and_what_changes_hands(sim: Simulation) -> None:
    id = await sim.as_(ANN).mutation(add, text="a")
    await sim.as_(EVE).mutation(add, text="e")
    clients = {who: Client(sim) for who in ("ann", "eve", "nobody")}
    queries = {who: client.add(listed) for who, client in clients.items()}
    clients["ann"].sign_in(ANN)
    clients["eve"].sign_in(EVE)

    async def shown() -> list[Any]:
        for client in clients.values():
            await client.up_to_date()
        return [clients[who].value(queries[who]) for who in clients]

    assert await shown() == [["a"], ["e"], []]
    sent = len(clients["ann"].sent)
    await sim.as_(EVE).mutation(add, text="f")
    assert await shown() == [["a"], ["e", "f"], []]
    assert len(clients["ann"].sent) == sent  # another's write is not even heard of
    await sim.mutation(give, id=id, user=EVE.token_identifier)
    assert await shown() == [[], ["a", "e", "f"], []]
    clients["ann"].sign_in(EVE)
    clients["eve"].sign_in(None)
    assert await shown() == [["a", "e", "f"], [], []]


@simulated(app)
async def test_the_past_is_as_private_as_the_present(sim: Simulation) -> None:
    id = await sim.as_(ANN).mutation(add, text="a")
    then = sim.engine.committer.published
    await sim.mutation(give, id=id, user=EVE.token_identifier)
    for caller, expected in ((ANN, ["a"]), (EVE, []), (None, [])):
        found = await sim.engine.query_at(listed, b"{}", then, caller)
        assert listed.decode_result(found.value or b"") == expected


@simulated(app)
async def test_a_cursor_of_another_is_worth_nothing(sim: Simulation) -> None:
    for text in ("a", "b"):
        await sim.as_(ANN).mutation(add, text=text)
        await sim.as_(EVE).mutation(add, text=text.upper())
    first = await sim.as_(ANN).query(paged, opts=rf.PaginationOptions(num_items=1))
    assert [note.text for note in first.page] == ["a"]
    with pytest.raises(rf.ApplicationError, match="InvalidCursor"):
        await sim.as_(EVE).query(paged, opts=rf.PaginationOptions(num_items=1, cursor=first.continue_cursor))
    nothing = await sim.query(paged, opts=rf.PaginationOptions(num_items=1))
    assert (nothing.page, nothing.is_done) == ([], True)


@simulated(app)
async def test_an_answer_that_was_kept_belongs_to_one_tenant(sim: Simulation) -> None:
    """The same user with the same key, in another organisation."""
    moved = Identity(issuer=ANN.issuer, subject=ANN.subject, claims={"org_id": "B"})
    assert await sim.as_(ANN).mutation(once, key="k") == ["kA"]
    assert await sim.as_(ANN).mutation(once, key="k") == ["kA"]
    assert await sim.as_(moved).mutation(once, key="k") == ["kB"]
    assert await sim.as_(BOB).mutation(once, key="k") == ["kA", "kA"]


# Searches outside, indexes


@simulated(app)
async def test_actions_search_their_callers_rows(sim: Simulation) -> None:
    await sim.as_(ANN).mutation(add, text="red a", vector=[1, 0])
    await sim.as_(EVE).mutation(add, text="red e", vector=[1, 0])
    await sim.as_(ANN).mutation(keep, key="m", values=[1, 0])
    assert await sim.as_(ANN).action(found_outside) == [["red a"], ["red a"], ["red a"], ["m"]]
    assert await sim.as_(EVE).action(found_outside) == [["red e"], ["red e"], ["red e"], []]
    assert await sim.action(found_outside) == [[], [], [], []]
    assert await sim.action(found_by_all) == ["red a", "red e"]


@simulated(app)
async def test_each_caller_has_a_namespace(sim: Simulation) -> None:
    await sim.as_(ANN).mutation(keep, key="a", values=[1, 0])
    await sim.as_(EVE).mutation(keep, key="e", values=[1, 0])
    assert await sim.as_(ANN).query(kept) == ["a"]
    assert await sim.as_(ANN).query(kept, namespace=ANN.token_identifier) == ["a"]
    assert await sim.query(kept) == []
    assert await sim.query(kept_by, owner=EVE.token_identifier) == ["e"]
    for namespace in (EVE.token_identifier, "x", "*"):
        for call in (
            sim.as_(ANN).query(kept, namespace=namespace),
            sim.as_(ANN).mutation(keep, key="k", values=[1, 0], namespace=namespace),
        ):
            assert "NotTheOwner: vector index 'memories' has a namespace for each owner" in await refused(call)
    told = await refused(sim.mutation(keep, key="k", values=[1, 0]))
    assert "AuthenticationRequired: vector index 'memories' belongs to its users" in told


@pytest.mark.parametrize("owner", ["", "__default__", "~x", "é", "a\nb", "x" * 600, "\0"])
def test_owners_that_can_not_name_a_namespace_have_one_all_the_same(owner: str) -> None:
    name = rf.namespace_of(owner)
    assert name.startswith("~")
    assert name != rf.namespace_of(owner + "'")
    assert rf.namespace_of(name) != name  # nobody can be called like another's namespace


# Definitions


def test_a_subclass_that_forgets_the_owner_has_it() -> None:
    class Owned(rf.Table, owner="user"):
        user: str = rf.owner()

    class Task(Owned, table="tasks"):
        text: str

    class Sub(Task, table="subs"):
        more: int

    assert Task.table_spec.owner == Sub.table_spec.owner == rf.Owner("user")


def test_searches_can_be_filtered_by_the_owner_without_saying_so() -> None:
    assert Note.meaning.filters == ("user",)
    assert Note.words.filters == ("user",)


def test_definitions_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DefinitionError, match=r"which is no field of it: add user: str = rf.owner\(\)"):

        class A(rf.Table, table="a", owner="user"):  # pyright: ignore[reportUnusedClass]
            text: str

    with pytest.raises(DefinitionError, match="add owner='user' to the class"):

        class B(rf.Table, table="b"):  # pyright: ignore[reportUnusedClass]
            user: str = rf.owner()

    with pytest.raises(DefinitionError, match="owner= and indexes belong to tables"):

        class C(rf.Object, owner="user"):  # pyright: ignore[reportUnusedClass]
            user: str = ""

    with pytest.raises(DefinitionError, match="owner= and indexes belong to tables"):

        class D(rf.Object):  # pyright: ignore[reportUnusedClass]
            user: str = rf.owner()

    with pytest.raises(DefinitionError, match="owner= takes the name of a field"):
        rf.collection("c", owner=rf.Index("x"))  # pyright: ignore[reportArgumentType]
    for field in ("", "_id", "$x", "a.b"):
        with pytest.raises(DefinitionError, match="can't be one"):
            rf.collection("c", owner=rf.Owner(field))
    with pytest.raises(DefinitionError, match=r"has no field 'org': write rf.Owner\(claim=...\)"):
        rf.Vectors("v", dims=2, owner=rf.Owner("org", claim="org_id"))
    for wrong in ("org_id", 1, None):
        with pytest.raises(DefinitionError, match=r"owner= takes True \(a namespace for each user\) or"):
            rf.Vectors("v", dims=2, owner=wrong)  # pyright: ignore[reportArgumentType]


def test_only_internal_functions_can_be_for_all_owners() -> None:
    module = rf.Module("m")
    for decorator in (module.query, module.mutation, module.action):
        with pytest.raises(TypeError):
            decorator(owners="all")  # pyright: ignore[reportCallIssue, reportArgumentType]
    with pytest.raises(DefinitionError, match='owners is "caller" or "all", got \'everybody\''):

        @module.internal_query(owners="everybody")  # pyright: ignore[reportArgumentType, reportCallIssue]
        async def f(ctx: rf.QueryCtx) -> None: ...  # pyright: ignore[reportUnusedFunction]


def test_declarations_of_one_index_agree_on_whose_it_is() -> None:
    both = [rf.Vectors("a", dims=2), rf.Vectors("a", dims=2, owner=True)]
    with pytest.raises(DefinitionError, match="declared twice"):
        rf.App(modules=[], tables=both, environment={}).engine(MemoryStorage())
