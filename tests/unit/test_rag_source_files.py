"""Sources from files, long texts and addresses: read in the background, with a clear end whatever they are."""

from __future__ import annotations

from random import Random

import pytest

import reflow as rf
from reflow.errors import ApplicationError
from reflow.rag.corpus import Corpus
from reflow.rag.sources.views import SourceView
from tests.support import arun
from tests.support.corpora import ALL, Audit, GatedEmbedder, chunks, paragraphs, running, small, texts_of

ONE, TWO = paragraphs("boats", "tides", "harbours"), paragraphs("boats", "whales", "harbours", "gulls")

uploads = rf.Module("uploads")


@uploads.action
async def upload(ctx: rf.ActionCtx, data: bytes, content_type: str | None = None) -> rf.Id[rf.File]:
    return await ctx.storage.store(data, content_type=content_type)


async def settled(backend: rf.Backend, audit: Audit) -> None:
    await backend.settled()
    assert await backend.query(audit.faults, settled=True) == []


async def view(backend: rf.Backend, corpus: Corpus, source: str) -> SourceView:
    found = await backend.query(corpus.sources.get, source=source)
    assert found is not None
    return found


async def shown(backend: rf.Backend, corpus: Corpus, source: str) -> list[str]:
    return [one.text for one in await chunks(backend, corpus, source)]


def test_a_file_is_read_in_the_background_and_goes_with_its_source() -> None:
    async def main() -> None:
        corpus = small()
        audit = Audit(corpus)
        async with running(corpus, uploads, audit.module) as backend:
            text = "# The sea\n\n" + ONE
            file = await backend.action(upload, data=text.encode())
            added = await backend.mutation(corpus.sources.put_file, file=file, key="a", name="sea.md", category="x")
            assert (added.state, added.changed) == ("reading", True)
            await settled(backend, audit)
            source = await view(backend, corpus, added.source)
            assert (source.state, source.kind, source.name, source.category) == ("ready", "markdown", "sea.md", "x")
            assert await shown(backend, corpus, added.source) == texts_of(corpus, text, "sea.md")
            (version,) = await backend.query(corpus.sources.versions, source=added.source)
            assert version.file is not None
            assert (version.characters, version.lines) == (len(text), text.count("\n") + 1)
            again = await backend.action(upload, data=text.encode())
            same = await backend.mutation(corpus.sources.put_file, file=again, key="a", name="sea.md")
            assert not same.changed
            assert (await backend.query(audit.rows))["files"] == 1
            await backend.mutation(corpus.sources.remove, source=added.source)
            await settled(backend, audit)
            assert set((await backend.query(audit.rows)).values()) == {0}

    arun(main())


def test_files_of_former_versions_stay_as_long_as_their_texts() -> None:
    async def main() -> None:
        corpus = small(keep_versions=1)
        audit = Audit(corpus)
        async with running(corpus, uploads, audit.module) as backend:
            for number in range(3):
                file = await backend.action(upload, data=paragraphs(f"number {number}").encode())
                await backend.mutation(corpus.sources.put_file, file=file, key="a", name="a.txt")
                await settled(backend, audit)
            assert (await backend.query(audit.rows))["files"] == 2

    arun(main())


def test_an_upload_that_is_added_twice_goes_with_the_last_that_has_it() -> None:
    async def main() -> None:
        corpus = small(keep_versions=0)
        audit = Audit(corpus)
        async with running(corpus, uploads, audit.module) as backend:
            bad = await backend.action(upload, data=bytes(range(256)))
            for _ in range(3):  # the call comes again after it failed: its own file must not go with the failed version
                added = await backend.mutation(corpus.sources.put_file, file=bad, key="bad", name="bad.bin")
                await backend.settled()
                assert "binary" in ((await view(backend, corpus, added.source)).error or "")
            file = await backend.action(upload, data=ONE.encode())
            one, two = [await backend.mutation(corpus.sources.put_file, file=file, key=key) for key in ("a", "b")]
            await settled(backend, audit)
            await backend.mutation(corpus.sources.put_file, file=file, key="a", name="renamed.md")
            await backend.mutation(corpus.sources.remove, source=two.source)
            await settled(backend, audit)
            assert (await view(backend, corpus, one.source)).state == "ready"
            (version,) = await backend.query(corpus.sources.versions, source=one.source)
            assert (version.number, version.file is not None) == (2, True)
            for key in ("a", "bad"):
                await backend.mutation(corpus.sources.remove_key, key=key)
            assert set((await backend.query(audit.rows)).values()) == {0}

    arun(main())


