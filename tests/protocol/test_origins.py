"""Pages of other sites: whose may use a server."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import InvalidStatus

import reflow as rf
from reflow.errors import DefinitionError
from reflow.server.http_errors import HttpError
from reflow.server.origins import Origins
from tests.support.app_under_test import counters, extra, messages
from tests.support.servers import Threaded, in_thread
from tests.support.sync_client import SyncClient

FOREIGN = "https://example.org"


def served(origins: Origins, origin: str, **headers: str) -> bool:
    """Whether a page of that origin is."""
    named = {b"origin": origin.encode("latin-1")}
    named |= {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    try:
        origins.check(named)
    except HttpError as error:
        return error.status != 403
    return True


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.1.2.3"])
def test_a_server_of_this_machine_alone_serves_its_pages_and_proxies(host: str) -> None:
    origins = Origins()
    origins.listen_at(host)
    origins.check({})
    for origin in (
        "http://localhost:5173",
        "http://127.0.0.1:8000",
        "https://[::1]",
        "http://app.localhost",
        "tauri://localhost",
    ):
        assert served(origins, origin, host="127.0.0.1:3210"), origin
    for origin in (
        FOREIGN,
        "null",
        "",
        "http://localhost.example.org",
        "http://127.0.0.1.example.org",
        "https://[::",
        "é",
    ):
        assert not served(origins, origin, host="127.0.0.1:3210"), origin
    # a name of someone else's that leads to this machine: the page says that it is of this server
    assert not served(origins, "http://example.org:3210", host="example.org:3210")
    assert served(origins, FOREIGN, host="example.org", x_forwarded_for="203.0.113.7")
    assert served(origins, FOREIGN, forwarded="for=203.0.113.7")


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "reflow.example.org"])
def test_a_public_server_serves_every_page(host: str) -> None:
    origins = Origins()
    origins.listen_at(host)
    assert served(origins, FOREIGN)
    assert served(origins, "null")


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1"])
def test_named_origins_and_the_servers_own_are_served_and_no_others(host: str) -> None:
    origins = Origins(["https://Example.org", "http://localhost:5173", "https://*.example.com", "https://*.a.org:8443"])
    origins.listen_at(host)
    for origin in (
        FOREIGN,
        "http://localhost:5173",
        "https://a.example.com",
        "https://a.b.example.com",
        "https://x.a.org:8443",
    ):
        assert served(origins, origin), origin
    for origin in (
        "http://example.org",
        "https://example.org:8443",
        "https://www.example.org",
        "http://localhost:5174",
        "https://example.com",
        "https://notexample.com",
        "http://a.example.com",
        "https://a.example.com:444",
        "https://x.a.org",
        "https://example.com.evil.net",
        "null",
    ):
        assert not served(origins, origin, x_forwarded_for="203.0.113.7"), origin
    assert served(origins, "http://127.0.0.1:3210", host="127.0.0.1:3210")
    assert served(origins, "https://app.net", host="app.net", x_forwarded_for="203.0.113.7")
    assert served(origins, "https://app.net", host="app.net") is (host == "0.0.0.0")


def test_all_may_be_named() -> None:
    origins = Origins(["*"])
    origins.listen_at("127.0.0.1")
    assert served(origins, FOREIGN)
    assert served(origins, "null")


@pytest.mark.parametrize(
    "text", ["", "example.org", "https://", "https://example.org/", "https://a/b", "http://[::", "://x"]
)
def test_what_is_no_origin_is_refused_at_definition(text: str) -> None:
    with pytest.raises(DefinitionError, match="is no origin"):
        rf.App(modules=[], origins=[text])


def test_a_foreign_page_gets_nowhere(server: Threaded) -> None:
    """The server listens on the loopback address. What a page may send without asking first is refused too."""
    headers = {"origin": FOREIGN, "content-type": "text/plain"}
    with httpx.Client(base_url=server.url) as http:
        call = json.dumps({"path": "lib/counters:addOne", "args": {"name": "foreign"}})
        refused = http.post("/api/mutation", content=call, headers=headers)
        assert refused.status_code == 403
        assert refused.json()["code"] == "ForbiddenOrigin"
        assert "App(origins=[...])" in refused.json()["message"]
        assert http.options("/api/mutation", headers=headers).status_code == 403
        for answer in (
            refused,
            http.get("/api/query?path=extra", headers=headers),
            http.get("/version", headers=headers),
        ):
            assert answer.status_code == 403
            assert "access-control-allow-origin" not in answer.headers
        value = http.post("/api/query", json={"path": "lib/counters:valueOf", "args": {"name": "foreign"}})
        assert value.json()["value"] == 0
    with pytest.raises(InvalidStatus) as closed:
        SyncClient(server.url, origin=FOREIGN)
    assert closed.value.response.status_code == 403
    with SyncClient(server.url, origin="http://localhost:5173") as client:
        assert client.subscribe(0, "extra:default")["value"] == "the default"


def test_an_app_that_names_origins(tmp_path: Path) -> None:
    named = rf.App(modules=[extra, messages, counters], origins=[FOREIGN])
    with in_thread(named, tmp_path) as threaded:
        with SyncClient(threaded.url, origin=FOREIGN) as client:
            assert client.subscribe(0, "extra:default")["value"] == "the default"
        with SyncClient(threaded.url, origin=threaded.url) as client:
            assert client.subscribe(0, "extra:default")["value"] == "the default"
        with pytest.raises(InvalidStatus):
            SyncClient(threaded.url, origin="http://localhost:5173")
        answer = httpx.post(f"{threaded.url}/api/query", json={"path": "extra"}, headers={"origin": FOREIGN})
        assert answer.headers["access-control-allow-origin"] == FOREIGN
