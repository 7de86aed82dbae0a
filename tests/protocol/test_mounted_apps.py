"""Other applications beside an app's own doors: a FastAPI one with its pages, its lifespan, its websockets."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI, WebSocket
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount as StarletteMount
from starlette.routing import Route
from starlette.testclient import TestClient
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

import reflow as rf
from reflow.errors import DefinitionError, ReflowError
from reflow.functions import Module
from tests.support.servers import Threaded, in_thread
from tests.support.sync_client import SyncClient
from tests.support.tokens import ISSUER

Ctx = Annotated[rf.ActionCtx, Depends(rf.request_ctx)]


class Item(rf.Table, table="items"):
    name: str


items: Module = rf.Module("items")


@items.mutation
async def add(ctx: rf.MutationCtx, name: str) -> int:
    await ctx.db.insert(Item(name=name))
    return await ctx.db.query(Item).count()


@items.query
async def count(ctx: rf.QueryCtx) -> int:
    return await ctx.db.query(Item).count()


@items.query
async def who(ctx: rf.QueryCtx) -> str | None:
    identity = ctx.auth.identity()
    return identity and identity.subject


ran: list[str] = []


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncGenerator[dict[str, Any], None]:
    ran.append("start")
    yield {"greeting": "hello"}
    ran.append("stop")


shop = FastAPI(title="Shop", lifespan=lifespan)


@shop.post("/items/{name}")
async def add_item(ctx: Ctx, name: str) -> dict[str, int]:
    return {"count": await ctx.run_mutation(add, name=name)}


@shop.get("/me")
async def me(ctx: Ctx, request: Request) -> dict[str, Any]:
    return {"who": await ctx.run_query(who), "greeting": request.state.greeting, "url": str(request.url_for("me"))}


@shop.websocket("/socket")
async def talk(ctx: Ctx, socket: WebSocket) -> None:
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(f"{text} {await ctx.run_query(count)}")


def everything_else(text: str) -> Starlette:
    return Starlette(routes=[Route("/{rest:path}", lambda request: PlainTextResponse(f"{text} {request.url.path}"))])


def new_app(**options: Any) -> rf.App:
    app = rf.App(modules=[items], auth=[ISSUER.provider], **options)
    app.mount("/shop", shop)
    app.mount("/shop/inner", everything_else("inner"))
    return app


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Threaded]:
    with in_thread(new_app(), tmp_path_factory.mktemp("data")) as threaded:
        yield threaded


def test_a_fastapi_application_has_ctx_and_its_own_documentation(server: Threaded) -> None:
    with httpx.Client(base_url=server.url) as client:
        assert client.post("/shop/items/tea").json() == {"count": 1}
        assert "Shop" in client.get("/shop/docs").text
        assert "/shop/openapi.json" in client.get("/shop/docs").text
        described = client.get("/shop/openapi.json").json()
        assert set(described["paths"]) == {"/items/{name}", "/me"}
        assert "parameters" not in described["paths"]["/me"]["get"]  # ctx is none
        assert client.get("/shop/nothing").json() == {"detail": "Not Found"}
        assert client.post("/api/query", json={"path": "items:count"}).json()["value"] == 1


def test_the_caller_is_who_the_token_says(server: Threaded) -> None:
    def get(**headers: str) -> dict[str, Any]:
        return httpx.get(f"{server.url}/shop/me", headers=headers).json()

    assert get(authorization=f"Bearer {ISSUER.token('ann')}") == {
        "who": "ann",
        "greeting": "hello",
        "url": f"{server.url}/shop/me",
    }
    assert get()["who"] is None
    assert get(authorization="Bearer forged")["who"] is None


def test_a_live_query_follows_what_a_mounted_application_writes(server: Threaded) -> None:
    with SyncClient(server.url) as client:
        before = client.subscribe(0, "items:count")["value"]
        httpx.post(f"{server.url}/shop/items/more")
        assert client.expect("Transition")["modifications"][0]["value"] == before + 1


def test_a_mounted_application_has_its_websockets(server: Threaded) -> None:
    with connect(f"{server.url.replace('http', 'ws')}/shop/socket") as socket:
        socket.send("x" * 70_000)
        assert str(socket.recv()).partition(" ")[0] == "x" * 70_000
        socket.send("there are")
        assert str(socket.recv()).startswith("there are ")
    for path in ("/nowhere", "/shop/nowhere"):
        with pytest.raises(InvalidStatus):
            connect(f"{server.url.replace('http', 'ws')}{path}")


def test_the_longest_path_goes_first_and_a_bare_one_leads_to_its_slash(server: Threaded) -> None:
    with httpx.Client(base_url=server.url) as client:
        assert client.get("/shop/inner/x").text == "inner /shop/inner/x"
        bare = client.get("/shop?a=1")
        assert (bare.status_code, bare.headers["location"]) == (307, "/shop/?a=1")
        assert client.get("/shopping").status_code == 404


def test_lifespans_run_while_the_app_runs(tmp_path: Path) -> None:
    ran.clear()
    with in_thread(new_app(), tmp_path):
        assert ran == ["start"]
    assert ran == ["start", "stop"]


def test_an_application_that_does_not_start_stops_all(tmp_path: Path) -> None:
    @asynccontextmanager
    async def broken(_: Starlette) -> AsyncGenerator[None, None]:
        raise RuntimeError("no teapot")
        yield

    app = new_app()
    app.mount("/b", Starlette(lifespan=broken))
    ran.clear()
    with (
        pytest.raises(ReflowError, match="mounted at /b does not start: RuntimeError: no teapot"),
        in_thread(app, tmp_path),
    ):
        pass
    assert ran == ["start", "stop"]
    with in_thread(new_app(), tmp_path):  # the directory was given back
        pass


def test_an_application_that_does_not_stop_is_stopped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    @asynccontextmanager
    async def clinging(_: Starlette) -> AsyncGenerator[None, None]:
        yield
        raise RuntimeError("clings on")

    app = rf.App(modules=[])
    app.mount("/x", Starlette(lifespan=clinging))
    with caplog.at_level(logging.ERROR, "reflow.server"), in_thread(app, tmp_path):
        pass
    assert "mounted at /x did not stop as it should: clings on" in caplog.text


def test_plain_asgi_without_a_lifespan_will_do(tmp_path: Path) -> None:
    async def plain(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await PlainTextResponse(scope["root_path"])(scope, receive, send)

    app = rf.App(modules=[])
    app.mount("/", plain)
    with in_thread(app, tmp_path) as server:
        assert httpx.get(f"{server.url}/anything").text == ""
        assert httpx.get(f"{server.url}/").text == ""
        assert httpx.get(f"{server.url}/version").text != ""


def test_all_of_it_works_below_a_prefix(tmp_path: Path) -> None:
    """The app is itself mounted in another application."""
    app = new_app(data=tmp_path)
    with TestClient(Starlette(routes=[StarletteMount("/outer", app)], lifespan=app.lifespan)) as client:
        assert client.post("/outer/shop/items/tea").json() == {"count": 1}
        assert client.get("/outer/shop/me").json()["url"] == "http://testserver/outer/shop/me"
        assert client.get("/outer/shop", follow_redirects=False).headers["location"] == "/outer/shop/"


def test_before_the_start_an_application_answers_503(tmp_path: Path) -> None:
    app = new_app(data=tmp_path)
    with TestClient(Starlette(routes=[StarletteMount("/", app)])) as client:
        response = client.get("/shop/me")
        assert (response.status_code, response.json()["code"]) == (503, "NotStarted")
        assert client.get("/").status_code == 200


@pytest.mark.parametrize(
    ("path", "message"),
    [("/api", "reflow's own"), ("/api/x", "reflow's own"), ("/shop/", "two applications"), ("/{x}", "plain path")],
)
def test_a_mount_that_can_not_work_fails_where_it_is_written(path: str, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        new_app().mount(path, shop)


def test_pages_and_an_application_can_not_both_have_all_the_rest(tmp_path: Path) -> None:
    app = rf.App(modules=[], pages=tmp_path)
    app.mount("/", shop)
    with pytest.raises(DefinitionError, match="can't both"), in_thread(app, tmp_path / "data"):
        pass


def test_ctx_is_for_mounted_applications() -> None:
    with TestClient(shop) as client, pytest.raises(DefinitionError, match=r"App\.mount"):
        client.get("/me")
