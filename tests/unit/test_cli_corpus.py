"""`reflow add`, `search`, `ask`, `sources`, `jobs` and `eval`, over a corpus of an app and over the playground's."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import Here, Said, running

APP = """
import reflow as rf
from reflow import rag
from reflow.testing.embedder import HashingEmbedder

corpus = rag.Corpus("docs", embedder=HashingEmbedder())
app = rf.App(components=[corpus])
"""

HARBOUR = f"""# The harbour

Ships are tied to a berth with ropes. {"The tide comes and goes, and the ropes hold. " * 16}

## Cargo

Crates are weighed in kilograms. {"Each crate has a number, and the number is written down. " * 12}
"""
BEES = "# Bees\n\nBees make honey in summer. They sleep through the winter.\n"


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Here:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "harbour.md").write_text(HARBOUR)
    (tmp_path / "notes" / "bees.md").write_text(BEES)
    return Here(monkeypatch, capsys)


def parsed(said: Said) -> Any:
    assert said.status == 0, said.err
    return json.loads(said.out)


def test_a_file_is_added_and_found(here: Here) -> None:
    added = here("add", "notes/harbour.md")
    assert added.status == 0, added.err
    assert "added: 1 source" in added.err
    (first, *_) = parsed(here("search", "ropes for ships", "--json"))["rows"]
    assert (first["sourceKey"], first["headings"]) == ("notes/harbour.md", ["The harbour"])
    assert "tied to a berth" in first["text"]
    again = here("add", "notes/harbour.md")
    assert "unchanged: 1 source" in again.err


def test_a_folder_is_followed_by_adding_it_again(here: Here, tmp_path: Path) -> None:
    assert "added: 2 sources" in here("add", "notes").err
    (tmp_path / "notes" / "bees.md").write_text(BEES.replace("honey", "wax"))
    (tmp_path / "notes" / "harbour.md").unlink()
    (tmp_path / "notes" / "ants.txt").write_text("Ants make paths.")
    assert "added: 1 source, changed: 1 source, removed: 1 source" in here("add", "notes").err
    rows = parsed(here("sources", "--json"))
    assert sorted((row["key"], row["version"]) for row in rows) == [("notes/ants.txt", 1), ("notes/bees.md", 2)]
    assert "wax" in parsed(here("search", "wax", "--mode", "text", "--json"))["rows"][0]["text"]
    assert parsed(here("search", "ships", "--mode", "text", "--json"))["rows"] == []


def test_hits_are_printed_for_people(here: Here) -> None:
    here("add", "notes")
    said = here("search", "honey in summer", "--limit", "1")
    assert said.status == 0, said.err
    assert re.match(r" 1\. Bees  notes/bees\.md:1-3  \d\.\d{3} █+", said.out)
    assert "Bees make honey in summer." in said.out
    explained = here("search", "honey in summer", "--explain", "--limit", "1")
    assert "meaning rank 1, score" in explained.out
    assert "left out" in explained.out


def test_searches_are_narrowed(here: Here) -> None:
    here("add", "notes/harbour.md", "--category", "sea")
    here("add", "notes/bees.md", "--category", "land")
    for narrowed in (["--category", "sea"], ["--source", "notes/harbour.md"], ["--filter", '{"category": "sea"}']):
        rows = parsed(here("search", "honey", *narrowed, "--json"))["rows"]
        assert {row["sourceKey"] for row in rows} == {"notes/harbour.md"}, narrowed
    assert parsed(here("search", "honey", "--min-length", "5000", "--json"))["rows"] == []


def test_a_question_is_answered_with_its_places(here: Here) -> None:
    here("add", "notes")
    said = here("ask", "what do bees make in summer?")
    assert said.status == 0, said.err
    assert said.out.startswith("Bees make honey in summer. [1]")
    assert "[1] notes/bees.md:1-3  Bees  version 1" in said.out
    assert "quoted from the sources, no model was asked" in said.err
    answer = parsed(here("ask", "what do bees make in summer?", "--json"))
    assert (answer["state"], answer["kind"]) == ("done", "extractive")
    assert "honey" in answer["text"]
    nothing = here("ask", "xyzzy plugh?")
    assert nothing.status == 0, nothing.err
    assert "nothing in the sources comes near the question" in nothing.err


def test_sources_are_shown_and_removed(here: Here) -> None:
    here("add", "notes")
    shown = here("sources", "show", "notes/harbour.md")
    assert shown.status == 0, shown.err
    assert "The harbour › Cargo" in shown.out
    assert "ready" in here("sources").out
    assert here("sources", "remove", "notes/harbour.md", "--yes").status == 0
    assert [row["key"] for row in parsed(here("sources", "--json"))] == ["notes/bees.md"]
    missing = here("sources", "remove", "notes/harbour.md", "--yes")
    assert (missing.status, "no source has the key notes/harbour.md" in missing.err) == (2, True)


def test_what_can_not_be_read_is_failed_with_the_reason(here: Here, tmp_path: Path) -> None:
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.7 and then nothing of the kind")
    said = here("add", "broken.pdf")
    assert said.status == 1
    assert "failed: 1 source" in said.err
    assert "broken.pdf" in said.err
    assert "Traceback" not in said.err
    (row,) = parsed(here("jobs", "--json"))["jobs"]
    assert (row["key"], row["state"]) == ("broken.pdf", "failed")
    assert row["error"] in here("jobs").out
    assert here("jobs", "retry", "broken.pdf").status == 1


def test_searches_are_measured(here: Here, tmp_path: Path) -> None:
    here("add", "notes")
    questions = [
        {"question": "what makes honey?", "expected": [{"key": "notes/bees.md"}]},
        {"question": "how are crates weighed?", "expected": [{"key": "notes/harbour.md", "text": "kilograms"}]},
    ]
    (tmp_path / "golden.json").write_text(json.dumps(questions))
    assert "the golden set has 2 questions" in here("eval", "--import", "golden.json").err
    measured = parsed(here("eval", "--mode", "hybrid", "--ranks", "--json"))
    assert [(one["mode"], one["questions"], one["mrr"]) for one in measured] == [("hybrid", 2, 1)]
    assert [row["measures"]["rank"] for row in measured[0]["ranks"]] == [1, 1]
    table = here("eval").out
    assert all(mode in table for mode in ("hybrid", "dense", "text", "recall@1", "MRR"))
    exported = parsed(here("eval", "--export"))
    assert {row["question"] for row in exported} == {row["question"] for row in questions}


def test_beside_a_server_all_of_it_is_the_servers(here: Here, tmp_path: Path) -> None:
    with running("serve", "app.py", "--port", "0", "--data", "data", cwd=tmp_path) as server:
        server.until(r"http://127\.0\.0\.1:\d+")
        assert "added: 2 sources" in here("add", "notes", "--data", "data").err
        assert parsed(here("search", "honey", "--json", "--data", "data"))["rows"]
        assert here("ask", "what do bees make?", "--data", "data").out.startswith("Bees make honey")
        assert "bees.md" in here("sources", "--data", "data").out
        assert server.stop() == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["add", "nowhere.md"], "there is no file or folder nowhere.md"),
        (["add", "notes", "--key", "k"], "--key and --name are for one file or address"),
        (["add", "notes/bees.md", "--watch"], "--watch follows folders"),
        (["search", "  "], "an empty search finds nothing"),
        (["search", "x", "--source", "nothing"], "no source has the key 'nothing'"),
        (["search", "x", "--watch", "--explain"], "--explain tells of one moment"),
        (["ask", ""], "an empty question has no answer"),
        (["sources", "show", "nothing"], "no source has the key 'nothing'"),
        (["search", "x", "--corpus", "other"], "the app has no corpus 'other'; it has docs"),
        (["eval", "--import", "nowhere.json"], "--import nowhere.json can't be read"),
        (["eval", "--import", "notes/bees.md"], "is no JSON"),
    ],
)
def test_what_can_not_be_meant_is_refused(here: Here, arguments: list[str], said: str) -> None:
    ended = here(*arguments)
    assert (ended.status, ended.out) == (2, ""), ended.err
    assert said in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["search", "x", "--filter", "{"], "filter"),
        (["search", "x", "--filter", '{"nothing": 1}'], "nothing"),
        (["ask", "x", "--thread", "nothing"], "thread"),
        (["add", "http://127.0.0.1:1/"], "127.0.0.1"),
    ],
)
def test_what_the_corpus_refuses_is_told(here: Here, arguments: list[str], said: str) -> None:
    here("add", "notes")
    ended = here(*arguments)
    assert ended.status == 1
    assert said in ended.err
    assert "Traceback" not in ended.err
