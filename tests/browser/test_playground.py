"""The playground's page in real Chromium windows, against a real `reflow serve` of examples/playground.

Pictures of every screen, light, dark and on a phone, go to tests/browser/screenshots.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.support.axe import violations
from tests.support.browser import OpenWindow
from tests.support.cli import reflow
from tests.support.documents_app import Documents, running_documents
from tests.support.model_provider import ModelProvider, model_provider

SCREENSHOTS = Path(__file__).with_name("screenshots")

LIGHTHOUSES = """# Lighthouses

A lighthouse warns ships of the rocks at night. Its lamp turns once in twelve seconds, and from the turning each captain
knows which tower it is: no two on this coast have the same. By day the stripes of its walls tell the same, red and
white here, black and white at the northern cape. The oldest of them burnt wood, then oil, then gas; the last keeper who
carried oil up the stairs died only forty years ago, and his daughter still has the can.

## The lamp

When the bulb has burnt out, the keeper puts a new one in before dusk. Spare bulbs are kept in the cellar, packed in
straw, because the stairs shake. The lens around it is of four hundred prisms. They are washed with vinegar each spring,
one by one, which takes two people a week. Nobody may touch them with bare hands: a fingerprint throws a shadow of half
a mile upon the sea. The clockwork below was wound by hand each four hours until a motor came.

## The fog horn

In fog nobody sees the light. Then the horn sounds every half minute, and can be heard nine miles away. It is driven by
compressed air from two tanks, so that it goes on when the current fails. The people of the village complain about it
every autumn, and every winter they are glad that it is there. In the log the keeper writes when it began and when it
ended, with the wind and the sight in yards, and the names of the ships that answered.
"""

BEES = """# Bees

Bees make honey from the nectar of flowers. In winter the hive keeps itself warm by trembling: those at the edge change
places with those inside, so that none of them freezes. A strong hive eats twenty pounds of its honey until March, and
whoever takes more from it in autumn must give it sugar. On the first warm day they all fly out to clean themselves, and
the snow around the hive turns yellow.

## The queen

