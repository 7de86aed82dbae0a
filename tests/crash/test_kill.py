"""Rules 1 and 5 against kill -9: an application under load, killed again and again, mostly inside COMMIT."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from reflow.backend import Backend
from reflow.errors import Corrupted, DirectoryInUse, NotOurs, OtherVersion
from reflow.storage.sqlite_file import FILE_NAME
from reflow.values import encode
from tests.crash import bank
from tests.crash.bank import app, state, transfer
from tests.support import ROOT, arun

ROUNDS = 50
ACKNOWLEDGED = 100
INSIDE = ("before", "writing", "written", "synced")
"""Moments between the start of a COMMIT and its return."""
OUTSIDE = ("after", "anywhere")


def one_round(child: subprocess.Popen[str], moment: str, times: int, first: int) -> list[list[str]]:
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(f"{moment} {times} {ACKNOWLEDGED} {first}\n")
    child.stdin.flush()
    said: list[list[str]] = []
    acknowledged = 0
    while not said or said[-1][0] != "ended":
        said.append(child.stdout.readline().split())
        assert said[-1], "the child ended without a word"
        acknowledged += said[-1][0] == "ack"
        if moment == "anywhere" and acknowledged >= ACKNOWLEDGED + times:
            (pid,) = [words[1] for words in said if words[0] == "opened"]
            os.kill(int(pid), signal.SIGKILL)
            moment = "done"
    assert int(said[-1][1]) == signal.SIGKILL, said[-5:]
    assert not [words for words in said if words[0] == "wrong"]
    return said


def check(found: dict[str, Any], acknowledged: set[int], shipped: Counter[int]) -> None:
    transfers: list[int] = found["transfers"]
    assert len(set(transfers)) == len(transfers), "a mutation ran twice"
    assert acknowledged <= set(transfers), f"lost: {sorted(acknowledged - set(transfers))[:10]}"
    accounts = found["accounts"]
    assert sum(account.balance for account in accounts) == 0, "half of a transfer"
    assert sum(account.moves for account in accounts) == 2 * len(transfers), "half of a transfer"
    if transfers:
        assert [hit.doc.n for hit in found["found"]] == transfers[-1:], "half of a transfer: its text"
        assert [hit.doc.n for hit in found["near"]] == transfers[-1:], "half of a transfer: its vector"
    rows: dict[str, Counter[int]] = {"bank:settle": Counter(), "bank:ship": Counter()}
    states: dict[int, str] = {}
    for row in found["scheduled"]:
        rows[row.name][row.args[0]["n"]] += 1
        if row.name == "bank:ship":
            states[row.args[0]["n"]] = row.state.kind
        else:
            assert row.state.kind == "success", row
    for counts in rows.values():
        assert counts == Counter(transfers), "scheduled functions without their mutation, or the reverse"
    assert found["settled"] == transfers, "a scheduled mutation did not run exactly once"
    assert max(shipped.values(), default=0) <= 1, "a scheduled action ran twice"
    assert set(shipped) <= set(transfers), "an action of a mutation that never was"
    for n, kind in states.items():
        assert kind in ("success", "failed"), (n, kind)
        assert kind == "failed" or shipped[n] == 1, "said to have run, and did not"


async def inspect(directory: Path, acknowledged: set[int], shipped: Counter[int], *, replays: bool = True) -> int:
    """Opens what the killed process left, lets what is due run, checks all; returns the number of transfers."""
    bank.ship_out = lambda line: shipped.update([int(line.split()[1])])
    async with app.open(directory) as backend:
        await backend.settled()
        async with backend.engine.reading() as tx:
            found = await state(tx)
        check(found, acknowledged, shipped)
        if replays:
            await replay(backend, acknowledged, len(found["transfers"]))
    return max(found["transfers"], default=0)


async def replay(backend: Backend, acknowledged: set[int], before: int) -> None:
    """A client that did not hear the answer asks again."""
    n = max(acknowledged)
    args = encode({"n": n, "source": 0, "target": 1})
    outcome = await backend.engine.mutation(transfer, args, request=("session", n))
    assert outcome.result.value == b"%d" % n
    async with backend.engine.reading() as tx:
        assert len((await state(tx))["transfers"]) == before, "a replay ran again"


@pytest.mark.timeout(300)
def test_rules_1_and_5_hold_through_kill_9(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    draw = random.Random(seed)
    acknowledged: set[int] = set()
    shipped: Counter[int] = Counter()
    died: Counter[str] = Counter()
    first = 1
    command = [sys.executable, "-m", "tests.crash.bank_child", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        for number in range(ROUNDS):
            moments = OUTSIDE if number % 3 == 2 else INSIDE
            said = one_round(child, moments[number % len(moments)], draw.randint(1, 8), first)
            acks = {int(words[1]) for words in said if words[0] == "ack"}
            assert len(acks) >= ACKNOWLEDGED
            acknowledged |= acks
            shipped.update(int(words[1]) for words in said if words[0] == "ship")
            died.update([next((words[1] for words in said if words[0] == "dies"), "anywhere")])
            if number % 5 == 4 or number == ROUNDS - 1:  # otherwise the next process is the one to recover
                first = arun(inspect(tmp_path, acknowledged, shipped)) + 1
            else:
                first += 100_000
        assert child.stdin is not None
        child.stdin.close()
    inside = sum(died[moment] for moment in INSIDE)
    print(
        f"seed {seed}: {ROUNDS} rounds, {len(acknowledged)} acknowledged mutations, {inside} kills inside COMMIT "
        f"({dict(died)}), {sum(shipped.values())} actions"
    )
    assert inside >= ROUNDS / 4


async def ask_until_killed(process: subprocess.Popen[str], url: str, first: int, acknowledged: set[int]) -> None:
    """Clients ask over HTTP until their server is gone, which it is after so many answers."""
    numbers = itertools.count(first)
    answers = 0

    async def client(http: httpx.AsyncClient) -> None:
        nonlocal answers
        with contextlib.suppress(httpx.TransportError):
            while True:
                n = next(numbers)
                body = {"path": "bank:transfer", "args": {"n": n, "source": n % 7, "target": 7}, "format": "json"}
                answer = (await http.post(f"{url}/api/mutation", json=body)).json()
                assert answer["status"] == "success", answer
                acknowledged.add(n)
                answers += 1
                if answers == ACKNOWLEDGED:
                    process.kill()

    async with httpx.AsyncClient(timeout=30) as http:
        await asyncio.gather(*(client(http) for _ in range(12)))


@pytest.mark.timeout(120)
def test_rule_1_holds_when_the_real_server_is_killed(tmp_path: Path) -> None:
    acknowledged: set[int] = set()
    shipped: Counter[int] = Counter()
    for number in range(4):
        command = [sys.executable, "-m", "tests.crash.bank_server", str(tmp_path)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(["src", "."])}
        with subprocess.Popen(command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            arun(ask_until_killed(process, url, number * 100_000 + 1, acknowledged))
            assert process.wait() == -signal.SIGKILL
            shipped.update(int(line.split()[1]) for line in process.stdout)
        assert len(acknowledged) >= ACKNOWLEDGED * (number + 1)
        arun(inspect(tmp_path, acknowledged, shipped, replays=False))


# Directories that can't be opened, by the public door


def dump(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir()) if path.name != "reflow.lock"}


async def fill(directory: Path) -> None:
    async with app.open(directory) as backend:
        for n in range(50):
            await backend.mutation(transfer, n=n, source=0, target=1)
        await backend.settled()


async def opening(directory: Path) -> None:
    async with app.open(directory):
        pass


def test_a_damaged_database_is_named_and_left_as_it_is(tmp_path: Path) -> None:
    arun(fill(tmp_path))
    path = tmp_path / FILE_NAME
    whole = path.read_bytes()
    damaged = whole[:4096] + b"\xa5" * (len(whole) - 4096)
    path.write_bytes(damaged)
    with pytest.raises(Corrupted, match=r"(?s)reflow.db.*backup"):
        arun(opening(tmp_path))
    assert path.read_bytes() == damaged
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Corrupted, match=r"cut off"):
        arun(opening(tmp_path))


@pytest.mark.parametrize(
    ("place", "data", "error"),
    [(60, (99).to_bytes(4, "big"), OtherVersion), (68, b"else", NotOurs), (0, b"no database here", NotOurs)],
)
def test_a_database_of_another_version_or_program_is_left_as_it_is(
    tmp_path: Path, place: int, data: bytes, error: type[Exception]
) -> None:
    arun(fill(tmp_path))
    path = tmp_path / FILE_NAME
    content = bytearray(path.read_bytes())
    content[place : place + len(data)] = data
    path.write_bytes(content)
    before = dump(tmp_path)
    with pytest.raises(error, match=r"reflow\.db"):
        arun(opening(tmp_path))
    assert dump(tmp_path) == before


def test_a_directory_has_one_server(tmp_path: Path) -> None:
    async def main() -> None:
        async with app.open(tmp_path):
            with pytest.raises(DirectoryInUse, match=rf"open in process {os.getpid()}"):
                await opening(tmp_path)
        await opening(tmp_path)

    arun(main())
