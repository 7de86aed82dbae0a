from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from reflow.errors import LimitExceeded, MissingExtra, UnreadableSource
from reflow.limits import Limits
from reflow.rag.reading.folders import Change, read_file, walk, watch
from tests.support import arun


def write(folder: Path, key: str, text: str = "text") -> Path:
    """A file in a folder."""
    path = folder / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def keys(folder: Path, **options: object) -> list[str]:
    return [file.key for file in walk(folder, **options)]  # type: ignore[arg-type]


# Walking


def test_a_walk_finds_what_can_be_read_in_order(tmp_path: Path) -> None:
    for key in ("b.md", "a/z.txt", "a/b/c.py", "a.txt", "README", "Makefile", "page.HTML", "d.pdf"):
        write(tmp_path, key)
    for key in (
        "image.png",
        "data.zip",
        "noname",
        ".hidden.md",
        ".git/x.md",
        "a/.venv/x.py",
        "node_modules/x.js",
        "a/__pycache__/x.py",
        "notes.md~",
        "~$open.docx",
        "#autosave.md",
        ".env",
        "secrets.env",
    ):
        write(tmp_path, key)
    write(tmp_path, "empty.md", "")
    write(tmp_path, "venv/pyvenv.cfg")
    write(tmp_path, "venv/lib/x.py")
    assert keys(tmp_path) == ["Makefile", "README", "a.txt", "b.md", "d.pdf", "page.HTML", "a/z.txt", "a/b/c.py"]
    assert keys(tmp_path, suffixes={".md", ".py"}) == ["b.md", "a/b/c.py"]
    (file,) = walk(tmp_path, suffixes={".md"})
    assert (file.path, file.size) == (tmp_path / "b.md", 4)
    assert file.modified_ns == file.path.stat().st_mtime_ns


def test_ignore_files_are_heeded_at_every_depth(tmp_path: Path) -> None:
    write(tmp_path, ".gitignore", "*.log\n/build/\n!keep.log\nsecret.md\n# comment\n\n[")
    write(tmp_path, "sub/.gitignore", "!secret.md\nlocal/\n*.tmp.md\n")
    for key in ("a.md", "x.log", "keep.log", "build/a.md", "secret.md", "sub/build/a.md", "sub/secret.md"):
        write(tmp_path, key)
    for key in ("sub/local/a.md", "sub/a.tmp.md", "a.tmp.md", "sub/x.log"):
        write(tmp_path, key)
    assert keys(tmp_path) == ["a.md", "a.tmp.md", "keep.log", "sub/secret.md", "sub/build/a.md"]


def test_an_ignore_file_needs_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pathspec", None)
    write(tmp_path, "a.md")
    assert keys(tmp_path) == ["a.md"]
    write(tmp_path, ".gitignore", "a.md")
    with pytest.raises(MissingExtra, match=r"reflow\[documents\]"):
        keys(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="links, pipes and names of POSIX")
def test_links_pipes_and_names_that_are_no_text_are_left_out(tmp_path: Path) -> None:
    outside = write(tmp_path, "outside/secret.md")
    folder = tmp_path / "folder"
    write(folder, "a.md")
    (folder / "link.md").symlink_to(outside)
    (folder / "inside.md").symlink_to(folder / "a.md")
    (folder / "dangling.md").symlink_to(folder / "nothing")
    (folder / "loop").symlink_to(folder)
    (folder / "out").symlink_to(tmp_path / "outside")
    os.mkfifo(folder / "pipe.md")
    os.mkdir(folder / "folder.md")
    (folder / os.fsdecode(b"bad\xff.md")).write_text("x", encoding="utf-8")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "socket.md"))
        assert keys(folder) == ["a.md"]
    with pytest.raises(UnreadableSource, match="is no file") as caught:
        read_file(folder / "pipe.md")
    assert caught.value.reason == "unsupported"


def test_deep_folders_need_no_recursion(tmp_path: Path) -> None:
    deep = tmp_path
    for _ in range(300):
        deep /= "d"
        deep.mkdir()
    write(deep, "end.md")
    assert keys(tmp_path) == ["d/" * 300 + "end.md"]


