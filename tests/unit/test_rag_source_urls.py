"""Sources from addresses: fetched in the background, looked at again, and given up with the reason."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import reflow as rf
from reflow.errors import ApplicationError
from reflow.rag.corpus import Corpus
from reflow.rag.sources.views import SourceView
from tests.support import arun
from tests.support.corpora import Audit, chunks, paragraphs, running, small, texts_of
from tests.support.site import Answer, site

ONE, TWO = paragraphs("boats", "tides", "harbours"), paragraphs("boats", "whales", "harbours", "gulls")
QUICK = rf.Limits(source_read_pause_seconds=0.01, source_read_attempts=3)


async def settled(backend: rf.Backend, audit: Audit) -> None:
    await backend.settled()
    assert await backend.query(audit.faults, settled=True) == []


async def view(backend: rf.Backend, corpus: Corpus, source: str) -> SourceView:
    found = await backend.query(corpus.sources.get, source=source)
    assert found is not None
    return found


async def shown(backend: rf.Backend, corpus: Corpus, source: str) -> list[str]:
    return [one.text for one in await chunks(backend, corpus, source)]


def test_an_address_is_fetched_and_looked_at_again() -> None:
    async def main() -> None:
        corpus = small(allow_private=True, limits=QUICK)
        audit = Audit(corpus)
        with site() as web:
            async with running(corpus, audit.module) as backend:
                url = web.put("/sea.md", "# The sea\n\n" + ONE)
                added = await backend.mutation(corpus.sources.put_url, url=url)
                assert added.state == "reading"
                await settled(backend, audit)
                source = await view(backend, corpus, added.source)
                assert (source.state, source.kind, source.key, source.origin) == ("ready", "markdown", url, url)
                assert source.name == "The sea"
                assert (await shown(backend, corpus, added.source))[-1] == texts_of(corpus, ONE)[-1]
                await backend.mutation(corpus.sources.put_url, url=url)
                await settled(backend, audit)
                source = await view(backend, corpus, added.source)
                assert (source.state, source.version, source.pending) == ("ready", 1, None)
                web.put("/sea.md", TWO)
                await backend.mutation(corpus.sources.put_url, url=url)
                await settled(backend, audit)
                source = await view(backend, corpus, added.source)
                assert (source.state, source.pending) == ("ready", None)
                assert await shown(backend, corpus, added.source) == texts_of(corpus, TWO)
                assert web.asked["/sea.md"] == 3

    arun(main())


def test_a_site_that_fails_is_asked_again_some_times() -> None:
    async def main() -> None:
        corpus = small(allow_private=True, limits=QUICK)
        audit = Audit(corpus)
        with site() as web:
            async with running(corpus, audit.module) as backend:
                web.pages["/a"] = Answer(b"busy", status=503)
                added = await backend.mutation(corpus.sources.put_url, url=web.url + "/a")
                while (source := await view(backend, corpus, added.source)).state == "reading":
                    await asyncio.sleep(0.01)
                assert (source.state, source.version) == ("failed", 0)
                assert "503" in (source.error or "")
                assert web.asked["/a"] == 3
                web.put("/a", ONE)
                await backend.mutation(corpus.sources.retry, source=added.source)
                await settled(backend, audit)
                assert (await view(backend, corpus, added.source)).state == "ready"

    arun(main())


def test_a_source_that_waits_for_its_next_try_can_be_tried_at_once() -> None:
    async def main() -> None:
        corpus = small(allow_private=True, limits=rf.Limits(source_read_pause_seconds=1000.0))
        audit = Audit(corpus)
        with site() as web:
            async with running(corpus, audit.module) as backend:
                web.pages["/a"] = Answer(b"busy", status=503)
                added = await backend.mutation(corpus.sources.put_url, url=web.url + "/a")
                while (await view(backend, corpus, added.source)).next_try is None:
                    await asyncio.sleep(0.01)
                web.put("/a", ONE)
                await backend.mutation(corpus.sources.retry, source=added.source)
                await settled(backend, audit)
                assert (await view(backend, corpus, added.source)).state == "ready"

    arun(main())


@pytest.mark.parametrize(("path", "match"), [("/gone", "404"), ("/image", "image"), ("/empty", "empty")])
def test_rule_9_what_is_not_to_be_had_is_not_asked_for_again(path: str, match: str) -> None:
    async def main() -> None:
        corpus = small(allow_private=True, limits=QUICK)
        audit = Audit(corpus)
        with site() as web:
            web.put("/image", b"\x89PNG\r\n\x1a\n" + bytes(50), "image/png")
            web.put("/empty", b"")
            async with running(corpus, audit.module) as backend:
                added = await backend.mutation(corpus.sources.put_url, url=web.url + path)
                await settled(backend, audit)
                source = await view(backend, corpus, added.source)
                assert source.state == "failed"
                assert match in (source.error or "")
                assert web.asked[path] == 1

    arun(main())


def test_rule_9_an_address_inside_the_network_is_refused() -> None:
    async def main() -> None:
        corpus = small(limits=QUICK)
        audit = Audit(corpus)
        with site() as web:
            async with running(corpus, audit.module) as backend:
                added = await backend.mutation(corpus.sources.put_url, url=web.put("/a", ONE))
                await settled(backend, audit)
                source = await view(backend, corpus, added.source)
                assert source.state == "failed"
                assert source.error
                assert not web.asked
                rows = await backend.query(audit.rows)
                none = [
                    "file:///etc/passwd",
                    "ftp://example.org/a",
                    "https://",
                    "example.org",
                    "http://[::1",
                    "http://[x]/",
                ]
                for url in [*none, "http://me:secret@example.org/", "http://example.org:x/", "https://a b/"]:
                    with pytest.raises(ApplicationError, match="can't be fetched") as refused:
                        await backend.mutation(corpus.sources.put_url, url=url)
                    assert "secret" not in str(refused.value)
                assert await backend.query(audit.rows) == rows

    arun(main())


def test_a_reading_that_was_cut_off_goes_on_when_the_application_is_back(tmp_path: Path) -> None:
    async def main() -> None:
        corpus = small(allow_private=True, limits=QUICK)
        with site() as web:
            web.pages["/a"] = Answer(silent=True)
            async with running(corpus, data=tmp_path) as backend:
                added = await backend.mutation(corpus.sources.put_url, url=web.url + "/a")
                while not web.asked["/a"]:
                    await asyncio.sleep(0.01)
            web.put("/a", ONE)
            again = small(allow_private=True, limits=QUICK)
            audit = Audit(again)
            async with running(again, audit.module, data=tmp_path) as backend:
                while (await view(backend, again, added.source)).state != "ready":
                    await asyncio.sleep(0.02)
                await settled(backend, audit)
                assert await shown(backend, again, added.source) == texts_of(again, ONE)

    arun(main())
