"""Sources of a corpus: what is added, replaced and deleted, and what is searched meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import reflow as rf
from reflow.errors import ApplicationError
from reflow.rag.corpus import Corpus
from reflow.rag.sources.contents import PieceInput
from reflow.rag.sources.views import Progress, SourceView
from tests.support import arun
from tests.support.corpora import ALL, Audit, GatedEmbedder, chunks, paragraphs, running, small, texts_of

ONE, TWO = paragraphs("boats", "tides", "harbours"), paragraphs("boats", "whales", "harbours", "gulls")


async def settled(backend: rf.Backend, audit: Audit) -> None:
    await backend.settled()
    assert await backend.query(audit.faults, settled=True) == []


async def view(backend: rf.Backend, corpus: Corpus, source: str) -> SourceView:
    found = await backend.query(corpus.sources.get, source=source)
    assert found is not None
    return found


async def states(backend: rf.Backend, corpus: Corpus) -> list[tuple[str, str, int, int | None]]:
    page = await backend.query(corpus.sources.list, pagination_opts=ALL)
    return [(one.key, one.state, one.version, one.pending) for one in page.page]


def test_a_text_is_cut_and_each_chunk_knows_where_it_is_from() -> None:
    async def main() -> None:
        corpus = small()
        audit = Audit(corpus)
        async with running(corpus, audit.module) as backend:
            text = "# Sea\n\n" + ONE + "\n\n## Birds\n\nGulls are loud.\n"
            added = await backend.mutation(corpus.sources.put, key="sea.md", text=text)
            assert (added.version, added.changed, added.state) == (1, True, "embedding")
            await settled(backend, audit)
            found = await chunks(backend, corpus, added.source)
            assert [one.text for one in found] == texts_of(corpus, text, "sea.md")
            lines = text.split("\n")
            for number, one in enumerate(found):
                assert (one.number, one.version, one.kind, one.embedded) == (number, 1, "markdown", True)
                assert text[one.start : one.end] == one.text
                assert one.text in "\n".join(lines[one.first_line - 1 : one.last_line])
            assert [one.headings for one in found][-1] == ["Sea", "Birds"]
            source = await view(backend, corpus, added.source)
            assert (source.state, source.version, source.chunk_count, source.name) == ("ready", 1, len(found), "Sea")
            assert source.summary is not None
            assert source.summary.startswith("Sea · Birds\nThe paragraph about boats")

    arun(main())


def test_words_are_found_at_once_and_progress_is_live() -> None:
    async def main() -> None:
        corpus = small(embedder := GatedEmbedder())
        module = rf.Module("app")

        @module.query
        async def words(ctx: rf.QueryCtx, text: str) -> list[str]:
            return [hit.doc.text for hit in await ctx.db.search(corpus.tables.Chunk.words, text)]

        async with running(corpus, module) as backend:
            embedder.hold()
            added = await backend.mutation(corpus.sources.put, key="a", text=ONE)
            assert await backend.query(words, text="tides") == [texts_of(corpus, ONE)[1]]
            source = await view(backend, corpus, added.source)
            assert source.progress == Progress(embedded=0, total=3)
            embedder.release()
            await backend.settled()
            source = await view(backend, corpus, added.source)
            assert (source.progress, source.state) == (None, "ready")

    arun(main())


def test_what_a_source_has_already_changes_nothing() -> None:
    async def main() -> None:
        corpus = small(embedder := GatedEmbedder())
        audit = Audit(corpus)
        async with running(corpus, audit.module) as backend:
            first = await backend.mutation(corpus.sources.put, key="a", text=ONE)
            await settled(backend, audit)
            embedder.calls.clear()
            again = await backend.mutation(corpus.sources.put, key="a", text=ONE)
            assert (again.source, again.changed, again.version, again.state) == (first.source, False, 1, "ready")
            await settled(backend, audit)
            assert not embedder.calls

    arun(main())


def test_a_kind_stays_whatever_a_text_calls_itself() -> None:
    async def main() -> None:
        corpus = small()
        async with running(corpus) as backend:
            text = "# How to read main.py\n\nIt is long."
            ways: tuple[dict[str, Any], ...] = (
                {"key": "a", "kind": "markdown"},
                {"key": "b", "name": "b.md"},
                {"key": "c.md"},
            )
            for args in ways:
                added = await backend.mutation(corpus.sources.put, text=text, **args)
                again = await backend.mutation(corpus.sources.put, key=args["key"], text=text)
                assert (again.source, again.changed) == (added.source, False)
                assert (await view(backend, corpus, added.source)).kind == "markdown"

    arun(main())


def test_a_replaced_text_is_searched_until_the_new_one_is_ready_and_flips_in_one_commit() -> None:
    async def main() -> None:
        corpus = small(embedder := GatedEmbedder(), cache=False)
        audit = Audit(corpus)
        async with running(corpus, audit.module) as backend:
            added = await backend.mutation(corpus.sources.put, key="a", text=ONE)
            await settled(backend, audit)
            before = {one.text: one.id for one in await chunks(backend, corpus, added.source)}
            embedder.calls.clear()
            embedder.hold()
            seen: list[list[str]] = []

            async def watch() -> None:
                async for page in backend.watch(corpus.sources.chunks, source=added.source, pagination_opts=ALL):
                    seen.append([one.text for one in page.page])

            watching = asyncio.create_task(watch())
            await backend.mutation(corpus.sources.put, key="a", text=TWO)
            await embedder.asked()
            source = await view(backend, corpus, added.source)
            assert (source.state, source.version, source.pending) == ("embedding", 1, 2)
            assert source.progress == Progress(embedded=2, total=4)
            assert await backend.query(audit.faults, settled=False) == []
            embedder.release()
            await settled(backend, audit)
            await asyncio.sleep(0.01)
            watching.cancel()
            assert (seen[0], seen[-1]) == (texts_of(corpus, ONE), texts_of(corpus, TWO))
            assert all(texts in (texts_of(corpus, ONE), texts_of(corpus, TWO)) for texts in seen)
            after = {one.text: one.id for one in await chunks(backend, corpus, added.source)}
            same = before.keys() & after.keys()
            assert [before[text] for text in same] == [after[text] for text in same]
            assert len(same) == 2
            new = [text for text in texts_of(corpus, TWO) if text not in before]
            assert set(embedder.embedded) - set(new) <= {source.summary or "", *summaries(embedder)}
            assert await states(backend, corpus) == [("a", "ready", 2, None)]

    arun(main())


def summaries(embedder: GatedEmbedder) -> set[str]:
    """Texts that were embedded and are no paragraph."""
    return {text for text in embedder.embedded if not text.startswith("The paragraph")}


def test_drafts_with_vectors_of_a_former_model_are_embedded_again() -> None:
    async def main() -> None:
        corpus = small(embedder := GatedEmbedder())
        module = rf.Module("app")
        other = rf.Model(embedder="another", dims=embedder.dims)

        @module.internal_mutation(owners="all")
        async def spoil(ctx: rf.MutationCtx, source: rf.Id[Any]) -> bool:
            for draft in await ctx.db.query(corpus.tables.Draft).collect():
                if draft.chunk is None:
                    vectors = [rf.Embedding.of([1.0] * other.dims, other)]
                    await ctx.db.patch(draft.id, embedded=True, vectors=vectors)
            return await corpus.sources.finish(ctx, source)

        audit = Audit(corpus)
        async with running(corpus, module, audit.module) as backend:
            added = await backend.mutation(corpus.sources.put, key="a", text=ONE)
            await settled(backend, audit)
            embedder.hold()
            await backend.mutation(corpus.sources.put, key="a", text=TWO)
            assert not await backend.mutation(spoil, source=rf.Id(added.source))
            assert [one.text for one in await chunks(backend, corpus, added.source)] == texts_of(corpus, ONE)
            embedder.release()
            await settled(backend, audit)
            assert await states(backend, corpus) == [("a", "ready", 2, None)]

    arun(main())


def test_the_newest_version_wins_and_the_one_between_is_given_up() -> None:
    async def main() -> None:
        corpus = small(embedder := GatedEmbedder())
        audit = Audit(corpus)
        async with running(corpus, audit.module) as backend:
            added = await backend.mutation(corpus.sources.put, key="a", text=ONE)
            await settled(backend, audit)
            embedder.hold()
            await backend.mutation(corpus.sources.put, key="a", text=paragraphs("one", "two"))
            await embedder.asked()
            await backend.mutation(corpus.sources.put, key="a", text=TWO)
            assert await backend.query(audit.faults, settled=False) == []
            embedder.release()
            await settled(backend, audit)
            assert [one.text for one in await chunks(backend, corpus, added.source)] == texts_of(corpus, TWO)
            versions = await backend.query(corpus.sources.versions, source=added.source)
            assert [(one.number, one.state) for one in versions] == [(3, "ready"), (1, "replaced")]

    arun(main())


def test_a_first_version_is_replaced_where_it_stands() -> None:
    async def main() -> None:
        corpus = small(embedder := GatedEmbedder())
        audit = Audit(corpus)
        async with running(corpus, audit.module) as backend:
            embedder.hold()
            added = await backend.mutation(corpus.sources.put, key="a", text=ONE)
            await embedder.asked()
            before = {one.text: one.id for one in await chunks(backend, corpus, added.source)}
            await backend.mutation(corpus.sources.put, key="a", text=TWO)
            after = {one.text: one.id for one in await chunks(backend, corpus, added.source)}
            assert list(after) == texts_of(corpus, TWO)
            assert all(before[text] == after[text] for text in before.keys() & after.keys())
            embedder.release()
            await settled(backend, audit)
            assert await states(backend, corpus) == [("a", "ready", 2, None)]

    arun(main())


def test_a_deleted_source_leaves_nothing_also_while_it_is_embedded() -> None:
    async def main() -> None:
        corpus = small(embedder := GatedEmbedder())
        audit = Audit(corpus)
        async with running(corpus, audit.module) as backend:
            embedder.hold()
            first = await backend.mutation(corpus.sources.put, key="a", text=ONE)
            await backend.mutation(corpus.sources.put, key="b", text=ONE)
            await embedder.asked()
            await backend.mutation(corpus.sources.remove, source=first.source)
            assert await backend.mutation(corpus.sources.remove_key, key="b")
            assert not await backend.mutation(corpus.sources.remove_key, key="b")
            embedder.release()
            await settled(backend, audit)
            assert set((await backend.query(audit.rows)).values()) == {0}
            assert await backend.query(corpus.sources.get, source=first.source) is None
            with pytest.raises(ApplicationError, match="was deleted"):
                await backend.mutation(corpus.sources.remove, source=first.source)

    arun(main())


def test_a_text_that_the_embedder_refuses_fails_its_source_and_the_others_are_found() -> None:
    async def main() -> None:
        corpus = small(embedder := GatedEmbedder())
        audit = Audit(corpus)
        async with running(corpus, audit.module) as backend:
            embedder.refused = {texts_of(corpus, ONE)[1]}
            added = await backend.mutation(corpus.sources.put, key="a", text=ONE)
            await settled(backend, audit)
            source = await view(backend, corpus, added.source)
            assert (source.state, source.version, source.pending) == ("failed", 1, None)
            assert (source.error or "").startswith("chunk 2: ")
            found = await chunks(backend, corpus, added.source)
            assert [one.embedded for one in found] == [True, False, True]
            embedder.refused = set()
            await backend.mutation(corpus.sources.retry, source=added.source)
            await settled(backend, audit)
            assert await states(backend, corpus) == [("a", "ready", 1, None)]

    arun(main())


def test_a_stopped_source_rests_until_it_is_taken_up_again() -> None:
    async def main() -> None:
        corpus = small(embedder := GatedEmbedder())
        audit = Audit(corpus)
        async with running(corpus, audit.module) as backend:
            added = await backend.mutation(corpus.sources.put, key="a", text=ONE)
            await settled(backend, audit)
            embedder.hold()
            await backend.mutation(corpus.sources.put, key="a", text=TWO)
            await backend.mutation(corpus.sources.stop, source=added.source)
            embedder.release()
            await settled(backend, audit)
            assert await states(backend, corpus) == [("a", "stopped", 1, 2)]
            assert [one.text for one in await chunks(backend, corpus, added.source)] == texts_of(corpus, ONE)
            await backend.mutation(corpus.sources.retry, source=added.source)
            await settled(backend, audit)
            assert await states(backend, corpus) == [("a", "ready", 2, None)]

    arun(main())


def test_former_texts_are_kept_for_citations_up_to_a_number() -> None:
    async def main() -> None:
        corpus = small(keep_versions=2)
        audit = Audit(corpus)
        async with running(corpus, audit.module) as backend:
            added = await backend.mutation(corpus.sources.put, key="a", text=paragraphs("number 0"))
            await settled(backend, audit)
            for number in range(1, 5):
                added = await backend.mutation(corpus.sources.put, key="a", text=paragraphs(f"number {number}"))
                await settled(backend, audit)
            versions = await backend.query(corpus.sources.versions, source=added.source)
            assert [(one.number, one.state) for one in versions] == [(5, "ready"), (4, "replaced"), (3, "replaced")]
            page = await backend.query(corpus.sources.blocks, source=added.source, version=3, pagination_opts=ALL)
            assert "".join(block.text for block in page.page) == paragraphs("number 2")
            page = await backend.query(corpus.sources.blocks, source=added.source, pagination_opts=ALL)
            assert "".join(block.text for block in page.page) == paragraphs("number 4")

    arun(main())


def test_what_is_said_about_a_source_is_said_of_its_chunks() -> None:
    async def main() -> None:
        corpus = small(filters=("team", "year"))
        audit = Audit(corpus)
        async with running(corpus, audit.module) as backend:
            added = await backend.mutation(
                corpus.sources.put, key="a", text=ONE, category="sea", importance=2.0, fields={"team": "x"}
            )
            await settled(backend, audit)
            update = corpus.sources.update
            await backend.mutation(update, source=added.source, category="", importance=0.5, fields={"year": 1999})
            found = await chunks(backend, corpus, added.source)
            assert {one.category for one in found} == {None}
            assert (await view(backend, corpus, added.source)).importance == 0.5
            assert all(one.fields == {"team": "x", "year": 1999} for one in found)
            with pytest.raises(ApplicationError, match="its filters are"):
                await backend.mutation(update, source=added.source, fields={"colour": "red"})
            with pytest.raises(ApplicationError, match="importance"):
                await backend.mutation(update, source=added.source, importance=-1.0)
            await backend.mutation(corpus.sources.put, key="a", text=TWO)
            await settled(backend, audit)
            found = await chunks(backend, corpus, added.source)
            assert {(one.category, one.fields["team"]) for one in found} == {(None, "x")}
            assert (await view(backend, corpus, added.source)).importance == 0.5

    arun(main())


def test_the_summary_is_taken_from_the_text_unless_one_is_given() -> None:
    async def main() -> None:
        corpus = small(embedder := GatedEmbedder())
        audit = Audit(corpus)
        async with running(corpus, audit.module) as backend:

            async def summary() -> str:
                await settled(backend, audit)
                found = await view(backend, corpus, added.source)
                assert embedder.embedded[found.summary or ""] == 1
                return found.summary or ""

            added = await backend.mutation(corpus.sources.put, key="a", name="Boats", text=ONE)
            automatic = await summary()
            assert automatic.startswith("Boats\nThe paragraph about boats")
            await backend.mutation(corpus.sources.update, source=added.source, summary="My own words.")
            assert await summary() == "My own words."
            await backend.mutation(corpus.sources.put, key="a", text=TWO)
            assert await summary() == "My own words."
            embedder.calls.clear()
            await backend.mutation(corpus.sources.update, source=added.source, summary="")
            found = await view(backend, corpus, added.source)
            assert found.summary == automatic

    arun(main())


def test_pieces_that_were_cut_before_keep_their_names_and_lines() -> None:
    async def main() -> None:
        corpus = small()
        audit = Audit(corpus)
        async with running(corpus, audit.module) as backend:
            pieces = [
                PieceInput(text="Moors a ship.", name="moor", first_line=12, last_line=14, headings=["Harbour"]),
                PieceInput(text="  "),
                PieceInput(text="Casts off.", name="cast_off", first_line=20),
            ]
            added = await backend.mutation(corpus.sources.put_pieces, key="harbour.py", pieces=pieces)
            await settled(backend, audit)
            found = await chunks(backend, corpus, added.source)
            assert [(one.name, one.first_line, one.last_line, one.headings) for one in found] == [
                ("moor", 12, 14, ["Harbour"]),
                ("cast_off", 20, 20, []),
            ]
            assert {one.kind for one in found} == {"code"}
            again = await backend.mutation(corpus.sources.put_pieces, key="harbour.py", pieces=pieces)
            assert not again.changed
            bare = [PieceInput(text="One.\nTwo."), PieceInput(text="Three.")]
            added = await backend.mutation(corpus.sources.put_pieces, key="bare", pieces=bare)
            await settled(backend, audit)
            text = "One.\nTwo.\n\nThree."
            found = await chunks(backend, corpus, added.source)
            assert [(text[one.start : one.end], one.first_line, one.last_line) for one in found] == [
                ("One.\nTwo.", 1, 2),
                ("Three.", 4, 4),
            ]

    arun(main())


def test_neighbours_are_those_before_and_after() -> None:
    async def main() -> None:
        corpus = small()
        async with running(corpus) as backend:
            added = await backend.mutation(corpus.sources.put, key="a", text=paragraphs(*"abcdef"))
            found = await chunks(backend, corpus, added.source)
            near = await backend.query(corpus.sources.neighbours, chunk=found[3].id, before=2, after=1)
            assert [one.number for one in near] == [1, 2, 3, 4]
            assert await backend.query(corpus.sources.chunk, chunk=found[3].id) == found[3]
            assert await backend.query(corpus.sources.chunk, chunk=added.source) is None

    arun(main())


@pytest.mark.parametrize(
    ("args", "match"),
    [
        ({"key": "", "text": "x"}, "source_key_length"),
        ({"key": "k" * 3000, "text": "x"}, "source_key_length"),
        ({"key": "k", "text": " \n\t "}, "holds no text"),
        ({"key": "k", "text": "x" * 201}, "source_text_bytes"),
        ({"key": "k", "text": paragraphs(*"abcdefghij")[:200]}, "source_chunks"),
        ({"key": "k", "text": "x", "kind": "pdf"}, "putFile"),
        ({"key": "k", "text": "x", "fields": {"a": 1}}, "its filters are"),
        ({"key": "k", "text": "x", "importance": float("nan")}, "importance"),
        ({"key": "k", "text": "x", "importance": float("inf")}, "importance"),
        ({"key": "k", "text": "x", "summary": "s" * 20_000}, "source_summary_chars"),
    ],
)
def test_rule_9_what_cannot_be_taken_in_is_said_and_changes_nothing(args: dict[str, Any], match: str) -> None:
    async def main() -> None:
        corpus = small(limits=rf.Limits(source_text_bytes=200, source_chunks=2))
        audit = Audit(corpus)
        async with running(corpus, audit.module) as backend:
            with pytest.raises(ApplicationError, match=match):
                await backend.mutation(corpus.sources.put, **args)
            assert set((await backend.query(audit.rows)).values()) == {0}

    arun(main())


def test_rule_9_more_vectors_than_one_transaction_reads_are_refused_at_once() -> None:
    async def main() -> None:
        corpus = small(GatedEmbedder(3072), limits=rf.Limits(bytes_read=10 * 2 * 3072 * 4 * 4 // 3))
        async with running(corpus) as backend:
            put = corpus.sources.put
            with pytest.raises(ApplicationError, match="such long vectors: 10"):
                await backend.mutation(put, key="k", text=paragraphs(*"abcdefghijk"))
            for words in ("abcdefghij", "klmnopqrst"):  # what is taken in can be replaced, too
                added = await backend.mutation(put, key="k", text=paragraphs(*words))
                await backend.settled()
            source = await backend.query(corpus.sources.get, source=added.source)
            assert source is not None
            assert (source.state, source.version, source.chunk_count) == ("ready", 2, 10)

    arun(main())


def test_two_users_who_add_one_key_at_once_make_one_source() -> None:
    async def main() -> None:
        corpus = small()
        audit = Audit(corpus)
        async with running(corpus, audit.module) as backend:
            puts = [backend.mutation(corpus.sources.put, key="a", text=paragraphs(f"user {n}")) for n in range(8)]
            added = await asyncio.gather(*puts)
            assert len({one.source for one in added}) == 1
            await settled(backend, audit)
            last = max(range(8), key=lambda n: added[n].version)
            found = await chunks(backend, corpus, added[0].source)
            assert [one.text for one in found] == texts_of(corpus, paragraphs(f"user {last}"))

    arun(main())


def test_in_a_function_of_the_app_a_put_is_part_of_its_transaction() -> None:
    async def main() -> None:
        corpus = small(public=False)
        module = rf.Module("app")

        @module.mutation
        async def add(ctx: rf.MutationCtx, fail: bool) -> str:
            added = await corpus.sources.put(ctx, "a", ONE)
            if fail:
                raise ApplicationError("changed my mind")
            return added.source

        audit = Audit(corpus)
        async with running(corpus, module, audit.module) as backend:
            with pytest.raises(ApplicationError, match="changed my mind"):
                await backend.mutation(add, fail=True)
            assert set((await backend.query(audit.rows)).values()) == {0}
            await backend.mutation(add, fail=False)
            await settled(backend, audit)
            assert await states(backend, corpus) == [("a", "ready", 1, None)]

    arun(main())


def test_rule_8_each_owner_has_sources_of_their_own() -> None:
    async def main() -> None:
        corpus = small(owner=True)
        audit = Audit(corpus)
        async with running(corpus, audit.module) as backend:
            ann, bob = (
                backend.as_(rf.Identity(issuer="https://id.example", subject=name, claims={}))
                for name in ("ann", "bob")
            )
            first = await ann.mutation(corpus.sources.put, key="a", text=ONE)
            second = await bob.mutation(corpus.sources.put, key="a", text=TWO)
            assert first.source != second.source
            await settled(backend, audit)
            assert await states(ann, corpus) == await states(bob, corpus) == [("a", "ready", 1, None)]
            assert [one.text for one in await chunks(ann, corpus, first.source)] == texts_of(corpus, ONE)
            assert (await ann.query(corpus.sources.totals)).chunks == 3
            assert await ann.query(corpus.sources.get, source=second.source) is None
            for call in (corpus.sources.remove, corpus.sources.retry, corpus.sources.stop):
                with pytest.raises(ApplicationError, match="no source"):
                    await ann.mutation(call, source=second.source)
            with pytest.raises(rf.ReflowError, match="nobody is signed in"):
                await backend.mutation(corpus.sources.put, key="a", text=ONE)
            assert await states(backend, corpus) == []

    arun(main())
