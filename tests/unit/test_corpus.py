"""Bringing a folder of files into the playground, again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from article import corpora, indexing
from article.corpora import Folder, StandardLibrary
from article.corpus import CorpusSource
from reflow.testing.embedder import HashingEmbedder
from tests.support import arun
from tests.support.article import Playground, playing

HARBOUR = '''"""Tools for a small harbour."""


def moor_ship(ship, berth):
    """Tie a ship to a berth with ropes."""


class Lighthouse:
    """A tower whose lamp warns ships."""
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "harbour.py").write_text(HARBOUR)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "anchors.md").write_text("# Anchors\n\nAn anchor holds a ship.\n")
    (tmp_path / ".hidden.md").write_text("not this one")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    return tmp_path


async def bring_in(play: Playground, corpus: corpora.Corpus) -> None:
    await indexing.bring_in(play.backend, corpus)
    await indexing.embedded(play.backend)


async def names(play: Playground) -> set[str]:
    return {source["name"] for source in await play.sources()}


def asked(embedder: HashingEmbedder) -> set[str]:
    """The texts that were embedded since the last look."""
    texts = {text for batch, kind in embedder.calls if kind == "document" for text in batch}
    embedder.calls.clear()
    return texts


def test_each_file_becomes_a_source_with_names_and_lines(folder: Path) -> None:
    async def main() -> None:
        async with playing() as play:
            await bring_in(play, Folder(folder))
            assert await names(play) == {"harbour", "deep/er/anchors.md"}
            search = await play.search("tie ropes")
            best = (await play("searches:results", searchId=search))["hybrid"][0]
            assert (best["name"], best["file"], best["lines"]) == (
                "harbour.moor_ship",
                "harbour.py",
                {"from": 5, "to": 5},
            )
            progress = await play("corpus:progress")
            assert (progress["total"], progress["embedded"], progress["sources"]) == (4, 4, 2)
            assert progress["startedAt"] <= progress["finishedAt"]

    arun(main())


def test_what_has_not_changed_is_left_alone(folder: Path) -> None:
    async def main() -> None:
        embedder = HashingEmbedder()
        async with playing(embedder) as play:
            await bring_in(play, Folder(folder))
            before = await play.sources()
            assert len(asked(embedder)) == 4
            (folder / "harbour.py").touch()
            await bring_in(play, Folder(folder))
            await bring_in(play, Folder(folder))
            assert not asked(embedder)
            assert await play.sources() == before

    arun(main())


def test_only_what_has_changed_is_embedded_again(folder: Path) -> None:
    async def main() -> None:
        embedder = HashingEmbedder()
        async with playing(embedder) as play:
            await bring_in(play, Folder(folder))
            asked(embedder)
            (folder / "deep" / "er" / "anchors.md").write_text("An anchor is heavy.\n")
            (folder / "new.txt").write_text("Brand new.")
            await bring_in(play, Folder(folder))
            assert asked(embedder) == {"An anchor is heavy.", "Brand new."}
            assert await names(play) == {"harbour", "deep/er/anchors.md", "new.txt"}

    arun(main())


def test_what_is_gone_from_the_folder_goes(folder: Path) -> None:
    async def main() -> None:
        async with playing() as play:
            await bring_in(play, Folder(folder))
            await play.add("pasted by somebody", "It is no part of the corpus")
            (folder / "harbour.py").unlink()
            await bring_in(play, Folder(folder))
            await play.backend.settled()
            assert await names(play) == {"deep/er/anchors.md", "pasted by somebody"}
            assert play.vectors() == 2

    arun(main())


class Stopping:
    """A corpus whose reading stops in the middle."""

    description = "a corpus"

    def __init__(self, corpus: Folder, after: int) -> None:
        self._corpus, self._after = corpus, after

    def fingerprint(self) -> str:
        return self._corpus.fingerprint()

    def texts(self) -> Iterator[CorpusSource]:
        yield from islice(self._corpus.texts(), self._after)
        raise ConnectionError("stopped")


def test_a_run_that_was_cut_short_is_taken_up(folder: Path) -> None:
    async def main() -> None:
        embedder = HashingEmbedder()
        async with playing(embedder) as play:
            for n in range(5):
                (folder / f"{n}.txt").write_text(f"Text number {n}.")
            with pytest.raises(ConnectionError):
                await bring_in(play, Stopping(Folder(folder), 3))
            await indexing.embedded(play.backend)
            assert (await play("corpus:progress"))["finishedAt"] is None, "it is not over"
            before = asked(embedder)
            await bring_in(play, Folder(folder))
            assert not before & asked(embedder)
            assert (await play("corpus:progress"))["total"] == 9
            assert (await play("corpus:progress"))["finishedAt"] is not None

    arun(main())


def test_what_failed_is_tried_again_with_the_next_run(folder: Path) -> None:
    async def main() -> None:
        embedder = HashingEmbedder(failures=[ConnectionError("down")] * 5)
        async with playing(embedder) as play:
            await bring_in(play, Folder(folder))
            progress = await play("corpus:progress")
            assert (progress["failed"], progress["embedded"]) == (4, 0)
            assert {source["error"] for source in await play.sources()} == {"down"}
            await bring_in(play, Folder(folder))
            progress = await play("corpus:progress")
            assert (progress["failed"], progress["embedded"]) == (0, 4)

    arun(main())


def test_a_source_is_searchable_while_others_wait(folder: Path) -> None:
    async def main() -> None:
        async with playing() as play:
            reading = asyncio.Event()

            class Slow(Stopping):
                def texts(self) -> Iterator[CorpusSource]:
                    for text in self._corpus.texts():
                        yield text
                        loop.call_soon_threadsafe(reading.set)

            loop = asyncio.get_running_loop()
            task = asyncio.create_task(bring_in(play, Slow(Folder(folder), 0)))
            await reading.wait()
            await play.until(lambda progress: progress["embedded"] > 0, "corpus:progress")
            await task

    arun(main())


def test_files_that_can_not_be_read_are_left_out(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "latin.txt").write_bytes("für".encode("latin-1"))
    (folder / "wrong.py").write_text("def (")
    (folder / "blank.txt").write_text(" \n")
    found = {text.key for text in Folder(folder).texts()}
    assert found == {"harbour.py", "deep/er/anchors.md"}
    assert "latin.txt is left out" in caplog.text
    assert "wrong.py is left out" in caplog.text


def test_files_that_are_too_large_are_left_out(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpora, "FILE_BYTES", 60)
    monkeypatch.setattr(corpora, "SOURCE_CHUNKS", 0)
    assert list(Folder(folder).texts()) == []
    assert "harbour.py is left out: it is larger" in caplog.text
    assert "anchors.md is left out: 1 chunks are more than 0" in caplog.text


def test_the_standard_library_begins_with_what_people_look_for() -> None:
    library = StandardLibrary()
    assert library.fingerprint() == StandardLibrary().fingerprint()
    first = next(library.texts())
    assert first.key == "os.py"
    assert first.name == "os"
    named = {entry.name: entry for entry in first.entries}
    assert named["os.walk"].file == "os.py"
    assert named["os.walk"].lines.from_ < named["os.walk"].lines.to
