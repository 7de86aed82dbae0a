"""The chat in real Chromium windows: two users of one team, and one of another, against a real `reflow serve`.

Pictures of what was seen go to tests/browser/screenshots.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.support import ROOT
from tests.support.browser import OpenWindow
from tests.support.cli import reflow, running

SCREENSHOTS = Path(__file__).with_name("screenshots")
APP = ROOT / "examples" / "chat" / "app.py"
PASSWORD = "correct horse"
TEAMS = {"Ada": "Engines", "Grace": "Engines", "Linus": "Kernels"}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("chat")
    with running("serve", APP, "--port", "0", cwd=folder) as server:
        url = server.until(r"http://[\w.]+:\d+").group()
        for name, team in TEAMS.items():
            account = {"name": name, "team": team, "password": PASSWORD}
            made = reflow("run", "accounts:create", json.dumps(account), cwd=folder)
            assert made.status == 0, made.err
        yield url


def picture(page: Page, name: str) -> None:
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"chat-{name}.png")


def sign_in(page: Page, name: str, password: str = PASSWORD) -> None:
    page.get_by_role("textbox", name="Name").fill(name)
    page.get_by_label("Password").and_(page.locator("input")).fill(password)
    page.get_by_role("button", name="Sign in").click()


def say(page: Page, text: str, channel: str = "general") -> None:
    page.get_by_role("textbox", name=f"Message to {channel}").fill(text)
    page.keyboard.press("Enter")


def said(page: Page, channel: str = "general") -> Locator:
    return page.get_by_role("list", name=f"Messages in {channel}").locator(".line > p")


def found(page: Page) -> Locator:
    return page.get_by_role("list", name="Found").locator(".line > p")


def test_two_users_talk_and_a_third_of_another_team_sees_nothing(address: str, open_window: OpenWindow) -> None:
    ada, grace, linus = open_window(address), open_window(address, dark=True), open_window(address)
    for page, name in ((ada, "Ada"), (grace, "Grace"), (linus, "Linus")):
        sign_in(page, name)
        expect(page.get_by_role("heading", name=TEAMS[name])).to_be_visible()
        expect(page.get_by_role("textbox", name="Message to general")).to_be_visible()
    say(ada, "The boiler is under pressure again.")
    expect(said(grace)).to_have_text(["The boiler is under pressure again."])
    say(grace, "I have opened the valve, it should calm down.")
    expect(said(ada)).to_have_text(
        ["The boiler is under pressure again.", "I have opened the valve, it should calm down."]
    )
    picture(ada, "ada")
    picture(grace, "grace-dark")
    expect(linus.get_by_text("Nothing was said in #general yet")).to_be_visible()
    say(linus, "A scheduler tick was missed.")
    expect(said(linus)).to_have_text(["A scheduler tick was missed."])
    expect(said(ada)).to_have_count(2)


def test_a_search_by_meaning_follows_what_is_said(address: str, open_window: OpenWindow) -> None:
    ada, grace, linus = open_window(address), open_window(address), open_window(address)
    sign_in(ada, "Ada")
    say(ada, "Lunch is at noon in the canteen.")
    say(ada, "The invoice of the coal supplier is due on Friday.")
    sign_in(grace, "Grace")
    expect(said(grace).last).to_contain_text("coal supplier")
    search = grace.get_by_role("searchbox", name="Search messages")
    search.fill("when do we have to pay the bill")
    expect(found(grace).first).to_have_text("The invoice of the coal supplier is due on Friday.")
    sign_in(linus, "Linus")
    linus.get_by_role("searchbox", name="Search messages").fill("when do we have to pay the bill")
    expect(found(linus)).not_to_contain_text(["invoice"])
    say(ada, "We have to pay the bill for the coal before Thursday, says the bank.")
    expect(found(grace).first).to_contain_text("before Thursday")
    picture(grace, "search")
    search.press("Escape")
    expect(said(grace).last).to_contain_text("before Thursday")


def test_channels_are_the_teams(address: str, open_window: OpenWindow) -> None:
    ada, grace, linus = open_window(address), open_window(address), open_window(address)
    for page, name in ((ada, "Ada"), (grace, "Grace"), (linus, "Linus")):
        sign_in(page, name)
    ada.get_by_role("textbox", name="New channel").fill("Pumps")
    ada.keyboard.press("Enter")
    say(ada, "Pump three leaks.", "pumps")
    grace.get_by_role("button", name="# pumps").click()
    expect(said(grace, "pumps")).to_have_text(["Pump three leaks."])
    expect(linus.get_by_role("button", name="# general")).to_be_visible()
    expect(linus.get_by_role("button", name="# pumps")).to_have_count(0)


def test_a_reload_stays_signed_in_and_signing_out_does_not(address: str, open_window: OpenWindow) -> None:
    page = open_window(address)
    sign_in(page, "Grace")
    expect(page.get_by_role("button", name="# general")).to_be_visible()
    page.reload()
    expect(page.get_by_role("button", name="# general")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    page.reload()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()


def test_a_wrong_password_is_told(address: str, open_window: OpenWindow) -> None:
    page = open_window(address, may_complain=True)
    sign_in(page, "Ada", "wrong horse")
    expect(page.get_by_role("alert")).to_contain_text("This name and password don't belong together.")
    picture(page, "sign-in")


def test_a_phone_shows_the_conversation_below_the_channels(address: str, open_window: OpenWindow) -> None:
    page = open_window(address, width=390, height=780)
    sign_in(page, "Ada")
    expect(page.get_by_role("textbox", name="Message to general")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    picture(page, "phone")


def send_many(address: str, name: str, channel: str, count: int) -> None:
    with httpx.Client(base_url=address, timeout=60) as http:
        token = http.post("/session/sign-in", json={"name": name, "password": PASSWORD}).json()["token"]
        http.headers["authorization"] = f"Bearer {token}"
        made = http.post("/api/mutation", json={"path": "channels:create", "args": {"name": channel}}).json()
        for number in range(count):
            args = {"channel": made["value"], "body": f"{channel} {number}"}
            http.post("/api/mutation", json={"path": "messages:send", "args": args}).raise_for_status()


def test_the_windows_of_a_browser_are_signed_in_and_out_together(address: str, open_window: OpenWindow) -> None:
    one = open_window(address)
    two = one.context.new_page()
    two.goto(address)
    sign_in(one, "Ada")
    expect(two.get_by_role("heading", name="Engines")).to_be_visible()
    two.get_by_role("button", name="Sign out").click()
    expect(one.get_by_role("button", name="Sign in")).to_be_visible()
    sign_in(one, "Linus")
    expect(two.get_by_role("heading", name="Kernels")).to_be_visible()
    expect(two.get_by_role("button", name="# general")).to_be_visible()


def test_a_server_that_is_away_for_a_moment_signs_nobody_out(address: str, open_window: OpenWindow) -> None:
    page = open_window(address, may_complain=True)
    sign_in(page, "Ada")
    expect(page.get_by_role("button", name="# general")).to_be_visible()
    failures = ["503", "cut off"]

    def fail(route: Route) -> None:
        match failures.pop() if failures else None:
            case "503":
                route.fulfill(status=503, body="")
            case "cut off":
                route.abort()
            case _:
                route.continue_()

    page.route("**/session/token", fail)
    page.reload()
    expect(page.get_by_role("button", name="# general")).to_be_visible()
    assert not failures
    page.route("**/session/sign-out", lambda route: route.abort())
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_role("button", name="# general")).to_be_visible()


def test_what_is_read_stays_in_its_place(address: str, open_window: OpenWindow) -> None:
    send_many(address, "Grace", "log", 50)
    page = open_window(address)
    sign_in(page, "Ada")
    page.get_by_role("button", name="# log").click()
    expect(said(page, "log")).to_have_count(30)
    expect(said(page, "log").last).to_be_in_viewport()
    page.get_by_role("log").evaluate("list => { list.scrollTop = 0 }")
    read = page.get_by_text("log 20", exact=True)
    before = read.bounding_box()
    page.get_by_role("button", name="Load more").click()
    expect(said(page, "log")).to_have_count(50)
    expect(page.get_by_role("button", name="Load more")).to_have_count(0)
    send_many(address, "Grace", "log", 1)
    expect(said(page, "log")).to_have_count(51)
    after = read.bounding_box()
    assert before is not None
    assert after is not None
    assert abs(after["y"] - before["y"]) < 2
    say(page, "at the end again", "log")
    expect(said(page, "log").last).to_be_in_viewport()
    send_many(address, "Grace", "log", 1)
    expect(said(page, "log").last).to_have_text("log 0")
    expect(said(page, "log").last).to_be_in_viewport()


def test_markup_is_text(address: str, open_window: OpenWindow) -> None:
    page = open_window(address)
    sign_in(page, "Linus")
    text = "<img src=x onerror='document.title = 1'><script>document.title = 1</script> **bold**"
    say(page, text)
    expect(said(page).last).to_have_text(text)
    expect(page.locator(".messages img")).to_have_count(0)