def test_walking_is_bounded_and_says_what_is_missing(tmp_path: Path) -> None:
    for number in range(4):
        write(tmp_path, f"{number}.md")
    assert len(keys(tmp_path, limits=Limits(folder_files=4))) == 4
    with pytest.raises(LimitExceeded, match=r"limits\.folder_files"):
        keys(tmp_path, limits=Limits(folder_files=3))
    for path in (tmp_path / "nothing", tmp_path / "0.md"):
        with pytest.raises(UnreadableSource, match="can't be listed"):
            keys(path)


def test_files_are_read_within_bounds(tmp_path: Path) -> None:
    path = write(tmp_path, "a.md", "words")
    assert read_file(path) == b"words"
    for wrong, reason in ((tmp_path / "nothing", "gone"), (path / "x", "gone"), (tmp_path, None)):
        with pytest.raises(UnreadableSource) as caught:
            read_file(wrong)
        assert reason in (None, caught.value.reason)
    with pytest.raises(UnreadableSource, match=r"limits\.source_bytes"):
        read_file(path, limits=Limits(source_bytes=4))
    if Path("/proc/self/status").exists():  # a size of 0, and yet something to read
        with pytest.raises(UnreadableSource, match=r"limits\.source_bytes"):
            read_file(Path("/proc/self/status"), limits=Limits(source_bytes=4))


# Watching

Changes = AsyncGenerator[list[Change]]


async def until(changes: Changes, changed: set[str], deleted: set[str] | None = None) -> None:
    """Waits until these files, and no others, were told as changed and deleted; a file may be told more than once."""
    told: dict[str, bool] = {}
    expected = {**dict.fromkeys(changed, False), **dict.fromkeys(deleted or (), True)}
    while told != expected:
        for change in await asyncio.wait_for(anext(changes), 20):
            assert expected.get(change.key) is change.deleted, change
            told[change.key] = change.deleted


def watching(folder: Path, test: Callable[[Changes], Awaitable[None]], limits: Limits | None = None) -> None:
    """Runs a test with the changes of a folder."""

    async def main() -> None:
        async with aclosing(watch(folder, limits=limits or Limits())) as changes:
            await test(changes)

    arun(main())


def test_the_first_batch_names_all_files_and_the_next_what_changed(tmp_path: Path) -> None:
    for key in ("a.md", "sub/b.md", ".hidden.md", "image.png"):
        write(tmp_path, key)

    async def test(changes: Changes) -> None:
        first = await anext(changes)
        assert [(change.key, change.deleted) for change in first] == [("a.md", False), ("sub/b.md", False)]
        assert first[0].path == tmp_path / "a.md"
        write(tmp_path, "a.md", "other")
        await until(changes, {"a.md"})
        write(tmp_path, "c.md")
        await until(changes, {"c.md"})
        (tmp_path / "sub" / "b.md").unlink()
        await until(changes, set(), {"sub/b.md"})

    watching(tmp_path, test)


def test_an_empty_folder_has_an_empty_first_batch(tmp_path: Path) -> None:
    async def test(changes: Changes) -> None:
        assert await anext(changes) == []
        write(tmp_path, "a.md")
        await until(changes, {"a.md"})

    watching(tmp_path, test)


def test_nothing_that_was_written_while_watching_began_is_missed(tmp_path: Path) -> None:
    async def test(changes: Changes) -> None:
        task = asyncio.ensure_future(anext(changes))
        for number in range(100):
            write(tmp_path, f"{number}.md")
            await asyncio.sleep(0.005)
        told = {change.key for change in await task}
        while len(told) < 100:
            told |= {change.key for change in await asyncio.wait_for(anext(changes), 20)}

    watching(tmp_path, test)


def test_an_editor_that_saves_by_renaming_changes_one_file(tmp_path: Path) -> None:
    path = write(tmp_path, "a.md")
    write(tmp_path, "b.md")

    async def test(changes: Changes) -> None:
        await anext(changes)
        write(tmp_path, ".a.md.swp")
        os.replace(write(tmp_path, "a.md.tmp", "renamed over it"), path)
        await until(changes, {"a.md"})
        os.replace(path, tmp_path / "a.md~")  # a backup, and then a new file
        await asyncio.sleep(0.1)
        write(tmp_path, "a.md", "written after the backup")
        await until(changes, {"a.md"})
        path.write_text("", encoding="utf-8")  # emptied, and then written
        await asyncio.sleep(0.1)
        path.write_text("written at last", encoding="utf-8")
        await until(changes, {"a.md"})

    watching(tmp_path, test)


