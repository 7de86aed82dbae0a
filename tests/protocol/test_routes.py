"""An app's own endpoints over HTTP: what they get, what they answer, what is refused."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

import reflow as rf
from reflow.errors import DefinitionError
from tests.support.servers import Threaded, in_thread
from tests.support.tokens import ISSUER

BODY = 1000


class Item(rf.Table, table="items"):
    name: str


items = rf.Module("items")


@items.internal_mutation
async def add(ctx: rf.MutationCtx, name: str) -> int:
    if not name:
        raise rf.ApplicationError({"field": "name"})
    await ctx.db.insert(Item(name=name))
    return await ctx.db.query(Item).count()


@items.query
async def who(ctx: rf.QueryCtx) -> str | None:
    identity = ctx.auth.identity()
    return identity and identity.subject


hooks = rf.Router("/hooks")
held = asyncio.Event()


@hooks.route("/items/{name}", methods=["POST"])
async def add_item(ctx: rf.ActionCtx, request: Request) -> Response:
    count = await ctx.run_mutation(add, name=request.path_params["name"] + (await request.body()).decode())
    return JSONResponse({"count": count}, status_code=201)


@hooks.route("/items/{number:int}")
async def item(ctx: rf.ActionCtx, request: Request) -> Response:
    return JSONResponse({"number": request.path_params["number"], "query": dict(request.query_params)})


@hooks.route("/files/{rest:path}", methods=["GET", "DELETE"])
async def file(ctx: rf.ActionCtx, request: Request) -> Response:
    return PlainTextResponse(f"{request.method} {request.path_params['rest']}")


app = rf.App(
    modules=[items],
    routes=[hooks],
    environment={"COLOR": "red"},
    limits=rf.Limits(body_bytes=BODY, route_requests=3, action_seconds=30),
)


@app.route("/who")
async def who_calls(ctx: rf.ActionCtx, request: Request) -> Response:
    nested = await ctx.run_query(who)
    if "ask" not in request.query_params:
        return JSONResponse({"nested": nested})
    identity = ctx.auth.identity()
    return JSONResponse({"nested": nested, "own": identity and identity.subject})


FAILED = {"code": "InternalServerError", "message": "this endpoint failed; the server's log says why"}

FAILURES: dict[str, Callable[[], BaseException]] = {
    "application": lambda: rf.ApplicationError({"field": "name"}),
    "unsendable": lambda: rf.ApplicationError(object()),
    "half": lambda: rf.ApplicationError("half \ud800"),
    "http": lambda: HTTPException(418, "short and stout", {"X-Pot": "tea"}),
    "strange": lambda: HTTPException(499, "strange"),
    "impossible": lambda: HTTPException(999, "impossible"),
    "header": lambda: HTTPException(400, "split", {"X-Pot": "tea\r\nset-cookie: evil"}),
    "unspeakable": lambda: HTTPException(400, "euro", {"X-Price": "1 €"}),
    "exit": lambda: SystemExit("the password is hunter2"),
    "cancelled": lambda: asyncio.CancelledError(),
    "bug": lambda: RuntimeError("the password is hunter2"),
    "timeout": lambda: TimeoutError("of the handler's own"),
}


@app.route("/fail/{how}", methods=["GET", "POST"])
async def fail(ctx: rf.ActionCtx, request: Request) -> Response:
    raise FAILURES[request.path_params["how"]]()


@app.route("/dict")
async def gives_a_dict(ctx: rf.ActionCtx, request: Request) -> Any:
    return {"not": "a response"}


@app.route("/stream")
async def stream(ctx: rf.ActionCtx, request: Request) -> Response:
    async def parts() -> AsyncIterator[str]:
        for number in range(3):
            yield f"{number} {await ctx.run_query(who)}\n"
        if "break" in request.query_params:
            raise RuntimeError("midway")

    return StreamingResponse(parts(), media_type="text/plain")


@app.route("/upload", methods=["POST"])
async def upload(ctx: rf.ActionCtx, request: Request) -> Response:
    return JSONResponse(sum([len(part) async for part in request.stream()]))


@app.route("/hold")
async def hold(ctx: rf.ActionCtx, request: Request) -> Response:
    await held.wait()
    return PlainTextResponse("let go")


@app.route("/inside")
async def inside(ctx: rf.ActionCtx, request: Request) -> Response:
    await ctx.scheduler.run_after(0, add, name="scheduled")
    return JSONResponse({"color": ctx.env["COLOR"], "path": request.url.path, "now": ctx.auth.identity() is None})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Threaded]:
    with in_thread(app, tmp_path_factory.mktemp("data")) as threaded:
        yield threaded


@pytest.fixture
def client(server: Threaded) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url) as client:
        yield client


def test_a_route_runs_functions_and_answers(client: httpx.Client) -> None:
    response = client.post("/hooks/items/te", content="a")
    assert (response.status_code, response.json()) == (201, {"count": 1})
    assert client.get("/hooks/items/b%2Fc").status_code == 404  # {name} ends at a slash
    assert client.get("/inside").json() == {"color": "red", "path": "/inside", "now": True}


def test_paths_and_methods(client: httpx.Client) -> None:
    assert client.get("/hooks/items/7?a=1&b=x").json() == {"number": 7, "query": {"a": "1", "b": "x"}}
    assert client.get("/hooks/files/a/b.txt").text == "GET a/b.txt"
    assert client.delete("/hooks/files/").text == "DELETE "
    head = client.head("/hooks/files/a")
    assert (head.status_code, head.content) == (200, b"")
    refused = client.put("/hooks/items/7")
    assert (refused.status_code, refused.json()["code"]) == (405, "MethodNotAllowed")
    assert set(refused.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}
    for path in ("/hooks/items/x%0A/", "/hooks", "/hooks/items/", f"/hooks/items/{'9' * 5000}", "/who/"):
        assert client.get(path).status_code == 404, path


@pytest.mark.parametrize(
    ("how", "status", "body"),
    [
        ("application", 400, {"code": "ApplicationError", "message": "{'field': 'name'}", "data": {"field": "name"}}),
        ("http", 418, {"code": "I'maTeapot", "message": "short and stout"}),
        ("strange", 499, {"code": "HttpError", "message": "strange"}),
        *((how, 500, FAILED) for how in ("bug", "timeout", "exit", "cancelled", "impossible", "header", "unspeakable")),
    ],
)
def test_what_a_handler_raises_becomes_an_answer(
    client: httpx.Client, how: str, status: int, body: dict[str, Any]
) -> None:
    response = client.get(f"/fail/{how}")
    assert (response.status_code, response.json()) == (status, body)
    assert response.headers.get("x-pot") == ("tea" if how == "http" else None)


@pytest.mark.parametrize("how", ["unsendable", "half"])
def test_data_that_can_not_be_sent_leaves_an_answer(
    client: httpx.Client, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "reflow.functions"):
        response = client.get(f"/fail/{how}")
    assert (response.status_code, set(response.json())) == (400, {"code", "message"})
    assert "data that can't be sent" in caplog.text


def test_a_failure_is_logged_with_its_place_and_told_without(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "reflow.functions"):
        told = [client.get(path).text for path in ("/fail/bug", "/dict")]
        told.append(client.post("/hooks/items/%20", content="x" * 10).text)
    assert "GET|POST /fail/{how} raised" in caplog.text
    assert "hunter2" in caplog.text
    assert "the handler returned dict: return a Response" in caplog.text
    assert not [text for text in told if "hunter2" in text or "Traceback" in text or "dict" in text]


def test_a_function_that_fails_is_the_handler_s_affair(tmp_path: Path) -> None:
    """An error that the handler does not catch is the server's: whoever sends a hook tries again."""
    router = rf.Router()

    @router.route("/add", methods=["POST"])
    async def add_wrongly(ctx: rf.ActionCtx, request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        await ctx.run_mutation(add, name=5)  # pyright: ignore[reportArgumentType]
        return Response()

    with in_thread(rf.App(modules=[items], routes=[router]), tmp_path) as server:
        assert httpx.post(f"{server.url}/add").status_code == 500


# Bodies and streams


def test_a_body_has_a_bound(client: httpx.Client) -> None:
    assert client.post("/upload", content=b"x" * BODY).json() == BODY
    for content in (b"x" * (BODY + 1), iter([b"x" * 600, b"x" * 600])):
        response = client.post("/upload", content=content)
        assert (response.status_code, response.json()["code"]) == (413, "BodyTooLarge")
        assert "limits.body_bytes" in response.json()["message"]


def test_a_response_can_be_streamed(client: httpx.Client) -> None:
    assert client.get("/stream").text == "0 None\n1 None\n2 None\n"


def test_a_stream_that_breaks_is_cut_off_and_logged(client: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR), pytest.raises(httpx.RemoteProtocolError):
        client.get("/stream?break=1")
    assert "midway" in caplog.text
    assert client.get("/stream").status_code == 200


def test_a_client_that_leaves_midway_leaves_no_trace(
    server: Threaded, client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        for _ in range(5):  # more than limits.route_requests
            with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as raw:
                raw.sendall(b"POST /upload HTTP/1.1\r\nhost: x\r\ncontent-length: 500\r\n\r\nabc")
        for _ in range(100):
            if client.post("/upload", content=b"abc").status_code == 200:
                break
        assert client.post("/upload", content=b"abc").json() == 3
    assert not caplog.records


def test_only_so_many_run_at_once(server: Threaded) -> None:
    async def main() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=server.url) as client:
            waiting = [asyncio.create_task(client.get("/hold")) for _ in range(4)]
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            server.loop.call_soon_threadsafe(held.set)
            assert len(done) == 1
            return await asyncio.gather(*waiting)

    responses = asyncio.run(main())
    assert sorted(response.status_code for response in responses) == [200, 200, 200, 503]
    (refused,) = [response for response in responses if response.status_code == 503]
    assert "limits.route_requests = 3" in refused.json()["message"]


def test_a_handler_that_does_not_end_is_ended(tmp_path: Path) -> None:
    router = rf.Router()

    @router.route("/sleep")
    async def sleep(ctx: rf.ActionCtx, request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        await asyncio.sleep(3600)
        return Response()

    slow = rf.App(modules=[], routes=[router], limits=rf.Limits(action_seconds=0.05))
    with in_thread(slow, tmp_path) as server:
        response = httpx.get(f"{server.url}/sleep")
    assert (response.status_code, response.json()["code"]) == (504, "FunctionTimeout")


# Who calls


@pytest.mark.parametrize("header", ["Bearer forged.token.here", "Basic dTpw", "Bearer whsec", "Convex nonsense", "x"])
def test_a_token_that_is_not_accepted_matters_to_whoever_asks_who_calls(client: httpx.Client, header: str) -> None:
    """Webhooks bring tokens of their own: a handler that does not ask is not disturbed, and nobody is signed in."""
    assert client.get("/who", headers={"authorization": header}).json() == {"nested": None}
    refused = client.get("/who?ask=1", headers={"authorization": header})
    assert refused.status_code == 401, refused.text
    assert refused.json()["message"]
    assert client.get("/who?ask=1").json() == {"nested": None, "own": None}


def test_a_user_s_token_makes_the_caller(tmp_path: Path) -> None:
    signed_in = rf.App(modules=[items], auth=[ISSUER.provider])
    signed_in.route("/who")(who_calls)
    header = {"authorization": f"Bearer {ISSUER.token('ann')}"}
    with in_thread(signed_in, tmp_path) as server:
        assert httpx.get(f"{server.url}/who?ask=1", headers=header).json() == {"nested": "ann", "own": "ann"}
        assert httpx.get(f"{server.url}/who?ask=1").json() == {"nested": None, "own": None}


# What goes before what


def test_reflow_s_own_paths_go_first_and_pages_last(tmp_path: Path) -> None:
    pages = tmp_path / "pages"
    pages.mkdir()
    (pages / "index.html").write_text("the page")
    router = rf.Router()

    @router.route("/a/{anything:path}", methods=["POST"])
    async def anything(ctx: rf.ActionCtx, request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        return PlainTextResponse(request.path_params["anything"])

    @router.route("/{name}")
    async def named(ctx: rf.ActionCtx, request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        return PlainTextResponse("mine")

    with in_thread(rf.App(modules=[items], routes=[router], pages=pages), tmp_path / "data") as server:
        assert httpx.post(f"{server.url}/api/query", json={"path": "items:who"}).json()["value"] is None
        assert httpx.post(f"{server.url}/api/nothing").json()["code"] == "NotFound"
        assert httpx.get(f"{server.url}/version").text != "mine"
        assert httpx.post(f"{server.url}/a/b").text == "b"
        assert httpx.get(f"{server.url}/a").text == "mine"
        assert httpx.get(f"{server.url}/").text == "the page"
        assert httpx.get(f"{server.url}/a/b").status_code == 405  # the path is a route's


# Definitions


@pytest.mark.parametrize(
    ("path", "methods", "message"),
    [
        ("hooks", ["GET"], "no path"),
        ("/a//b", ["GET"], "no path"),
        ("/a?b", ["GET"], "no path"),
        ("/api/x", ["GET"], "reflow's own"),
        ("/version", ["GET"], "reflow's own"),
        ("/{x:nothing}", ["GET"], "Unknown path convertor"),
        ("/{x}/{x}", ["GET"], "Duplicated"),
        ("/x", ["get"], "no method"),
        ("/x", "GET", "a list"),
        ("/x", [], "needs a method"),
        ("/taken", ["POST", "GET"], "two routes answer GET /taken"),
    ],
)
def test_a_route_that_can_not_work_fails_where_it_is_written(path: str, methods: Any, message: str) -> None:
    router = rf.Router()

    @router.route("/taken")
    async def taken(ctx: rf.ActionCtx, request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        return Response()

    with pytest.raises(DefinitionError, match=message):

        @router.route(path, methods=methods)
        async def wrong(ctx: rf.ActionCtx, request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
            return Response()

    assert len(router.routes) == 1


def test_a_plain_function_is_no_handler() -> None:
    def plain(ctx: rf.ActionCtx, request: Request) -> Any:
        return Response()

    with pytest.raises(DefinitionError, match="async def"):
        rf.Router().route("/x")(plain)


def test_two_routers_can_not_have_the_same_route(tmp_path: Path) -> None:
    routers = [rf.Router(), rf.Router("/a")]
    for router, path in zip(routers, ("/a/b", "/b"), strict=True):

        @router.route(path)
        async def same(ctx: rf.ActionCtx, request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
            return Response()

    with (
        pytest.raises(DefinitionError, match="two routes answer GET /a/b"),
        in_thread(rf.App(modules=[], routes=routers), tmp_path),
    ):
        pass


def test_settings_that_only_a_route_needs_are_looked_for_too() -> None:
    code = """
import reflow as rf
class Only(rf.Settings):
    only_here: str
async def handler(ctx, request): ...
"""
    names: dict[str, Any] = {"__name__": "elsewhere"}
    exec(code, names)
    one = rf.App(modules=[])
    assert [kind.__name__ for kind in one.settings] == []
    one.route("/only")(names["handler"])
    assert [kind.__name__ for kind in one.settings] == ["Only"]
    assert json.dumps([route.path for route in one.router]) == '["/only"]'
