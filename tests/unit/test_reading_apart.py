"""Files made to harm: their reader ends, the program that asked goes on."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from reflow.errors import MissingExtra, Overloaded, UnreadableSource
from reflow.limits import Limits
from reflow.rag.reading import apart, read, read_apart
from tests.support import arun, office_files

ENDLESS = b"<div>" * 400_000  # browsers' rules make its parser walk all that is open, for each one
SMALL = Limits(reading_seconds=1.0)


def processes() -> list[int]:
    """The reading processes that run."""
    return [process.pid for process in apart._readers._processes if process.poll() is None]


def test_it_reads_the_same_as_in_place() -> None:
    async def main() -> None:
        for data, name in (
            (office_files.pdf([["One line"], ["Another"]], [("One line", 0)]), "a.pdf"),
            (office_files.docx(office_files.paragraph("Head", "heading1")), "a.docx"),
            (b"<h1>Head</h1><p>Text", "a.html"),
            (b"# Head\n\n" + b"words " * 20_000, "long.md"),
            (b"# Head\n\nshort", "short.md"),
        ):
            assert await read_apart(data, name) == read(data, name)

    arun(main())


def test_reasons_come_across() -> None:
    async def main() -> None:
        for data, name, reason in (
            (b"%PDF-1.7 nonsense", "a.pdf", "broken"),
            (office_files.encrypted_pdf(), "a.pdf", "encrypted"),
            (office_files.zip_bomb(65), "a.docx", "too_large"),
            (b"\0\1\2" * 50_000, "a.txt", "binary"),
        ):
            with pytest.raises(UnreadableSource) as caught:
                await read_apart(data, name)
            assert caught.value.reason == reason

    arun(main())


def test_a_hundred_megabytes_are_refused_before_anything_looks_into_them() -> None:
    before = processes()
    with pytest.raises(UnreadableSource, match=r"limits\.source_bytes") as caught:
        arun(read_apart(bytes(100 << 20), "huge.pdf"))
    assert caught.value.reason == "too_large"
    assert processes() == before


def test_a_file_that_takes_for_ever_ends_its_reader_and_others_are_read() -> None:
    async def main() -> None:
        slow = asyncio.create_task(read_apart(ENDLESS, "slow.html", limits=SMALL))
        ticks = 0
        while not slow.done():
            ticks += 1
            await asyncio.sleep(0.01)
        assert ticks > 10, "the event loop stood still"
        with pytest.raises(UnreadableSource, match=r"limits\.reading_seconds = 1") as caught:
            await slow
        assert caught.value.reason == "too_slow"
        assert (await read_apart(b"<p>fine", "fine.html")).text == "fine"

    arun(main())


def test_a_cancelled_call_ends_its_reader() -> None:
    async def main() -> None:
        await read_apart(b"<p>warm", "warm.html")
        tasks = [asyncio.create_task(read_apart(ENDLESS, "slow.html")) for _ in range(2)]
        await asyncio.sleep(0.5)
        busy = processes()
        assert busy
        for task in tasks:
            task.cancel()
        assert all(isinstance(r, asyncio.CancelledError) for r in await asyncio.gather(*tasks, return_exceptions=True))
        while set(processes()) & set(busy):
            await asyncio.sleep(0.01)
        assert (await read_apart(b"<p>fine", "fine.html")).text == "fine"

    arun(main())


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is bounded on Linux only")
def test_a_file_that_takes_too_much_memory_is_refused() -> None:
    lean = Limits(reading_memory_bytes=16 << 20)
    with pytest.raises(UnreadableSource, match="memory"):
        arun(read_apart(b"<p>x" * 500_000, "a.html", limits=lean))
    assert arun(read_apart(b"<p>fine", "fine.html", limits=lean)).text == "fine"


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_reader_that_crashes_is_the_files_fault_and_one_that_idled_out_is_nobodys() -> None:
    async def main() -> None:
        slow = asyncio.create_task(read_apart(ENDLESS, "crash.html"))
        await asyncio.sleep(0.3)
        while not processes():
            await asyncio.sleep(0.01)
        for pid in processes():
            os.kill(pid, signal.SIGSEGV)
        with pytest.raises(UnreadableSource, match=r"makes its reader fail \(exit code -11\)") as caught:
            await slow
        assert caught.value.reason == "broken"

        await read_apart(b"<p>x", "x.html")
        for process in list(apart._readers._processes):
            assert process.stdin is not None
            process.stdin.close()  # what it sees when its time is up or its parent is gone
            process.wait()
        assert (await read_apart(b"<p>fine", "fine.html")).text == "fine"

    arun(main())


def test_waiting_sources_are_bounded() -> None:
    async def main() -> None:
        bound = Limits(reading_waiting=3, reading_seconds=1.0)
        tasks = [asyncio.create_task(read_apart(ENDLESS, "slow.html", limits=bound)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match=r"limits\.reading_waiting"):
            await read_apart(b"<p>more", "more.html", limits=bound)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    arun(main())


def test_several_event_loops_share_the_readers() -> None:
    found: list[str] = []

    def work() -> None:
        found.append(arun(read_apart(b"<p>fine", "fine.html")).text)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["fine"] * 4


def run(program: str, **environment: str) -> str:
    """What a program of its own prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_readers_get_no_keys_and_end_with_their_program() -> None:
    program = """
import asyncio
from pathlib import Path
from reflow.rag.reading import apart, read_apart
print(asyncio.run(read_apart(b"<p>fine", "a.html")).text)
(process,) = apart._readers._processes
print(b"SECRET" in Path(f"/proc/{process.pid}/environ").read_bytes(), process.pid)
"""
    fine, answer = run(program, OPENAI_API_KEY="SECRET").splitlines()
    secret, pid = answer.split()
    assert (fine, secret) == ("fine", "False")
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize(
    ("package", "name", "data"),
    [
        ("selectolax.lexbor", "a.html", b"<p>x"),
        ("pypdfium2", "a.pdf", office_files.pdf([["x"]])),
        ("mammoth", "a.docx", office_files.docx(office_files.paragraph("x"))),
        ("charset_normalizer", "a.txt", "Привет, мир. Это старая кодировка".encode("koi8-r")),
    ],
)
def test_a_missing_package_names_its_extra(
    package: str, name: str, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=r"reflow\[documents\]"):
        read(data, name)