@pytest.mark.parametrize(
    ("data", "name", "match"),
    [
        (b"", "a.txt", "empty"),
        (b" \n\n ", "a.txt", "empty|white space"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "a.png", "image"),
        (b"%PDF-1.7 and then nothing", "a.pdf", ""),
        (b"PK\x03\x04 no archive", "a.docx", "archive"),
        (bytes(range(256)) * 8, "a.txt", ""),
    ],
)
def test_rule_9_a_file_that_cannot_be_read_fails_with_the_reason(data: bytes, name: str, match: str) -> None:
    async def main() -> None:
        corpus = small()
        audit = Audit(corpus)
        async with running(corpus, uploads, audit.module) as backend:
            good = await backend.action(upload, data=ONE.encode())
            added = await backend.mutation(corpus.sources.put_file, file=good, key="a", name="a.txt")
            await settled(backend, audit)
            bad = await backend.action(upload, data=data)
            await backend.mutation(corpus.sources.put_file, file=bad, key="a", name=name)
            await settled(backend, audit)
            source = await view(backend, corpus, added.source)
            assert (source.state, source.version, source.pending) == ("failed", 1, 2)
            assert source.error
            assert match.partition("|")[0] in source.error or match.rpartition("|")[2] in source.error
            assert await shown(backend, corpus, added.source) == texts_of(corpus, ONE)
            await backend.mutation(corpus.sources.retry, source=added.source)
            await settled(backend, audit)
            assert (await view(backend, corpus, added.source)).state == "failed"
            await backend.mutation(corpus.sources.put, key="a", text=TWO)
            await settled(backend, audit)
            assert (await view(backend, corpus, added.source)).state == "ready"
            assert await shown(backend, corpus, added.source) == texts_of(corpus, TWO)

    arun(main())


def test_rule_9_a_file_that_was_never_uploaded_or_is_gone() -> None:
    async def main() -> None:
        corpus = small()
        audit = Audit(corpus)
        module = rf.Module("app")

        @module.mutation
        async def lose(ctx: rf.MutationCtx, file: rf.Id[rf.File]) -> None:
            await corpus.sources.put_file(ctx, file, key="a")
            await ctx.storage.delete(file)

        async with running(corpus, uploads, module, audit.module) as backend:
            with pytest.raises(ApplicationError, match="no uploaded file"):
                await backend.mutation(corpus.sources.put_file, file="nonsense", key="a")
            assert set((await backend.query(audit.rows)).values()) == {0}
            await backend.mutation(lose, file=await backend.action(upload, data=ONE.encode()))
            await settled(backend, audit)
            source = await backend.query(corpus.sources.by_key, key="a")
            assert source is not None
            assert (source.state, source.error) == ("failed", "the file was deleted before it was read: add it again")

    arun(main())


def test_a_long_text_is_cut_beside_the_transaction_that_took_it_in() -> None:
    async def main() -> None:
        corpus = small(limits=rf.Limits(source_inline_chars=100))
        audit = Audit(corpus)
        async with running(corpus, audit.module) as backend:
            added = await backend.mutation(corpus.sources.put, key="a", text=ONE)
            assert added.state == "reading"
            await settled(backend, audit)
            assert (await view(backend, corpus, added.source)).state == "ready"
            assert await shown(backend, corpus, added.source) == texts_of(corpus, ONE)
            assert not (await backend.mutation(corpus.sources.put, key="a", text=ONE)).changed

    arun(main())


def test_rule_9_what_makes_too_many_chunks_however_it_is_cut_is_not_cut() -> None:
    async def main() -> None:
        corpus = small(limits=rf.Limits(source_inline_chars=100, source_chunks=50))
        audit = Audit(corpus)
        async with running(corpus, audit.module) as backend:
            added = await backend.mutation(corpus.sources.put, key="a", text="x" * 100_000)
            await settled(backend, audit)
            failed = await view(backend, corpus, added.source)
            assert failed.state == "failed"
            assert "chunks at least, more than limits.source_chunks = 50: split it" in (failed.error or "")

    arun(main())


def book(pages: int) -> list[str]:
    """The paragraphs of a book with about 2,500 characters on each page."""
    random = Random(7)
    words = ["".join(random.choices("abcdefghijklmnop", k=random.randint(2, 9))) for _ in range(500)]
    paragraphs: list[str] = []
    for page in range(pages):
        paragraphs.append(f"# Chapter {page // 20}, page {page}")
        for _ in range(4):
            sentences = [" ".join(random.choices(words, k=12)).capitalize() + "." for _ in range(8)]
            paragraphs.append(" ".join(sentences))
    return paragraphs


