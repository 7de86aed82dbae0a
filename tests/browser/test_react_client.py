"""The official React client in a real browser: live queries, optimistic mutations, actions, growing lists."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from threading import Thread
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from tests.support import ROOT
from tests.support.browser import OpenWindow
from tests.support.node import NODE, installed, node_environment
from tests.support.proxy import cutting_proxy
from tests.support.servers import in_process


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page, built with Vite from the npm packages of the client tests."""
    folder = tmp_path_factory.mktemp("react") / "page"
    shutil.copytree(Path(__file__).with_name("react"), folder)
    modules = installed(ROOT / "tests" / "clients")
    (folder / "node_modules").symlink_to(modules)
    vite = modules / "vite" / "bin" / "vite.js"
    command = [str(NODE), str(vite), "build", "--base", "./", "--outDir", "dist", "--logLevel", "error"]
    subprocess.run(command, cwd=folder, env=node_environment(), check=True, stdin=subprocess.DEVNULL)
    return folder / "dist"


@contextmanager
def pages(folder: Path) -> Iterator[str]:
    """Serves static files from a port of its own, as a page in development is."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def send(url: str, body: str) -> None:
    call = {"path": "messages:send", "args": {"author": "py", "body": body}}
    assert httpx.post(f"{url}/api/mutation", json=call).json()["status"] == "success"


def test_every_hook_of_the_react_client(built: Path, tmp_path: Path, open_window: OpenWindow) -> None:
    with in_process(tmp_path) as server, pages(built) as address:
        for n in range(7):
            send(server.url, f"message {n}")
        window = open_window(f"{address}/index.html?server={server.url}")

        # useQuery, and useMutation as if it were done: shown at once, then replaced by the truth
        expect(window.locator("#value")).to_have_text("0")
        window.click("#add")
        expect(window.locator("#value")).to_have_text("1")
        assert window.evaluate("window.seen") == [0, 1000, 1]

        # usePaginatedQuery: newest first; pages keep their ends while documents come
        rows = window.locator("li")
        expect(rows).to_have_text(["message 6", "message 5", "message 4"])
        window.click("#more")
        expect(rows).to_have_text([f"message {n}" for n in (6, 5, 4, 3, 2, 1)])
        send(server.url, "message 7")
        expect(rows).to_have_text([f"message {n}" for n in (7, 6, 5, 4, 3, 2, 1)])
        window.click("#more")
        expect(rows).to_have_text([f"message {n}" for n in (7, 6, 5, 4, 3, 2, 1, 0)])
        expect(window.locator("#status")).to_have_text("Exhausted")

        # useAction: its result, and what it wrote
        window.click("#tell")
        expect(window.locator("#told")).to_have_text("9")
        expect(rows.first).to_have_text("told")


SCHEDULES = 20
WRITERS = 2


class Writers:
    """Threads that change the list, each at moments of its own, and every state that it was in by its number."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self.states: dict[int, list[str]] = {}

    def change(self, ns: list[int], place: int = 0, gone: int = 0, moved: int | None = None) -> int:
        """One mutation; the number of the state that it made."""
        args = {"ns": ns, "place": place, "gone": gone, "moved": moved}
        answer = self._http.post("/api/mutation", json={"path": "lists:change", "args": args}).json()
        assert answer["status"] == "success", answer
        number, ids = answer["value"]
        self.states[int(number)] = ids
        return int(number)

    def write(self, seed: int) -> None:
        """About half a second of inserts, removals and moves."""
        chance = Random(seed)
        for _ in range(chance.randrange(10, 30)):
            ns = [chance.randrange(100) for _ in range(chance.choice([0, 1, 1, 2, 6]))]
            gone = chance.choice([0, 0, 1, 2, 5])
            self.change(ns, chance.randrange(1000), gone, chance.choice([None, chance.randrange(100)]))
            time.sleep(chance.random() * 0.03)


def check_shown(shown: list[list[Any]], states: dict[int, list[str]]) -> set[tuple[int, int, int]]:
    """Everything shown was a beginning of the list in its state, all of it where it said so; what was shown."""
    seen: set[tuple[int, int, int]] = set()
    for number, hook, items, status in shown:
        if number is None:
            assert items == []
            continue
        whole = states[int(number)]
        if items != whole[: len(items)]:
            others = [other for other in states if items == states[other][: len(items)]]
            pytest.fail(f"hook {hook} ({status}) shows no beginning of state {number}, but of the states {others}")
        assert status != "Exhausted" or items == whole, (number, hook)
        seen.add((int(number), hook, len(items)))
    return seen


@pytest.mark.slow
def test_paginated_queries_have_no_gap_and_no_duplicate(
    built: Path, tmp_path: Path, open_window: OpenWindow, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both hooks, while documents come, go and move, pages are asked for and split, and the connection drops."""
    states = renders = cuts = 0
    with (
        in_process(tmp_path, "tests.support.lists_app") as server,
        pages(built) as address,
        cutting_proxy(server.port) as way,
        httpx.Client(base_url=server.url, timeout=30, headers={"connection": "close"}) as http,
    ):
        writers = Writers(http)
        writers.change(list(range(0, 100, 5)))
        window = open_window(f"{address}/index.html?server={way.url}&lists=1", may_complain=True)
        window.wait_for_function("window.lists !== undefined && window.lists.number !== undefined")
        for seed in range(1, SCHEDULES + 1):
            threads = [Thread(target=writers.write, args=(seed * WRITERS + place,)) for place in range(WRITERS)]
            window.evaluate(f"void window.play({seed})")
            for thread in threads:
                thread.start()
            if seed % 5 == 0:
                way.cut()
                cuts += 1
            for thread in threads:
                thread.join()
            window.evaluate("window.stop = true")
            window.evaluate("number => window.finish(number)", max(writers.states))
            shown = window.evaluate("window.shown.splice(0)")
            renders += len(shown)
            states += len(check_shown(shown, writers.states))
            if len(writers.states[max(writers.states)]) > 60:
                writers.change([], 0, 40)
    assert states > SCHEDULES
    with capsys.disabled():
        print(
            f"\n{SCHEDULES} schedules ({WRITERS} writers, 2 hooks, {cuts} dropped connections): "
            f"{len(writers.states)} states of the list, {renders} renders, {states} distinct (state, hook, length)"
        )
