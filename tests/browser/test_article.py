"""The playground in real Chromium windows, against a real `reflow demo` process.

Pictures of what was seen go to tests/browser/screenshots.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.support.browser import OpenWindow
from tests.support.cli import running
from tests.support.demo import running_demo

SCREENSHOTS = Path(__file__).with_name("screenshots")

CORPUS = '''"""Tools for a small harbour."""


def moor_ship(ship, berth):
    """Tie a ship to a berth with ropes, so that neither wind nor tide carries it away."""


def weigh_cargo(crates):
    """Return how heavy the crates are together, in kilograms."""


class Lighthouse:
    """A tower whose lamp warns ships of the rocks at night."""

    def replace_bulb(self):
        """Put a new lamp into the tower when the old one has burnt out."""
'''

BEES = "Bees make honey from the nectar of flowers.\n\nIn winter the hive keeps itself warm by trembling."


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "harbour.py").write_text(CORPUS)
    return folder


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Iterator[str]:
    with running_demo(tmp_path_factory.mktemp("data"), corpus) as url:
        yield url


def picture(page: Page, name: str) -> None:
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")


def names(page: Page, label: str) -> Locator:
    """The names of the chunks in one list of results."""
    return page.get_by_role("list", name=label, exact=True).locator(".chunk-name")


def search(page: Page, text: str) -> None:
    page.get_by_role("searchbox", name="Search").fill(text)
    page.keyboard.press("Enter")


def tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def add_source(page: Page, name: str, text: str) -> None:
    tab(page, "Sources")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Text").fill(text)
    page.get_by_role("button", name="Add 1 chunk").click()


def source(page: Page, name: str) -> Locator:
    return page.get_by_role("list", name="Sources").get_by_role("listitem").filter(has_text=name)


def delete_source(page: Page, name: str) -> None:
    page.get_by_role("button", name=f"Delete {name}").click()
    page.get_by_role("button", name="Delete", exact=True).click()


def test_a_source_added_in_one_window_appears_in_the_other(address: str, open_window: OpenWindow) -> None:
    here, there = open_window(address), open_window(address)
    for page in (here, there):
        search(page, "how do insects produce something sweet")
        expect(names(page, "Best matches").first).to_be_visible()
        expect(page.get_by_text("Bees make honey")).to_have_count(0)
    picture(there, "other-window-before")

    add_source(here, "notes on bees", BEES)
    expect(source(here, "notes on bees")).to_have_attribute("data-state", "saved")

    expect(names(there, "Best matches").first).to_have_text("notes on bees")
    expect(names(there, "Matches by meaning").first).to_have_text("notes on bees")
    picture(there, "other-window-after")

    delete_source(here, "notes on bees")
    expect(source(here, "notes on bees")).to_have_count(0)
    expect(there.get_by_text("Bees make honey")).to_have_count(0)
    expect(names(there, "Best matches").first).to_be_visible()


def test_a_source_flips_to_saved_in_both_windows(address: str, open_window: OpenWindow) -> None:
    here, there = open_window(address), open_window(address)
    tab(there, "Sources")
    there.evaluate(
        """() => {
            window.seen = [];
            const look = () => {
                const row = [...document.querySelectorAll('.source')].find((li) => li.innerText.includes('tides'));
                const state = row ? row.dataset.state : null;
                if (state && window.seen.at(-1) !== state) window.seen.push(state);
            };
            new MutationObserver(look).observe(document.body, { subtree: true, childList: true, attributes: true });
        }"""
    )
    add_source(here, "tides", "The tide rises twice a day.")
    for page in (here, there):
        expect(source(page, "tides").get_by_text("Saved")).to_be_visible()
        expect(source(page, "tides")).to_contain_text("1 chunk")
    assert there.evaluate("window.seen").pop() == "saved"
    assert there.evaluate("window.seen")[0] == "pending", "the other window saw it before it was embedded"
    picture(here, "sources")
    delete_source(there, "tides")
    expect(source(here, "tides")).to_have_count(0)


def test_semantic_and_word_results_stand_beside_each_other(address: str, open_window: OpenWindow) -> None:
    page = open_window(address, dark=True)
    search(page, "which tower warns ships")
    expect(names(page, "Matches by meaning").first).to_contain_text("Lighthouse")
    expect(names(page, "Matches by words").first).to_contain_text("Lighthouse")
    meaning = page.get_by_role("region", name="By meaning").bounding_box()
    words = page.get_by_role("region", name="By words").bounding_box()
    assert meaning is not None
    assert words is not None
    assert meaning["y"] == words["y"]
    assert meaning["x"] + meaning["width"] <= words["x"]
    picture(page, "search-dark")


def test_a_search_without_its_words_says_so_and_still_finds_by_meaning(address: str, open_window: OpenWindow) -> None:
    page = open_window(address)
    search(page, "tonnage")
    expect(names(page, "Matches by meaning").first).to_contain_text("weigh_cargo")
    expect(page.get_by_text("No chunk has these words")).to_be_visible()


def test_the_keyboard_is_enough(address: str, open_window: OpenWindow) -> None:
    page = open_window(address)
    box = page.get_by_role("searchbox", name="Search")
    expect(box).to_be_focused()
    page.keyboard.type("weigh crates")
    page.keyboard.press("Enter")
    expect(names(page, "Best matches").first).to_contain_text("weigh_cargo")
    page.keyboard.press("Escape")
    expect(box).not_to_be_focused()
    page.keyboard.press("/")
    expect(box).to_be_focused()
    expect(box).to_have_value("weigh crates")
    page.keyboard.press("Escape")
    page.get_by_role("tab", name="Search").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Sources")).to_be_focused()
    expect(page.get_by_role("heading", name="Add a source")).to_be_visible()
    page.keyboard.press("/")
    expect(box).to_be_focused()


def test_reload_and_back_keep_the_search(address: str, open_window: OpenWindow) -> None:
    page = open_window(address)
    search(page, "put in a new lamp")
    expect(names(page, "Best matches").first).to_contain_text("replace_bulb")
    page.reload()
    expect(names(page, "Best matches").first).to_contain_text("replace_bulb")
    expect(page.get_by_role("searchbox", name="Search")).to_have_value("put in a new lamp")
    search(page, "tie a ship")
    expect(names(page, "Best matches").first).to_contain_text("moor_ship")
    page.go_back()
    expect(names(page, "Best matches").first).to_contain_text("replace_bulb")


def test_history_lists_searches_of_every_window(address: str, open_window: OpenWindow) -> None:
    here, there = open_window(address), open_window(address)
    search(here, "rope work")
    again = there.get_by_role("link", name="Re-use rope work")
    expect(again).to_be_visible()
    again.click()
    expect(names(there, "Best matches").first).to_be_visible()
    expect(there.get_by_role("searchbox", name="Search")).to_have_value("rope work")


def test_any_chunk_can_be_compared(address: str, open_window: OpenWindow) -> None:
    page = open_window(address)
    search(page, "put in a new lamp")
    page.get_by_role("list", name="Best matches").get_by_role("link").first.click()
    expect(page.get_by_role("tab", name="Compare")).to_have_attribute("aria-selected", "true")
    expect(names(page, "Nearest neighbours").first).to_contain_text("Lighthouse")
    page.get_by_role("link", name="Clear").click()
    expect(names(page, "All chunks").first).to_be_visible()


def test_a_failing_panel_says_why_and_leaves_the_rest_standing(address: str, open_window: OpenWindow) -> None:
    here, there = open_window(address, may_complain=True), open_window(address)
    add_source(there, "buoys", "A buoy marks where the channel is safe.")
    expect(source(there, "buoys")).to_have_attribute("data-state", "saved")
    search(here, "where is the channel safe")
    here.get_by_role("link", name="Compare buoys").first.click()
    expect(names(here, "Nearest neighbours").first).to_be_visible()
    delete_source(there, "buoys")
    expect(here.get_by_role("alert")).to_contain_text("chunk was deleted")
    expect(here.get_by_text("Live", exact=True)).to_be_visible()
    here.get_by_role("link", name="Clear").click()
    expect(names(here, "All chunks").first).to_be_visible()


def test_an_address_with_a_damaged_id_gets_an_answer(address: str, open_window: OpenWindow) -> None:
    page = open_window(f"{address}/#/compare?chunk=nonsense", may_complain=True)
    expect(page.get_by_role("alert")).to_contain_text("The chunk could not be compared")
    page.get_by_role("link", name="Choose another chunk").click()
    expect(names(page, "All chunks").first).to_be_visible()


def test_the_page_outlives_a_restart_of_the_server(corpus: Path, open_window: OpenWindow, tmp_path: Path) -> None:
    with running_demo(tmp_path, corpus) as address:
        page = open_window(address, may_complain=True)
        search(page, "put in a new lamp")
        expect(names(page, "Best matches").first).to_contain_text("replace_bulb")
    expect(page.get_by_text("Reconnecting…")).to_be_visible()
    expect(names(page, "Best matches").first).to_contain_text("replace_bulb")
    with running_demo(tmp_path, corpus, port=int(address.rpartition(":")[2])):
        expect(page.get_by_text("Live", exact=True)).to_be_visible(timeout=30_000)
        add_source(page, "spare lamps", "Spare lamps: put a new lamp in, keep the old one for the glass.")
        expect(source(page, "spare lamps")).to_have_attribute("data-state", "saved")


def test_with_a_remote_store_asking_again_finds_what_came(
    corpus: Path, open_window: OpenWindow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running("vectors", "serve", "--port", "0", "--data", tmp_path / "vectors", "--api-key", "secret") as store:
        monkeypatch.setenv("REFLOW_VECTORS_URL", store.until(r"(http://[\d.:]+)")[1])
        monkeypatch.setenv("PINECONE_API_KEY", "secret")
        with running_demo(tmp_path / "data", corpus) as address:
            page = open_window(address)
            page.get_by_text("when you ask again").wait_for()
            add_source(page, "Bees", BEES)
            expect(source(page, "Bees").get_by_text("Saved")).to_be_visible()
            tab(page, "Search")
            search(page, "which insects produce something sweet")
            expect(names(page, "Matches by meaning").first).to_have_text("Bees")
            expect(page.get_by_role("region", name="By words").get_by_text("live")).to_be_visible()
            expect(page.get_by_role("region", name="Best matches").get_by_text("live")).to_have_count(0)
            other = open_window(address)
            add_source(other, "Wasps", "Wasps make no honey, but some make sweet sap of fruit.")
            expect(source(other, "Wasps").get_by_text("Saved")).to_be_visible()
            expect(names(page, "Matches by meaning").get_by_text("Wasps")).to_have_count(0)
            search(page, "which insects produce something sweet")
            expect(names(page, "Matches by meaning").get_by_text("Wasps")).to_have_count(1)


def test_progress_and_connection_are_told(address: str, open_window: OpenWindow) -> None:
    page = open_window(address)
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    expect(page.get_by_text("searchable").first).to_be_visible()


def test_a_file_becomes_a_source(address: str, open_window: OpenWindow, tmp_path: Path) -> None:
    page = open_window(address)
    tab(page, "Sources")
    file = tmp_path / "anchor.md"
    file.write_text("# Anchors\n\nAn anchor holds a ship where it is.\n")
    page.get_by_label("Files").set_input_files(file)
    expect(page.get_by_label("Name")).to_have_value("anchor.md")
    page.get_by_role("button", name="Add 1 chunk").click()
    expect(source(page, "anchor.md").get_by_text("Saved")).to_be_visible()
    delete_source(page, "anchor.md")
    expect(source(page, "anchor.md")).to_have_count(0)


def test_a_phone_shows_the_lists_below_each_other(address: str, open_window: OpenWindow) -> None:
    page = open_window(address, width=390, height=844)
    search(page, "which tower warns ships")
    expect(names(page, "Matches by words").first).to_be_visible()
    meaning = page.get_by_role("region", name="By meaning").bounding_box()
    words = page.get_by_role("region", name="By words").bounding_box()
    assert meaning is not None
    assert words is not None
    assert meaning["x"] == words["x"]
    assert meaning["y"] + meaning["height"] <= words["y"]
    assert page.evaluate("document.documentElement.scrollWidth") <= 390, "nothing is wider than the phone"
    picture(page, "phone")
