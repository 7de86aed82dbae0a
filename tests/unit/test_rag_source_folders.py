"""Files and folders of this machine as sources: what is new or changed comes in, what is gone goes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import reflow as rf
from reflow.errors import ApplicationError
from reflow.rag.corpus import Corpus
from reflow.rag.sources.local_files import Synced, watch_folder
from tests.support import arun
from tests.support.corpora import ALL, Audit, GatedEmbedder, paragraphs, running, small, texts_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "notes"
    (place / "deep" / "er").mkdir(parents=True)
    (place / "boats.txt").write_text(paragraphs("boats", "oars"))
    (place / "deep" / "er" / "tides.md").write_text("# Tides\n\n" + paragraphs("tides"))
    (place / ".hidden.md").write_text("not this one")
    (place / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
    return place


async def keys(backend: rf.Backend, corpus: Corpus) -> dict[str, str]:
    page = await backend.query(corpus.sources.list, pagination_opts=ALL)
    return {one.key: one.state for one in page.page}


def counts(found: Synced) -> tuple[int, int, int, int]:
    return found.added, found.changed, found.removed, found.unchanged


def test_a_folder_comes_in_and_later_only_what_has_changed(folder: Path) -> None:
    async def main() -> None:
        corpus = small(embedder := GatedEmbedder())
        audit = Audit(corpus)
        async with running(corpus, audit.module) as backend:

            async def sync() -> Synced:
                embedder.calls.clear()
                found = await backend.action(corpus.sources.sync_folder, path=str(folder), category="n")
                await backend.settled()
                assert await backend.query(audit.faults, settled=True) == []
                return found

            assert counts(await sync()) == (2, 0, 0, 0)
            assert await keys(backend, corpus) == {"notes/boats.txt": "ready", "notes/deep/er/tides.md": "ready"}
            tides = await backend.query(corpus.sources.by_key, key="notes/deep/er/tides.md")
            assert tides is not None
            assert (tides.name, tides.kind, tides.category) == ("Tides", "markdown", "n")
            await backend.mutation(corpus.sources.update, source=tides.id, category="mine")
            assert counts(await sync()) == (0, 0, 0, 2)
            assert not embedder.calls
            tides = await backend.query(corpus.sources.by_key, key="notes/deep/er/tides.md")
            assert tides is not None
            assert tides.category == "n"
            (folder / "boats.txt").write_text(paragraphs("boats", "sails"))
            (folder / "deep" / "er" / "tides.md").unlink()
            (folder / "new.md").write_text(paragraphs("news"))
            found = await sync()
            assert counts(found) == (1, 1, 1, 0)
            assert len(found.sources) == 2
            assert await keys(backend, corpus) == {"notes/boats.txt": "ready", "notes/new.md": "ready"}
            assert not any(text in embedder.embedded for text in texts_of(corpus, paragraphs("boats")))

    arun(main())


def test_files_that_cannot_be_read_are_told_and_what_they_were_stays(folder: Path) -> None:
    async def main() -> None:
        corpus = small()
        audit = Audit(corpus)
        async with running(corpus, audit.module) as backend:
            await backend.action(corpus.sources.sync_folder, path=str(folder))
            await backend.settled()
            (folder / "boats.txt").write_text(" \n")
            (folder / "broken.txt").write_bytes(bytes(range(256)) * 4)
            found = await backend.action(corpus.sources.sync_folder, path=str(folder))
            assert counts(found) == (0, 0, 0, 1)
            assert {Path(one.path).name for one in found.problems} == {"boats.txt", "broken.txt"}
            assert all(one.error for one in found.problems)
            assert await keys(backend, corpus) == {"notes/boats.txt": "ready", "notes/deep/er/tides.md": "ready"}

    arun(main())


def test_two_folders_of_one_name_do_not_take_each_others_sources(folder: Path, tmp_path: Path) -> None:
    async def main() -> None:
        other = tmp_path / "elsewhere" / "notes"
        other.mkdir(parents=True)
        (other / "boats.txt").write_text(paragraphs("other boats"))
        corpus = small()
        async with running(corpus) as backend:
            await backend.action(corpus.sources.sync_folder, path=str(folder))
            found = await backend.action(corpus.sources.sync_folder, path=str(other))
            assert counts(found) == (1, 0, 0, 0)
            assert str(other / "boats.txt") in await keys(backend, corpus)
            assert counts(await backend.action(corpus.sources.sync_folder, path=str(folder))) == (0, 0, 0, 2)
            (other / "boats.txt").unlink()
            assert counts(await backend.action(corpus.sources.sync_folder, path=str(other))) == (0, 0, 1, 0)
            assert len(await keys(backend, corpus)) == 2

    arun(main())


def test_a_file_is_added_by_its_path(folder: Path) -> None:
    async def main() -> None:
        corpus = small()
        audit = Audit(corpus)
        async with running(corpus, audit.module) as backend:
            add = corpus.sources.add_path
            added = await backend.action(add, path=str(folder / "boats.txt"), key="b", category="x")
            page = folder / "page.html"
            page.write_text("<h1>Gulls</h1><p>They are loud.</p>")
            await backend.action(add, path=str(page))
            await backend.settled()
            assert await backend.query(audit.faults, settled=True) == []
            assert await keys(backend, corpus) == {"b": "ready", "page.html": "ready"}
            source = await backend.query(corpus.sources.get, source=added.source)
            assert source is not None
            assert (source.origin, source.category) == (str(folder / "boats.txt"), "x")
            for path in ("nowhere.txt", "picture.png", "."):
                with pytest.raises(ApplicationError):
                    await backend.action(add, path=str(folder / path))
            with pytest.raises(ApplicationError, match="no folder"):
                await backend.action(corpus.sources.sync_folder, path=str(folder / "boats.txt"))

    arun(main())


def test_rule_8_paths_are_nothing_for_clients() -> None:
    corpus = small(public=True)
    inside = (
        corpus.sources.add_path,
        corpus.sources.sync_folder,
        corpus.sources.sync_files,
        corpus.sources.known_files,
    )
    assert all(function.internal for function in inside)


def test_a_watched_folder_is_followed(folder: Path) -> None:
    async def main() -> None:
        corpus = small()
        audit = Audit(corpus)
        async with running(corpus, audit.module) as backend:

            async def call(function: str, /, **args: Any) -> Any:
                return await backend.action(f"{corpus.name}/{function}", **args)

            seen: list[Synced] = []

            async def follow() -> None:
                async for found in watch_folder(call, folder):
                    seen.append(found)

            async def until(good: Callable[[dict[str, str]], bool]) -> None:
                while not good(await keys(backend, corpus)):
                    await asyncio.sleep(0.01)

            following = asyncio.create_task(follow())
            await until(lambda found: found.get("notes/deep/er/tides.md") == "ready" and "notes/boats.txt" in found)
            (folder / "new.md").write_text(paragraphs("news"))
            await until(lambda found: found.get("notes/new.md") == "ready")
            (folder / "new.md").rename(folder / "newer.md")
            await until(lambda found: "notes/newer.md" in found and "notes/new.md" not in found)
            (folder / "boats.txt").unlink()
            await until(lambda found: "notes/boats.txt" not in found)
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await backend.settled()
            assert await backend.query(audit.faults, settled=True) == []
            assert counts(seen[0]) == (2, 0, 0, 0)

    arun(main())
