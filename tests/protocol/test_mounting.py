"""An app as plain ASGI: mounted in another application, at a prefix, under other servers, before its start."""

from __future__ import annotations

import asyncio
import threading
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp
from websockets.exceptions import InvalidStatus

import reflow as rf
from reflow.server.fast_socket import FastSocket
from tests.support.app_under_test import counters, extra, messages
from tests.support.sync_client import SyncClient, added

with warnings.catch_warnings():  # Starlette prefers a successor of httpx
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient


def new_app(data: Path, **options: Any) -> rf.App:
    return rf.App(modules=[messages, counters, extra], data=data, durability="relaxed", **options)


def inside(app: rf.App, prefix: str, lifespan: bool = True) -> Starlette:
    """Another application around the app, as FastAPI is one."""
    hello = Route("/hello", lambda request: PlainTextResponse("hello"))
    return Starlette(routes=[hello, Mount(prefix, app)], lifespan=app.lifespan if lifespan else None)


@contextmanager
def served(asgi: ASGIApp, ws: Any) -> Generator[str, None, None]:
    """uvicorn as anybody would run it, in a thread."""
    config = uvicorn.Config(asgi, port=0, ws=ws, log_config=None, log_level="critical")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    while not server.started:
        assert thread.is_alive()
        threading.Event().wait(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


@pytest.mark.parametrize("ws", [FastSocket, "websockets-sansio", "auto"])
@pytest.mark.parametrize("prefix", ["", "/inner/place"])
def test_a_mounted_app_works_beside_other_routes(tmp_path: Path, ws: Any, prefix: str) -> None:
    app = new_app(tmp_path)
    with served(inside(app, prefix or "/"), ws) as url:
        assert httpx.get(f"{url}/hello").text == "hello"
        call = {"path": "lib/counters:addOne", "args": {"name": "x"}}
        assert httpx.post(f"{url}{prefix}/api/mutation", json=call).json()["value"] == 1
        with SyncClient(f"{url}{prefix}") as client:
            assert client.subscribe(0, "lib/counters:valueOf", {"name": "x"})["value"] == 1
            assert client.mutate("lib/counters:addOne", {"name": "x"})["result"] == 2
            assert client.results[0] == 2
            large = client.subscribe(1, "extra:large", {"name": "x", "size": 3_000_000})  # in chunks
            assert large["value"] == "2:" + "x" * 3_000_000
            client.call("Nothing", "")
            assert "Nothing" in client.expect("FatalError")["error"]
            assert client.closed().rcvd is not None


@pytest.mark.parametrize("ws", [FastSocket, "websockets-sansio"])
def test_an_app_is_an_application_of_its_own(tmp_path: Path, ws: Any) -> None:
    with served(new_app(tmp_path), ws) as url, SyncClient(url) as client:
        assert client.mutate("lib/counters:addOne", {"name": "x"})["result"] == 1


def test_the_plain_way_through_asgi(tmp_path: Path) -> None:
    """Starlette's test client: no socket at all, `send` and `receive` only."""
    with TestClient(new_app(tmp_path)) as client:
        assert client.post("/api/query", json={"path": "extra"}).json()["value"] == "the default"
        with client.websocket_connect("/api/sync") as socket:
            socket.send_json({"type": "Connect", "sessionId": "s", "connectionCount": 0})
            modify = {"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1}
            socket.send_json({**modify, "modifications": [added(0, "messages:count")]})
            assert socket.receive_json()["modifications"][0]["value"] == 0
            call = {"requestId": 0, "udfPath": "messages:send", "args": [{"author": "a", "body": "b"}]}
            socket.send_json({"type": "Mutation", **call})
            assert socket.receive_json()["type"] == "MutationResponse"
            assert socket.receive_json()["modifications"][0]["value"] == 1
            socket.send_bytes(b"binary")
            assert socket.receive_json()["type"] == "FatalError"
            assert socket.receive() == {"type": "websocket.close", "code": 1008, "reason": "BadMessage"}


def test_before_its_start_an_app_answers_503(tmp_path: Path) -> None:
    asgi = inside(new_app(tmp_path), "/", lifespan=False)
    with served(asgi, FastSocket) as url:
        response = httpx.post(f"{url}/api/query", json={"path": "extra"})
        assert response.status_code == 503
        assert "lifespan" in response.json()["message"]
        with pytest.raises(InvalidStatus):
            SyncClient(url)


def test_a_failing_start_is_told_to_the_server(tmp_path: Path) -> None:
    (tmp_path / "in the way").write_text("")
    app = new_app(tmp_path / "in the way")
    with pytest.raises(BaseException, match="in the way"), TestClient(app):
        pass


# Pages


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pages = tmp_path / "pages"
    (pages / "assets").mkdir(parents=True)
    (pages / "index.html").write_text("<h1>index</h1>")
    (pages / "assets" / "main-1a2b.js").write_text("export {}")
    (tmp_path / "outside.txt").write_text("secret")
    return pages


def test_pages_are_served_with_their_types(tmp_path: Path, folder: Path) -> None:
    with TestClient(new_app(tmp_path / "data", pages=folder)) as client:
        index = client.get("/")
        assert index.text == "<h1>index</h1>"
        assert index.headers["content-type"].startswith("text/html")
        assert index.headers["cache-control"] == "no-cache"
        script = client.get("/assets/main-1a2b.js")
        assert "javascript" in script.headers["content-type"]
        assert "immutable" in script.headers["cache-control"]
        assert client.get("/some/place").text == "<h1>index</h1>"  # the page's own router knows it
        assert client.get("/missing.js").status_code == 404
        assert client.post("/").status_code == 405
        assert client.head("/").status_code == 200


@pytest.mark.parametrize(
    "path",
    ["/../outside.txt", "/%2e%2e/outside.txt", "/assets/..%2f..%2foutside.txt", "//outside.txt", "/..%5coutside.txt"],
)
def test_nothing_outside_of_the_folder_is_served(tmp_path: Path, folder: Path, path: str) -> None:
    with served(new_app(tmp_path / "data", pages=folder), FastSocket) as url:
        response = httpx.get(url + path)
        assert "secret" not in response.text


def test_pages_that_are_not_built_are_missed_politely(tmp_path: Path) -> None:
    with TestClient(new_app(tmp_path / "data", pages=tmp_path / "nowhere")) as client:
        assert "not built" in client.get("/").text
        assert client.get("/other").status_code == 404


@pytest.mark.parametrize("prefix", ["", "/inner/place"])
def test_pinecones_api_works_where_an_app_is_mounted(tmp_path: Path, prefix: str) -> None:
    """The host of an index is below the prefix, and there it answers."""
    app = new_app(tmp_path, environment={"REFLOW_PINECONE_API_KEY": "key"})
    with served(inside(app, prefix or "/"), "auto") as url, httpx.Client(headers={"api-key": "key"}) as client:
        made = client.post(f"{url}{prefix}/indexes", json={"name": "x", "dimension": 2})
        assert made.json()["host"] == f"{url}{prefix}/i/x"
        body = {"vectors": [{"id": "a", "values": [1, 2]}], "namespace": "a/b"}
        assert client.post(f"{made.json()['host']}/vectors/upsert", json=body).json() == {"upsertedCount": 1}
        found = client.get(f"{made.json()['host']}/namespaces/a%2Fb").json()
        assert (found["name"], found["record_count"]) == ("a/b", 1)


def test_pinecones_api_waits_for_the_start(tmp_path: Path) -> None:
    app = new_app(tmp_path, environment={"REFLOW_PINECONE_API_KEY": "key"})
    with TestClient(inside(app, "/", lifespan=False)) as client:
        response = client.get("/indexes", headers={"api-key": "key"})
        assert response.status_code == 503
        assert response.json()["code"] == "NotStarted"
