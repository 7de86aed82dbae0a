"""kill -9 in the middle of an answer: it is begun again, visibly, or ends with the reason; it never hangs."""

from __future__ import annotations

import signal
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest

import reflow as rf
from tests.support import arun
from tests.support.answering import TREE_QUESTION, TREES
from tests.support.answers_app import app, corpus
from tests.support.model_provider import ModelProvider, model_provider
from tests.support.servers import ServerProcess

APP = "tests.support.answers_app"
SAID = " ".join(f"word{n} [1]" for n in range(30))


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Generator[ModelProvider, None, None]:
    with model_provider(token_seconds=0.02) as made:
        made.answer = lambda messages: SAID
        monkeypatch.setenv("CHAT_MODEL", "test-chat")
        monkeypatch.setenv("CHAT_URL", made.url)
        monkeypatch.setenv("CHAT_KEY", made.key)
        yield made


def call(server: ServerProcess, kind: str, path: str, **args: Any) -> Any:
    answer = httpx.post(f"{server.url}/api/{kind}", json={"path": f"docs/{path}", "args": args}, timeout=30).json()
    assert answer["status"] == "success", answer
    return answer["value"]


def asked(server: ServerProcess) -> str:
    call(server, "mutation", "sources:put", key="trees", text=TREES)
    return call(server, "mutation", "answers:ask", question=TREE_QUESTION)


def killed_midway(server: ServerProcess, answer: str, words: int) -> str:
    """What the answer said when the server was killed in the middle of it."""
    while len((said := call(server, "query", "answers:text", answer=answer)).split()) < words:
        time.sleep(0.005)
    server.stop(signal.SIGKILL)
    assert len(said) < len(SAID), "too late to kill it"
    return said


def test_rule_1_an_answer_that_a_crash_ended_is_written_anew(provider: ModelProvider, tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, APP)
    answer = asked(server)
    said = killed_midway(server, answer, 10)
    assert SAID.startswith(said)
    server = ServerProcess(tmp_path, APP)
    try:
        while (view := call(server, "query", "answers:get", answer=answer))["state"] not in ("done", "failed"):
            time.sleep(0.01)
        assert (view["state"], view["attempts"], view["cited"], view.get("error")) == ("done", 2, [1], None)
        assert call(server, "query", "answers:text", answer=answer) == SAID
        entries = call(
            server, "query", "ledger:entries", subject=answer, paginationOpts={"numItems": 9, "cursor": None}
        )
        spent = [entry["tokensOut"] for entry in entries["page"] if entry["work"] == "answer"]
        assert len(spent) == 2, "what the lost run took is paid for, too"
    finally:
        server.stop()


def test_an_answer_that_crashes_again_and_again_is_given_up(provider: ModelProvider, tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, APP)
    answer = asked(server)
    for attempt in range(1, 4):
        while call(server, "query", "answers:get", answer=answer)["attempts"] < attempt:
            time.sleep(0.005)
        killed_midway(server, answer, 6)
        if attempt < 3:
            server = ServerProcess(tmp_path, APP)

    async def after() -> tuple[Any, str]:
        async with app.open(tmp_path) as backend:
            await backend.settled()
            async for view in backend.watch(corpus.answers.get, answer):
                if view.state == "failed":
                    return view, await backend.query(corpus.answers.text, answer)
        raise AssertionError

    view, text = arun(after())
    assert view.error == "The server was stopped 3 times while this was being written: try again."
    assert SAID.startswith(text)
    assert text
    assert len(provider.calls) == 3


def test_a_server_that_stops_in_good_order_writes_on_when_it_is_back(provider: ModelProvider, tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, APP)
    answer = asked(server)
    while not call(server, "query", "answers:text", answer=answer):
        time.sleep(0.005)
    server.stop(signal.SIGTERM)

    async def after() -> rf.Backend | None:
        async with app.open(tmp_path) as backend:
            async for view in backend.watch(corpus.answers.get, answer):
                if view.state not in ("waiting", "searching", "writing"):
                    assert (view.state, view.error) == ("done", None)
                    assert await backend.query(corpus.answers.text, answer) == SAID
                    return None
        raise AssertionError

    arun(after())
