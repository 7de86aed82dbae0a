"""The official React client in a real browser: live queries, optimistic mutations, actions, pages."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from tests.support import ROOT
from tests.support.browser import OpenWindow
from tests.support.node import NODE, installed, node_environment
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