def test_one_edited_paragraph_of_200_pages_embeds_three_chunks_at_most() -> None:
    async def main() -> None:
        embedder = GatedEmbedder()
        corpus = Corpus("docs", embedder=embedder, public=True, cache=False)
        async with running(corpus) as backend:
            text = book(200)
            added = await backend.mutation(corpus.sources.put, key="book.md", text="\n\n".join(text))
            await backend.settled()
            before = await view(backend, corpus, added.source)
            assert before.chunk_count > 500
            for place, edit in ((77, "An inserted sentence stands here. "), (501, "")):
                embedder.calls.clear()
                text[place] = edit + text[place][len(text[place]) // 3 :]
                await backend.mutation(corpus.sources.put, key="book.md", text="\n\n".join(text))
                await backend.settled()
                (version, *_) = await backend.query(corpus.sources.versions, source=added.source)
                asked = [one for one in embedder.embedded if one != (before.summary or "")]
                assert version.state == "ready"
                assert 1 <= version.chunk_count - version.reused <= 3
                assert len(asked) == version.chunk_count - version.reused

    arun(main())


def test_html_that_is_put_becomes_readable_text() -> None:
    async def main() -> None:
        corpus = small()
        audit = Audit(corpus)
        async with running(corpus, audit.module) as backend:
            page = "<html><head><title>The sea</title><script>x()</script></head><body><h1>Boats</h1><p>They float.</p>"
            added = await backend.mutation(corpus.sources.put, key="a", text=page, kind="html")
            await settled(backend, audit)
            source = await view(backend, corpus, added.source)
            assert (source.state, source.kind, source.name) == ("ready", "html", "Boats")
            text = "\n".join(await shown(backend, corpus, added.source))
            assert "They float." in text
            assert "x()" not in text

    arun(main())


def test_a_source_that_is_read_can_be_stopped_deleted_and_replaced() -> None:
    async def main() -> None:
        corpus = small(limits=rf.Limits(source_inline_chars=100, sources_read=1))
        audit = Audit(corpus)
        async with running(corpus, audit.module) as backend:
            keys = [f"k{number}" for number in range(6)]
            added = [await backend.mutation(corpus.sources.put, key=key, text=ONE) for key in keys]
            await backend.mutation(corpus.sources.stop, source=added[0].source)
            await backend.mutation(corpus.sources.remove, source=added[1].source)
            await backend.mutation(corpus.sources.put, key=keys[2], text=TWO)
            await backend.mutation(corpus.sources.put, key=keys[3], text="short")
            await settled(backend, audit)
            found = {key: await backend.query(corpus.sources.by_key, key=key) for key in keys}
            states = {key: None if one is None else one.state for key, one in found.items()}
            assert states == dict.fromkeys(keys, "ready") | {"k0": "stopped", "k1": None}
            assert await shown(backend, corpus, added[2].source) == texts_of(corpus, TWO)
            assert await shown(backend, corpus, added[3].source) == ["short"]
            await backend.mutation(corpus.sources.retry, source=added[0].source)
            await settled(backend, audit)
            assert (await view(backend, corpus, added[0].source)).state == "ready"

    arun(main())


def test_a_splitter_that_fails_fails_its_source() -> None:
    def splitter(text: str) -> list[str]:
        if "whales" in text:
            raise ZeroDivisionError("no whales")
        return [text]

    async def main() -> None:
        corpus = small(splitter=splitter, limits=rf.Limits(source_inline_chars=10, source_read_attempts=1))
        audit = Audit(corpus)
        async with running(corpus, audit.module) as backend:
            added = await backend.mutation(corpus.sources.put, key="a", text=TWO)
            await settled(backend, audit)
            source = await view(backend, corpus, added.source)
            assert (source.state, source.error) == ("failed", "ZeroDivisionError: no whales")

    arun(main())


def test_rule_8_files_of_an_owner_are_read_for_them_alone() -> None:
    async def main() -> None:
        corpus = small(owner=True)
        audit = Audit(corpus)
        async with running(corpus, uploads, audit.module) as backend:
            ann, bob = (backend.as_(rf.Identity(issuer="i", subject=name, claims={})) for name in ("ann", "bob"))
            for user, text in ((ann, ONE), (bob, TWO)):
                file = await user.action(upload, data=text.encode())
                added = await user.mutation(corpus.sources.put_file, file=file, key="a", name="a.txt")
                await settled(backend, audit)
                assert await shown(user, corpus, added.source) == texts_of(corpus, text)
            assert len((await ann.query(corpus.sources.list, pagination_opts=ALL)).page) == 1

    arun(main())
