"""`reflow demo` over small corpora: the question from a terminal, the page's server, and every wrong way to ask."""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from reflow.cli.desks import data_for
from reflow.cli.process import use_one_blas_thread
from reflow.storage import lock
from tests.support.cli import COMMAND, Here, environment, reflow, running

HARBOUR = '''"""Tools for a small harbour."""


def moor_ship(ship, berth):
    """Tie a ship to a berth with ropes, so that neither wind nor tide carries it away."""


def weigh_cargo(crates):
    """Return how heavy the crates are together, in kilograms."""
'''


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "harbour.py").write_text(HARBOUR)
    return folder


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    return Here(monkeypatch, capsys)


def test_a_question_is_answered_by_the_local_model(corpus: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    said = reflow("demo", "--query", "how heavy is the freight", "--json", "--corpus", corpus, "--data", data)
    assert said.status == 0, said.err
    hits = json.loads(said.out)
    assert hits[0].keys() == {"name", "source", "lines", "score", "text"}
    assert hits[0]["source"] == "corpus/harbour.py"
    assert "how heavy the crates are" in hits[0]["text"]
    assert hits[0]["lines"]["from"] <= 9 <= hits[0]["lines"]["to"]
    assert hits[0]["score"] == pytest.approx(1)


def test_hits_are_printed_for_people(here: Here, corpus: Path, tmp_path: Path) -> None:
    said = here("demo", "--query", "ropes", "--limit", "1", "--corpus", corpus, "--data", tmp_path / "data")
    assert said.status == 0, said.err
    assert re.match(r" 1\. .+  corpus/harbour\.py:\d+-\d+  1\.000 █+", said.out)
    assert " 2. " not in said.out


def test_the_index_is_kept_and_kept_in_step(here: Here, corpus: Path, tmp_path: Path) -> None:
    arguments = ("demo", "--query", "honey", "--json", "--corpus", corpus, "--data", tmp_path / "data")
    assert "bees" not in here(*arguments).out
    (corpus / "bees.txt").write_text("Bees make honey.")
    hits = json.loads(here(*arguments).out)
    assert (hits[0]["source"], hits[0]["text"]) == ("corpus/bees.txt", "Bees make honey.")
    (corpus / "bees.txt").unlink()
    assert "bees" not in here(*arguments).out


def test_standard_output_holds_hits_alone(here: Here, corpus: Path, tmp_path: Path) -> None:
    said = here("demo", "--query", "xyzzy", "--json", "--limit", "100", "--corpus", corpus, "--data", tmp_path / "data")
    assert json.loads(said.out), "meaning finds something for any question"


def test_beside_a_running_server_the_server_answers(here: Here, corpus: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running("demo", "--no-open", "--port", "0", "--corpus", corpus, "--data", data) as server:
        url = server.until(r"http://127\.0\.0\.1:\d+").group()
        said = here("demo", "--query", "tie with ropes", "--json", "--limit", "1", "--corpus", corpus, "--data", data)
        assert said.status == 0, said.err
        assert "Tie a ship" in json.loads(said.out)[0]["text"]
        page = '{"paginationOpts": {"numItems": 5, "cursor": null}}'
        listed = here("run", "docs/searches:history", page, "--url", url)
        assert [row["input"] for row in json.loads(listed.out)["page"]] == ["tie with ropes"], "the server was asked"
        (corpus / "bees.txt").write_text("Bees make honey.")
        server.until("added: 1 source")
        taken = here("demo", "--no-open", "--port", url.rpartition(":")[2], "--data", tmp_path / "other")
        assert (taken.status, taken.out) == (1, "")
        assert "is in use by another program" in taken.err
        assert "Traceback" not in taken.err
        held = here("demo", "--no-open", "--port", "0", "--data", data)
        assert held.status == 1
        assert f"which serves {url}" in held.err
        assert server.stop() == 0
    assert lock.read(data) is None


def test_an_index_that_was_killed_while_growing_is_completed(corpus: Path, tmp_path: Path) -> None:
    for n in range(60):
        (corpus / f"{n}.txt").write_text(f"This is the text with the number {n}.\n\n" * 30)
    arguments = ["demo", "--query", "number 7", "--json", "--corpus", str(corpus), "--data", str(tmp_path / "data")]
    with subprocess.Popen(
        [*COMMAND, *arguments], env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr is not None
            assert "indexing" in process.stderr.readline()
        finally:
            os.kill(process.pid, signal.SIGKILL)
    said = reflow(*arguments)
    assert said.status == 0, said.err
    assert json.loads(said.out)
    counted = reflow("demo", "--query", "number 8", "--corpus", corpus, "--data", tmp_path / "data")
    assert counted.status == 0
    assert "Traceback" not in said.err + counted.err


def test_stopping_while_indexing_is_quiet(corpus: Path, tmp_path: Path) -> None:
    for n in range(60):
        (corpus / f"{n}.txt").write_text(f"This is the text with the number {n}.\n\n" * 30)
    with running("demo", "--no-open", "--port", "0", "--corpus", corpus, "--data", tmp_path / "data") as server:
        server.until(r"indexing: \d+ of")
        assert server.stop() == 0
        said = "".join(server.said)
        assert "stopped" in said
        assert "ERROR" not in said
        assert "Traceback" not in said


# Wrong ways to ask


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--query", "  "], "--query is empty"),
        (["--json"], "--json is for the hits of --query"),
        (["--query", "x", "--limit", "0"], "should be greater than or equal to 1"),
        (["--query", "x", "--corpus", "nowhere"], "--corpus nowhere does not exist"),
        (["--query", "x", "--corpus", "file.txt"], "--corpus file.txt is a file"),
        (["--query", "x", "--corpus", "empty"], "has no file that can be read"),
        (["--port", "70000"], "should be less than or equal to 65535"),
    ],
)
def test_what_can_not_be_meant_is_refused(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.txt").touch()
    (tmp_path / "empty").mkdir()
    ended = here("demo", "--data", tmp_path / "data", *arguments)
    assert (ended.status, ended.out) == (2, "")
    assert said in " ".join(ended.err.replace("│", " ").split())
    assert not (tmp_path / "data").exists()


def test_a_corpus_without_any_text_is_told(here: Here, tmp_path: Path) -> None:
    (tmp_path / "blank").mkdir()
    (tmp_path / "blank" / "blank.md").write_text("\n\n")
    said = here("demo", "--query", "x", "--corpus", tmp_path / "blank", "--data", tmp_path / "data")
    assert (said.status, said.out) == (1, "")
    assert "there is no text in" in said.err


def test_a_directory_that_is_not_ours_is_left_alone(here: Here, corpus: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    here("demo", "--query", "ropes", "--corpus", corpus, "--data", data)
    (database,) = (path for path in data.iterdir() if path.suffix in (".db", ".sqlite", ".sqlite3"))
    for path in data.iterdir():
        path.unlink()
    database.write_bytes(b"somebody's own file" * 100)
    said = here("demo", "--query", "ropes", "--corpus", corpus, "--data", data)
    assert (said.status, said.out) == (1, "")
    assert said.err.startswith("reflow: ")
    assert "Traceback" not in said.err
    assert database.read_bytes() == b"somebody's own file" * 100


def test_a_path_that_is_a_file_is_no_directory(here: Here, corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    said = here("demo", "--query", "ropes", "--corpus", corpus, "--data", tmp_path / "data")
    assert said.status == 1
    assert "can't be used" in said.err


def test_a_port_in_use_is_told_before_anything_is_opened(here: Here, corpus: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = here("demo", "--no-open", "--port", port, "--corpus", corpus, "--data", tmp_path / "data")
    assert said.status == 1
    assert f"port {port} on 127.0.0.1 is in use by another program" in said.err
    assert not (tmp_path / "data").exists()


def test_a_missing_extra_is_told(here: Here, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    said = here("demo", "--query", "notes", "--corpus", corpus, "--data", tmp_path / "data")
    assert (said.status, said.out) == (1, "")
    assert "onnxruntime" in said.err
    assert 'pip install "reflow[rag]"' in said.err
    assert not (tmp_path / "data").exists()


def test_numpy_computes_in_the_calling_thread() -> None:
    if use_one_blas_thread():
        (library,) = (Path(np.__file__).parent.parent / "numpy.libs").glob("*openblas*")
        assert ctypes.CDLL(str(library)).scipy_openblas_get_num_threads64_() == 1


def test_each_corpus_has_its_own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert data_for(None) == tmp_path / "reflow" / "playground"
    assert data_for(tmp_path / "a") != data_for(tmp_path / "b")
    assert data_for(tmp_path / "a").parent == tmp_path / "reflow"
