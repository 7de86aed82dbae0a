"""Answers with the official client, unmodified: many watchers, one that is cut off, and one that comes late."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import httpx
import pytest

from tests.clients.conftest import RunScript
from tests.support.answering import TREES
from tests.support.model_provider import ModelProvider, model_provider
from tests.support.proxy import cutting_proxy
from tests.support.servers import ServerProcess, in_process

APP = "tests.support.answers_app"
WATCHERS = 50
SAID = " ".join(f"word{n} [1]" for n in range(60))


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelProvider]:
    with model_provider(token_seconds=0.02) as made:
        made.answer = lambda messages: SAID
        for name, value in (("CHAT_MODEL", "test-chat"), ("CHAT_URL", made.url), ("CHAT_KEY", made.key)):
            monkeypatch.setenv(name, value)
        yield made


@pytest.fixture
def server(provider: ModelProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with in_process(tmp_path_factory.mktemp("data"), APP) as process:
        call = {"path": "docs/sources:put", "args": {"key": "trees", "text": TREES}}
        assert httpx.post(f"{process.url}/api/mutation", json=call).json()["status"] == "success"
        yield process


def test_fifty_watchers_see_one_stream_through_a_lost_connection(
    server: ServerProcess, provider: ModelProvider, run_script: RunScript
) -> None:
    with cutting_proxy(server.port) as proxy:
        # The connection of one of them is cut as words come in, twice.
        proxy.lose("word10 ", times=1)
        cut_again = threading.Timer(1.5, proxy.cut)
        cut_again.start()
        seen = run_script("answers_client.mjs", server.url, proxy.url, str(WATCHERS), timeout=120)
        cut_again.join()
    assert seen["texts"] == [SAID] * (WATCHERS + 2)
    assert seen["grows"], "nobody ever saw a text that what came later does not begin with"
    assert set(seen["states"]) == {"done"}
    assert seen["cited"] == [1]
    assert seen["passages"] == [{"number": 1, "key": "trees", "firstLine": 1, "lastLine": 3, "version": 1}]
    assert seen["connections"] >= 2
    assert min(seen["steps"][:WATCHERS]) > 8, "it came as a stream"
    # The first page was sent while it grew, and not again once it was full.
    assert seen["firstPage"] == sorted(set(seen["firstPage"]))
    assert seen["firstPage"][-1] == 8
    assert len(provider.calls) == 1
