"""`reflow vectors serve`."""

from __future__ import annotations

import os
from pathlib import Path

import httpx
import pytest

import reflow as rf
from tests.support import arun
from tests.support.cli import Here, running


@pytest.fixture(autouse=True)
def without_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REFLOW_PINECONE_API_KEY", "REFLOW_PINECONE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    return Here(monkeypatch, capsys)


def test_it_serves_what_it_has_kept(tmp_path: Path) -> None:
    data = tmp_path / "vectors"
    for round in range(2):
        with running("vectors", "serve", "--port", "0", "--data", data, "--api-key", "one,two") as command:
            url = command.until(r"(http://[\d.:]+)")[1]
            assert "one" not in "".join(command.said)
            with httpx.Client(base_url=url, headers={"api-key": "two"}) as http:
                if not round:
                    host = http.post("/indexes", json={"name": "x", "dimension": 2}).json()["host"]
                    assert host == f"{url}/i/x"
                    body = {"vectors": [{"id": "a", "values": [1, 2]}]}
                    assert http.post("/i/x/vectors/upsert", json=body).json() == {"upsertedCount": 1}
                assert list(http.get("/i/x/vectors/fetch", params={"ids": "a"}).json()["vectors"]) == ["a"]
                assert http.get("/indexes", headers={"api-key": "three"}).status_code == 401


def test_on_its_own_machine_it_needs_no_key(tmp_path: Path) -> None:
    with running("vectors", "serve", "--port", "0", "--url", "https://example.org/v", cwd=tmp_path) as command:
        url = command.until(r"(http://[\d.:]+)")[1]
        command.until("any key opens it")
        assert httpx.get(f"{url}/indexes").status_code == 401  # but it must be one
        made = httpx.post(f"{url}/indexes", json={"name": "x", "dimension": 2}, headers={"api-key": "anything"})
        assert made.json()["host"] == "https://example.org/v/i/x"
        assert os.listdir(tmp_path) == [".reflow-vectors"]


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.org"])
def test_where_others_come_it_needs_one(here: Here, tmp_path: Path, host: str) -> None:
    said = here("vectors", "serve", "--host", host, "--port", "0", "--data", tmp_path / "vectors")
    assert said.status == 2
    assert "--api-key" in said.err
    assert not (tmp_path / "vectors").exists()


def test_the_directory_of_an_app_is_left_to_it(here: Here, tmp_path: Path) -> None:
    async def use() -> None:
        async with rf.App(modules=[], tables=[rf.collection("tasks")], data=tmp_path).open():
            pass

    arun(use())
    said = here("vectors", "serve", "--port", "0", "--data", tmp_path)
    assert said.status == 2
    assert "tasks" in said.err


def test_an_empty_key_is_a_mistake(here: Here, tmp_path: Path) -> None:
    said = here("vectors", "serve", "--port", "0", "--data", tmp_path / "vectors", "--api-key", " ,")
    assert said.status == 2
    assert "empty" in said.err


@pytest.mark.parametrize("url", ["nonsense", "ftp://vectors.example.com", "https://"])
def test_an_address_that_is_none_is_a_mistake(here: Here, tmp_path: Path, url: str) -> None:
    said = here("vectors", "serve", "--port", "0", "--data", tmp_path / "vectors", "--url", url)
    assert said.status == 2
    assert "is no address that clients reach" in said.err


def test_it_explains_itself(here: Here) -> None:
    assert "serve" in here("vectors", "--help").out
    assert "REFLOW_PINECONE_API_KEY" in here("vectors", "serve", "--help").out
