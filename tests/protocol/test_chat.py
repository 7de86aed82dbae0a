"""The chat's door over HTTP, against a real `reflow serve`: sessions, what is refused, what is a team's own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from tests.support import ROOT
from tests.support.cli import reflow, running

APP = ROOT / "examples" / "chat" / "app.py"
PASSWORD = "correct horse"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("chat")
    with running("serve", APP, "--port", "0", cwd=folder) as server:
        url = server.until(r"http://[\w.]+:\d+").group()
        for name, team in {"Ada": "Engines", "Linus": "Kernels"}.items():
            account = {"name": name, "team": team, "password": PASSWORD}
            made = reflow("run", "accounts:create", json.dumps(account), cwd=folder)
            assert made.status == 0, made.err
        yield url


class Browser:
    """A browser without a page: its cookies, and the token of who is signed in."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def sign_in(self, name: str) -> str:
        token = self.http.post("/session/sign-in", json={"name": name, "password": PASSWORD}).json()["token"]
        self.http.headers["authorization"] = f"Bearer {token}"
        return token

    def token(self) -> str | None:
        return self.http.post("/session/token", json={}).json()["token"]

    def call(self, kind: str, path: str, **args: Any) -> Any:
        answer = self.http.post(f"/api/{kind}", json={"path": path, "args": args}).json()
        return answer["value"] if answer["status"] == "success" else answer["errorMessage"]


@pytest.fixture
def browse(address: str) -> Iterator[Callable[[], Browser]]:
    """Opens browsers."""
    with ExitStack() as stack:
        yield lambda: Browser(stack.enter_context(httpx.Client(base_url=address, timeout=60)))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"name": 1, "password": null}',
        b'{"name": "\xff", "password": "x"}',
        b'{"name": "\\ud800", "password": "x"}',
        b'{"name": "Ada", "password": "x", "more": ' + b"[" * 100_000,
    ],
)
def test_what_is_no_sign_in_is_told_so(address: str, body: bytes) -> None:
    refused = httpx.post(f"{address}/session/sign-in", content=body, headers={"content-type": "application/json"})
    assert (refused.status_code, "password" in refused.json()["error"]) == (400, True)


@pytest.mark.parametrize("place", ["sign-in", "token", "sign-out"])
def test_what_another_site_s_form_can_send_is_refused(browse: Callable[[], Browser], place: str) -> None:
    browser = browse()
    browser.sign_in("Ada")
    forms: list[dict[str, Any]] = [
        {"data": {"name": "Ada"}},
        {"content": b"{}", "headers": {"content-type": "text/plain"}},
        {},
    ]
    for form in forms:
        refused = browser.http.post(f"/session/{place}", **form)
        assert (refused.status_code, refused.headers.get("set-cookie")) == (415, None)
    assert browser.token()


def test_an_unknown_name_is_refused_like_a_wrong_password(address: str) -> None:
    refused = [
        httpx.post(f"{address}/session/sign-in", json={"name": name, "password": "wrong"}, timeout=60)
        for name in ("Ada", "Nobody")
    ]
    assert [answer.status_code for answer in refused] == [401, 401]
    assert refused[0].text == refused[1].text


def test_a_session_ends_where_it_is_ended_and_where_another_begins(browse: Callable[[], Browser]) -> None:
    browser, other = browse(), browse()
    browser.sign_in("Ada")
    first = dict(browser.http.cookies)
    browser.sign_in("Linus")
    other.http.cookies.update(first)
    assert other.token() is None, "who signs in anew leaves no session behind"
    copied = dict(browser.http.cookies)
    assert browser.http.post("/session/sign-out", json={}).status_code == 204
    other.http.cookies.clear()
    other.http.cookies.update(copied)
    assert (browser.token(), other.token()) == (None, None)


def test_many_who_begin_at_once_get_one_channel(browse: Callable[[], Browser]) -> None:
    browser = browse()
    browser.sign_in("Linus")
    with ThreadPoolExecutor(8) as several:
        ids = set(several.map(lambda _: browser.call("mutation", "channels:begin"), range(16)))
    assert [channel["_id"] for channel in browser.call("query", "channels:all")] == list(ids)


def test_names_of_channels_are_plain_and_sorted(browse: Callable[[], Browser]) -> None:
    browser = browse()
    browser.sign_in("Ada")
    ids = {browser.call("mutation", "channels:create", name=name) for name in ("# Steam  engines", "steam\nengines")}
    browser.call("mutation", "channels:create", name="boilers")
    names = [channel["name"] for channel in browser.call("query", "channels:all")]
    assert (len(ids), [name for name in names if name != "general"]) == (1, ["boilers", "steam engines"])
    assert "1 to 40 characters" in browser.call("mutation", "channels:create", name=" # ")


def test_who_names_another_team_s_channel_gets_nothing(browse: Callable[[], Browser]) -> None:
    ada, linus, nobody = browse(), browse(), browse()
    ada.sign_in("Ada")
    linus.sign_in("Linus")
    channel = ada.call("mutation", "channels:begin")
    ada.call("mutation", "messages:send", channel=channel, body="ours")
    pages = [
        browser.call("query", "messages:page", channel=channel, paginationOpts={"numItems": 5, "cursor": None})
        for browser in (ada, linus, nobody)
    ]
    assert [[message["body"] for message in page["page"]] for page in pages] == [["ours"], [], []]
    assert "This channel is gone" in linus.call("mutation", "messages:send", channel=channel, body="mine")
    assert "Sign in first" in nobody.call("mutation", "messages:send", channel=channel, body="mine")
    for path in ("accounts:by_name", "accounts:behind", "messages:body_of"):
        assert "Could not find" in ada.call("query", path, name="Linus")


@pytest.mark.parametrize(("body", "told"), [(" \n", "1 to 4000"), ("x" * 4001, "1 to 4000")])
def test_a_message_is_neither_empty_nor_endless(browse: Callable[[], Browser], body: str, told: str) -> None:
    browser = browse()
    browser.sign_in("Ada")
    channel = browser.call("mutation", "channels:begin")
    assert told in browser.call("mutation", "messages:send", channel=channel, body=body)
    assert told in browser.call("query", "messages:find", text=body.strip(), vector=[0.0] * 384)