def test_a_file_that_stays_empty_is_gone(tmp_path: Path) -> None:
    path = write(tmp_path, "a.md")

    async def test(changes: Changes) -> None:
        await anext(changes)
        path.write_text("", encoding="utf-8")
        await until(changes, set(), {"a.md"})
        path.write_text("back", encoding="utf-8")
        await until(changes, {"a.md"})

    watching(tmp_path, test)


def test_folders_come_move_and_go(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    folder = tmp_path / "folder"
    write(outside, "new/a.md")
    write(outside, "new/deep/b.md")
    folder.mkdir()

    async def test(changes: Changes) -> None:
        await anext(changes)
        os.rename(outside / "new", folder / "new")
        await until(changes, {"new/a.md", "new/deep/b.md"})
        write(folder, "new/deep/c.md")
        await until(changes, {"new/deep/c.md"})
        os.rename(folder / "new", folder / "other")
        await until(
            changes,
            {"other/a.md", "other/deep/b.md", "other/deep/c.md"},
            {"new/a.md", "new/deep/b.md", "new/deep/c.md"},
        )
        os.rename(folder / "other", outside / "other")
        await until(changes, set(), {"other/a.md", "other/deep/b.md", "other/deep/c.md"})

    watching(folder, test)


def test_an_ignore_file_takes_effect_when_it_changes(tmp_path: Path) -> None:
    write(tmp_path, "a.md")
    write(tmp_path, "b.md")

    async def test(changes: Changes) -> None:
        await anext(changes)
        write(tmp_path, ".gitignore", "a.md")
        await until(changes, set(), {"a.md"})
        write(tmp_path, "a.md", "changed, but nobody's business")
        write(tmp_path, "b.md", "changed")
        await until(changes, {"b.md"})
        (tmp_path / ".gitignore").unlink()
        await until(changes, {"a.md"})

    watching(tmp_path, test)


def test_changes_that_nobody_took_are_joined(tmp_path: Path) -> None:
    async def test(changes: Changes) -> None:
        await anext(changes)
        for number in range(10):
            write(tmp_path, "a.md", "x" * (number + 1))
            await asyncio.sleep(0.06)
        told = await anext(changes)
        assert [change.key for change in told] == ["a.md"]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(changes), 0.5)

    watching(tmp_path, test)


def test_what_the_system_does_not_tell_is_found_by_looking(tmp_path: Path) -> None:
    write(tmp_path, "sub/a.md")

    async def test(changes: Changes) -> None:
        await anext(changes)
        path = write(tmp_path, "a.hidden", "x" * 50)
        os.link(path, tmp_path / "sub" / "b.md")
        await until(changes, {"sub/b.md"})
        path.write_text("through its other name", encoding="utf-8")  # an event for a name that does not count
        await until(changes, {"sub/b.md"})

    watching(tmp_path, test, Limits(folder_rescan_seconds=0.2))


def test_a_folder_that_goes_away_is_an_error_and_deletes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    write(folder, "a.md")

    async def test(changes: Changes) -> None:
        await anext(changes)
        os.rename(folder, tmp_path / "elsewhere")
        with pytest.raises(UnreadableSource, match="can't be listed") as caught:
            await asyncio.wait_for(anext(changes), 20)
        assert caught.value.reason == "gone"

    watching(folder, test, Limits(folder_rescan_seconds=0.5))


def test_a_folder_that_is_not_there_can_not_be_watched(tmp_path: Path) -> None:
    async def test(changes: Changes) -> None:
        with pytest.raises(UnreadableSource, match="can't be listed"):
            await anext(changes)

    watching(tmp_path / "nothing", test)


def test_watching_ends_when_it_is_cancelled(tmp_path: Path) -> None:
    async def main() -> None:
        async def take() -> None:
            async for _ in watch(tmp_path):
                taken.set()

        taken = asyncio.Event()
        task = asyncio.create_task(take())
        await taken.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    arun(main())