There is one queen in a hive. She lays up to two thousand eggs a day in early summer, each into a cell of its own, and
chooses which become workers and which become drones. When she grows old, the workers feed some larvae with nothing but
royal jelly; the first that hatches kills the others, or leaves with a swarm. A beekeeper marks her with a spot of paint
whose colour tells the year, so that she is found among forty thousand others.
"""

HARBOUR = '''"""Tools for a small harbour."""


def moor_ship(ship, berth):
    """Tie a ship to a berth with ropes, so that neither wind nor tide carries it away."""


def weigh_cargo(crates):
    """Return how heavy the crates are together, in kilograms."""
'''

ANSWER = (
    "The keeper puts a new bulb in before dusk [1]. Spare ones lie in the cellar, packed in straw, because the stairs "
    "shake [1]. In fog the horn sounds every half minute instead [2]."
)

SIZES = {"light": (1360, 860), "dark": (1360, 860), "phone": (390, 844)}
QUESTION = "what happens when the bulb has burnt out"


@pytest.fixture(scope="module")
def provider() -> Iterator[ModelProvider]:
    with model_provider(token_seconds=0.02, answer=lambda messages: ANSWER) as provider:
        yield provider


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory, provider: ModelProvider) -> Iterator[Documents]:
    settings = {"CHAT_MODEL": "test-chat", "CHAT_URL": provider.url, "CHAT_KEY": provider.key}
    with running_documents(tmp_path_factory.mktemp("documents"), settings) as documents:
        put(documents, "lighthouses.md", LIGHTHOUSES, "markdown", category="sea")
        put(documents, "bees.md", BEES, "markdown", category="land")
        put(documents, "harbour.py", HARBOUR, "code", category="sea")
        yield documents


def put(documents: Documents, name: str, text: str, kind: str, **further: str) -> str:
    """Adds a source and waits until all of it is embedded; returns its id."""
    added = documents.mutation("sources:put", key=f"notes/{name}", name=name, text=text, kind=kind, **further)
    source = added["source"]
    deadline = time.monotonic() + 60
    while documents.query("sources:get", source=source)["state"] != "ready":
        assert time.monotonic() < deadline, documents.query("sources:get", source=source)
        time.sleep(0.05)
    return source


def chunk_of(documents: Documents, question: str) -> str:
    """The chunk that fits best."""
    search = documents.mutation("searches:start", input=question)
    deadline = time.monotonic() + 60
    while (found := documents.query("searches:results", searchId=search)) is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found["rows"][0]["_id"]


def picture(page: Page, name: str) -> None:
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"documents-{name}.png")


def source(page: Page, name: str) -> Locator:
    return page.get_by_role("list", name="Sources").get_by_role("listitem").filter(has_text=name)


def search(page: Page, text: str) -> None:
    page.get_by_role("searchbox", name="Search").fill(text)
    page.keyboard.press("Enter")


def names(page: Page, label: str) -> Locator:
    """The names in one list of results."""
    return page.get_by_role("list", name=label, exact=True).locator(".hit-name")


def ask(page: Page, question: str) -> None:
    page.get_by_role("textbox", name="Question").fill(question)
    page.keyboard.press("Enter")


def the_answer(page: Page) -> Locator:
    return page.get_by_role("article").last


# Every screen, seen and checked


@pytest.mark.parametrize("look", SIZES)
def test_every_screen_is_seen_and_accessible(documents: Documents, open_window: OpenWindow, look: str) -> None:
    lighthouses = documents.query("sources:byKey", key="notes/lighthouses.md")["id"]
    chunk = chunk_of(documents, QUESTION)
    found = documents.mutation("searches:start", input=QUESTION)
    thread = documents.mutation("threads:start", title="Bulbs")
    documents.mutation("answers:ask", question=QUESTION, thread=thread)
    width, height = SIZES[look]
    page = open_window(f"{documents.url}/#/sources", width=width, height=height, dark=look == "dark")
    page.emulate_media(reduced_motion="reduce")

    def see(name: str, place: str, there: Locator) -> None:
        page.goto(f"{documents.url}/#/{place}")
        expect(there).to_be_visible()
        check(name)

    def check(name: str) -> None:
        page.wait_for_timeout(250)  # until what fades in is there: half-transparent text has no contrast
        picture(page, f"{name}-{look}")
        assert violations(page) == [], name
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{name} is wider than the window"

    see("sources", "sources", source(page, "lighthouses.md"))
    see("add", "sources?add=1", page.get_by_role("textbox", name="Text"))
    see("source", f"sources/{lighthouses}?chunk={chunk}", page.get_by_text("Spare bulbs are kept"))
    see("searches", "search", page.get_by_role("link", name=QUESTION).first)
    see("search", f"search/{found}", names(page, "Results both").first)
    page.get_by_role("button", name="Explain").click()
    expect(page.locator(".why").first).to_be_visible()
    check("explain")
    page.get_by_role("button", name="Options").click()
    expect(page.get_by_text("Meaning beside words")).to_be_visible()
    check("options")
    page.keyboard.press("Escape")
    see("compare", f"compare/{chunk}", names(page, "Nearest neighbours").first)
    see("map", f"map?search={found}", page.get_by_role("list").filter(has_text="lighthouses.md").first)
    see("ask", f"ask/{thread}", the_answer(page).get_by_role("button", name="Again"))
    page.get_by_role("button", name="Inspect").click()
    expect(page.get_by_role("heading", name="Sent")).to_be_visible()
    check("inspect")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Template").click()
    expect(page.get_by_role("textbox", name="Instructions")).to_be_visible()
    check("template")
    page.keyboard.press("Escape")
    see("status", "status", page.get_by_text("Every chunk has its vector").or_(page.locator(".job").first))
    page.keyboard.press("Control+k")
    page.get_by_role("combobox", name="Search or jump to").fill("bees")
    expect(page.get_by_role("option", name="bees.md")).to_be_visible()
    check("palette")


def test_empty_screens_say_what_comes_next(open_window: OpenWindow, tmp_path: Path) -> None:
    with running_documents(tmp_path) as documents:
        page = open_window(documents.url)
        expect(page.get_by_text("No sources yet")).to_be_visible()
        picture(page, "empty-sources")
        for place, says in (
            ("search", "Nothing to search yet"),
            ("compare", "Nothing to compare yet"),
            ("map", "Nothing to draw yet"),
            ("ask", "Ask the corpus"),
            ("status", "Nothing was spent"),
        ):
            page.goto(f"{documents.url}/#/{place}")
            expect(page.get_by_text(says)).to_be_visible()
            assert violations(page) == [], place
            picture(page, f"empty-{place}")


# Sources


def test_a_text_is_added_here_and_appears_there(documents: Documents, open_window: OpenWindow) -> None:
    here, there = open_window(documents.url), open_window(documents.url)
    expect(source(there, "bees.md")).to_be_visible()
    here.keyboard.press("n")
    here.get_by_role("textbox", name="Text").fill("Tides\n\nThe tide rises twice a day, pulled by the moon.")
    here.keyboard.press("Control+Enter")
    expect(here.get_by_text("Added Tides")).to_be_visible()
    for page in (here, there):
        expect(source(page, "Tides")).to_have_attribute("data-state", "ready")
    here.get_by_role("button", name="Delete Tides").click()
    here.get_by_role("button", name="Delete", exact=True).click()
    expect(source(there, "Tides")).to_have_count(0)


def test_files_become_sources_and_bad_ones_say_why(
    documents: Documents, open_window: OpenWindow, tmp_path: Path
) -> None:
    (tmp_path / "anchor.md").write_text("# Anchors\n\nAn anchor holds a ship where it is.\n")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.7\nnothing of a document\n%%EOF")
    page = open_window(f"{documents.url}/#/sources?add=1")
    page.locator("label", has_text="Files").click()
    page.locator("input[type=file]").first.set_input_files(
        [tmp_path / name for name in ("anchor.md", "empty.txt", "broken.pdf")]
    )
    tray = page.get_by_role("region", name="Uploads")
    expect(tray).to_contain_text("2 files sent, 1 refused")
    expect(tray).to_contain_text("empty.txt The file is empty.")
    expect(source(page, "anchor.md")).to_have_attribute("data-state", "ready")
    expect(source(page, "broken.pdf")).to_have_attribute("data-state", "failed")
    expect(source(page, "broken.pdf").get_by_role("button", name="Retry")).to_be_visible()
    picture(page, "failed")
    assert violations(page) == []
    page.get_by_role("button", name="Failed", exact=True).click()
    expect(source(page, "anchor.md")).to_have_count(0)
    for name in ("anchor.md", "broken.pdf"):
        documents.mutation("sources:removeKey", key=name)
    expect(page.get_by_text("No source is failed")).to_be_visible()


def test_an_address_inside_the_network_is_refused(documents: Documents, open_window: OpenWindow) -> None:
    page = open_window(f"{documents.url}/#/sources?add=1")
    page.locator("label", has_text="Address").click()
    page.get_by_role("textbox", name="Addresses").fill(documents.url)
    page.get_by_role("button", name="Fetch").click()
    refused = page.locator('.source[data-state="failed"]').or_(page.get_by_role("alert"))
    expect(refused.first).to_contain_text(re.compile("private|loopback|network", re.IGNORECASE))
    documents.mutation("sources:removeKey", key=documents.url)


def test_a_chunk_is_chosen_in_the_text_and_in_the_list(documents: Documents, open_window: OpenWindow) -> None:
    bees = documents.query("sources:byKey", key="notes/bees.md")["id"]
    page = open_window(f"{documents.url}/#/sources/{bees}")
    page.locator(".source-text").get_by_text("There is one queen in a hive").click()
    chosen = page.get_by_role("region", name="Chosen chunk")
    expect(chosen).to_contain_text("The queen")
    expect(page.locator(".line-text [data-chosen]").first).to_be_visible()
    page.reload()
    expect(chosen).to_contain_text("The queen")
    page.locator(".chunk-row").first.click()
    expect(chosen.get_by_role("heading")).to_have_text("Chunk 1")
    page.get_by_label("Importance").fill("2")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("button", name="Save")).to_have_count(0)
    assert documents.query("sources:get", source=bees)["importance"] == 2
    documents.mutation("sources:update", source=bees, importance=1)


# Search


def test_three_lists_stand_beside_each_other_and_stay_live(documents: Documents, open_window: OpenWindow) -> None:
    page = open_window(f"{documents.url}/#/search")
    search(page, "which insect is the mother of all others")
    expect(names(page, "Results by meaning").first).to_have_text("bees.md")
    boxes = [page.get_by_role("region", name=name).bounding_box() for name in ("Both", "By meaning", "By words")]
    left = [box["x"] for box in boxes if box is not None]
    assert len(left) == 3
    assert left == sorted(left)
    assert len({box["y"] for box in boxes if box is not None}) == 1

    added = put(documents, "ants.txt", "The queen of the ants is the mother of all other insects of her hill.", "text")
    expect(names(page, "Results both").first).to_have_text("ants.txt")
    expect(page.locator(".hit[data-new]").first).to_contain_text("ants.txt")
    picture(page, "search-arrival")
    documents.mutation("sources:remove", source=added)
    expect(names(page, "Results both").get_by_text("ants.txt")).to_have_count(0)


def test_a_pinned_search_watches_the_corpus(documents: Documents, open_window: OpenWindow) -> None:
    page = open_window(f"{documents.url}/#/search")
    search(page, "how far is a sound heard")
    expect(names(page, "Results both").first).to_be_visible()
    page.locator("main").focus()
    page.keyboard.press("p")
    expect(page.get_by_role("region", name="Pinned searches")).to_contain_text("how far is a sound heard")
    page.goto(f"{documents.url}/#/search")
    card = page.get_by_role("region", name="Pinned", exact=True)
    expect(card).to_contain_text("lighthouses.md")
    added = put(documents, "bells.txt", "The sound of the bell is heard far: three miles over the water.", "text")
    expect(card).to_contain_text("bells.txt")
    picture(page, "pinned")
    assert violations(page) == []
    documents.mutation("sources:remove", source=added)
    page.get_by_role("button", name="Pin how far is a sound heard").click()
    expect(card).to_have_count(0)


def test_options_change_what_is_found(documents: Documents, open_window: OpenWindow) -> None:
    page = open_window(f"{documents.url}/#/search", may_complain=True)
    search(page, "night")
    expect(names(page, "Results by meaning").first).to_be_visible()
    page.get_by_role("button", name="Options").click()
    page.get_by_role("combobox", name="Category").or_(page.get_by_role("textbox", name="Category")).click()
    page.get_by_role("option", name="land").click()
    expect(names(page, "Results by meaning").get_by_text("lighthouses.md")).to_have_count(0)
    expect(names(page, "Results by meaning").first).to_be_visible()
    assert set(names(page, "Results by meaning").all_inner_texts()) == {"bees.md"}
    page.get_by_role("textbox", name="Filter").fill('{"nonsense": 1}')
    page.keyboard.press("Tab")
    expect(page.get_by_role("alert").first).to_contain_text("nonsense")


def test_the_graph_of_neighbours_is_walked_by_keys(documents: Documents, open_window: OpenWindow) -> None:
    page = open_window(f"{documents.url}/#/compare/{chunk_of(documents, QUESTION)}")
    chosen = page.get_by_role("article", name="Chosen chunk")
    expect(chosen).to_contain_text("Spare bulbs")
    second = page.get_by_role("list", name="Nearest neighbours").locator(".hit-text").nth(1)
    expect(second).to_be_visible()
    begins = second.inner_text()[:30]
    page.keyboard.press("2")
    expect(chosen).to_contain_text(begins)
    expect(page.get_by_role("navigation", name="Way").get_by_role("link")).to_have_count(2)
    page.keyboard.press("Backspace")
    expect(chosen).to_contain_text("Spare bulbs")


def test_a_question_is_placed_on_the_map(documents: Documents, open_window: OpenWindow) -> None:
    page = open_window(f"{documents.url}/#/map")
    expect(page.get_by_role("img", name=re.compile("Map of"))).to_be_visible()
    search(page, "who lays eggs")
    nearest = page.get_by_role("region", name="Nearest to the question").get_by_role("link")
    expect(nearest.first).to_contain_text("bees.md")
    nearest.first.hover()
    expect(page.get_by_role("img", name=re.compile("Map of"))).to_have_attribute("data-pointed", re.compile("."))
    nearest.first.click()
    expect(page.get_by_role("region", name="Chosen chunk")).to_contain_text("queen")


# Ask


def test_an_answer_streams_to_all_and_its_marks_lead_to_the_lines(
    documents: Documents, open_window: OpenWindow
) -> None:
    here = open_window(f"{documents.url}/#/ask")
    ask(here, "Who changes the bulb?")
    expect(the_answer(here)).to_contain_text("The keeper")
    there = open_window(here.url)
    for page in (here, there):
        expect(the_answer(page)).to_contain_text("every half minute instead")
        expect(the_answer(page).get_by_role("button", name="Again")).to_be_visible()
    mark = the_answer(there).locator("a.cite").first
    mark.hover()
    expect(there.locator(".cite-card")).to_contain_text(re.compile(r"\w{4,}"))
    mark.click()
    expect(there.locator(".text-line[data-marked]").first).to_be_in_viewport()
    picture(there, "cited")
    there.go_back()
    expect(the_answer(there)).to_contain_text("every half minute instead")


def test_an_answer_is_stopped_and_asked_again(
    documents: Documents, provider: ModelProvider, open_window: OpenWindow
) -> None:
    page = open_window(f"{documents.url}/#/ask")
    provider.token_seconds = 0.4
    ask(page, "What sounds in fog?")
    expect(the_answer(page)).to_contain_text("The keeper")
    page.get_by_role("button", name="Stop").click()
    expect(the_answer(page)).to_have_attribute("data-state", "stopped")
    provider.token_seconds = 0.01
    page.get_by_role("button", name="Retry").click()
    expect(the_answer(page)).to_have_attribute("data-state", "done")
    expect(the_answer(page)).to_contain_text("every half minute instead")


def test_a_provider_that_refuses_is_told(
    documents: Documents, provider: ModelProvider, open_window: OpenWindow
) -> None:
    page = open_window(f"{documents.url}/#/ask")
    provider.refused.add("poison")
    ask(page, "Is there poison in the cellar?")
    expect(the_answer(page)).to_have_attribute("data-state", "failed")
    expect(the_answer(page).get_by_role("alert")).to_be_visible()
    expect(the_answer(page).get_by_role("button", name="Retry")).to_be_visible()
    picture(page, "answer-failed")
    provider.refused.clear()


def test_a_template_names_what_is_wrong_with_it(documents: Documents, open_window: OpenWindow) -> None:
    page = open_window(f"{documents.url}/#/ask")
    page.get_by_role("button", name="Template").click()
    prompt = page.get_by_role("textbox", name="Prompt")
    kept = prompt.input_value()
    prompt.fill(f"{kept} {{nonsense}}")
    expect(page.get_by_role("alert")).to_contain_text("nonsense")
    expect(page.get_by_role("button", name="Save")).to_be_disabled()
    prompt.fill(f"{kept}\nAnswer like a sailor.")
    page.get_by_role("textbox", name="Try it with a question").fill("Who changes the bulb?")
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_text("Answer like a sailor.").last).to_be_visible()
    page.get_by_role("button", name="Save").click()
    page.get_by_role("button", name="As it was").click()
    expect(prompt).to_have_value(kept)


def test_without_a_chat_model_answers_are_honest(open_window: OpenWindow, tmp_path: Path) -> None:
    with running_documents(tmp_path) as documents:
        put(documents, "lighthouses.md", LIGHTHOUSES, "markdown")
        page = open_window(f"{documents.url}/#/ask")
        ask(page, "What happens when the bulb has burnt out?")
        expect(the_answer(page).get_by_text("extractive, no model was asked")).to_be_visible()
        expect(the_answer(page).locator(".answer-text")).to_contain_text("the keeper puts a new one in")
        picture(page, "extractive")
        page.goto(f"{documents.url}/#/ask")
        ask(page, "xylophone quarterly revenue zebra")
        expect(the_answer(page).get_by_text("nothing found")).to_be_visible()


# Keys, addresses, failures


def test_the_keyboard_is_enough(documents: Documents, open_window: OpenWindow) -> None:
    page = open_window(documents.url)
    expect(source(page, "bees.md")).to_be_visible()
    for key, title in (("f", "Search lab"), ("c", "Compare"), ("m", "Map"), ("t", "Status"), ("s", "Sources")):
        page.locator("main").focus()
        page.keyboard.press("g")
        page.keyboard.press(key)
        entry = page.get_by_role("navigation", name="Screens").get_by_role("link", name=title)
        expect(entry).to_have_attribute("aria-current", "page")
        page.wait_for_timeout(100)
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    expect(page.locator("main [data-row]").first).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("region", name="Text")).to_be_visible()
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox", name="Search")).to_be_focused()
    page.keyboard.type("weigh crates")
    page.keyboard.press("Enter")
    expect(names(page, "Results both").first).to_have_text("harbour.py")
    page.keyboard.press("Escape")
    page.keyboard.press("x")
    expect(page.locator(".why").first).to_be_visible()
    page.keyboard.press("j")
    page.keyboard.press("c")
    expect(page.get_by_role("article", name="Chosen chunk")).to_contain_text("weigh_cargo")
    page.keyboard.press("Control+k")
    expect(page.get_by_role("combobox", name="Search or jump to")).to_be_focused()
    page.keyboard.type("lighth")
    option = page.get_by_role("option", name="lighthouses.md")
    expect(option).to_be_visible()
    while option.get_attribute("aria-selected") != "true":
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Spare bulbs are kept")).to_be_visible()
    page.keyboard.press("Shift+?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()


def test_the_scheme_changes_and_is_kept(documents: Documents, open_window: OpenWindow) -> None:
    page = open_window(documents.url)
    root = page.locator("html")
    expect(root).to_have_attribute("data-mantine-color-scheme", "light")
    page.get_by_role("button", name="Use dark colours").click()
    expect(root).to_have_attribute("data-mantine-color-scheme", "dark")
    page.reload()
    expect(root).to_have_attribute("data-mantine-color-scheme", "dark")


def test_what_is_missing_is_told_until_it_is_set(open_window: OpenWindow, tmp_path: Path) -> None:
    with running_documents(tmp_path, {"CHAT_MODEL": "some-model", "OPENAI_API_KEY": ""}) as documents:
        page = open_window(f"{documents.url}/#/status")
        expect(page.get_by_role("alert")).to_contain_text("OPENAI_API_KEY")
        expect(page.get_by_role("button", name="reflow env set OPENAI_API_KEY")).to_be_visible()
        picture(page, "missing")
        assert violations(page) == []
        assert reflow("env", "set", "OPENAI_API_KEY", "sk-test", "--data", tmp_path).status == 0
        expect(page.get_by_role("alert")).to_have_count(0)


@pytest.mark.parametrize("place", ["sources/nonsense", "search/nonsense", "compare/nonsense", "ask/nonsense"])
def test_a_damaged_address_gets_an_answer(documents: Documents, open_window: OpenWindow, place: str) -> None:
    page = open_window(f"{documents.url}/#/{place}", may_complain=True)
    expect(page.get_by_role("alert").or_(page.get_by_text("is gone")).first).to_be_visible()
    expect(page.get_by_role("navigation", name="Screens")).to_be_visible()
    page.get_by_role("navigation", name="Screens").get_by_role("link", name="Sources").click()
    expect(source(page, "bees.md")).to_be_visible()


def test_the_page_outlives_a_restart_of_the_server(open_window: OpenWindow, tmp_path: Path) -> None:
    with running_documents(tmp_path) as documents:
        put(documents, "bees.md", BEES, "markdown")
        page = open_window(documents.url, may_complain=True)
        expect(source(page, "bees.md")).to_be_visible()
        port = int(documents.url.rpartition(":")[2])
    expect(page.get_by_text("Reconnecting…")).to_be_visible()
    expect(source(page, "bees.md")).to_be_visible()
    with running_documents(tmp_path, port=port) as documents:
        expect(page.get_by_text("Live", exact=True)).to_be_visible(timeout=30_000)
        put(documents, "lighthouses.md", LIGHTHOUSES, "markdown")
        expect(source(page, "lighthouses.md")).to_have_attribute("data-state", "ready")


def test_markup_in_texts_is_text(documents: Documents, open_window: OpenWindow) -> None:
    text = "<img src=x onerror='document.title=1'> zanzibar <script>document.title = 1</script>"
    added = put(documents, "<b>markup</b>", text, "text")
    page = open_window(f"{documents.url}/#/search")
    search(page, "zanzibar")
    expect(names(page, "Results by words").first).to_have_text("<b>markup</b>")
    expect(page.locator(".hit-text img")).to_have_count(0)
    page.goto(f"{documents.url}/#/sources/{added}")
    expect(page.locator(".line-text").first).to_have_text(text)
    documents.mutation("sources:remove", source=added)
