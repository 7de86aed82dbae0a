"""The official npm client, unmodified, against a real server process."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.clients.conftest import RunScript
from tests.support.proxy import cutting_proxy
from tests.support.servers import ServerProcess, in_process


def is_plain_error(error: dict[str, Any], text: str) -> bool:
    return not error["isConvexError"] and text in error["message"]


def test_the_socket_client(server: ServerProcess, run_script: RunScript) -> None:
    seen = run_script("socket_client.mjs", server.url)
    assert seen["values"][-1] == 3
    assert seen["values"] == sorted(seen["values"])
    assert seen["query"] == 3
    assert seen["result"] == seen["latest"] == 4
    assert seen["action"] >= 1
    assert seen["listed"] == ["hello"]
    assert seen["echoed"] == [True, "1,2", True, "ä"]
    assert seen["sizes"] == [10, 6_000, 200_000, 2_000_000, 16_000_000]
    assert seen["default"] == "the default"
    assert seen["mutationError"]["isConvexError"]
    assert seen["mutationError"]["data"] == {"code": 7}
    assert seen["nullError"]["isConvexError"]
    assert seen["nullError"]["data"] is None
    assert seen["actionError"]["data"] == "no"
    assert is_plain_error(seen["crash"], "the reason")
    assert is_plain_error(seen["missing"], "Could not find public function for 'messages:secret'")
    assert is_plain_error(seen["badArguments"], "ArgumentValidationError")
    assert seen["queryError"] == {"data": {"author": "js"}}
    # as if it were done; then done; as if another were done; then refused and rolled back
    assert seen["optimistic"] == [1004, 5, -1, 5]


def test_the_http_client(server: ServerProcess, run_script: RunScript) -> None:
    seen = run_script("http_client.mjs", server.url)
    assert seen["first"] == seen["query"] == 1
    assert seen["action"] >= 1
    assert seen["consistent"] == [1, 1]
    assert seen["fresh"] == 2
    assert seen["big"] is True
    assert seen["error"]["isConvexError"]
    assert seen["error"]["data"] == {"code": 7}
    assert is_plain_error(seen["crash"], "the reason")
    assert is_plain_error(seen["missing"], "Could not find public function")
    assert is_plain_error(seen["token"], "NoAuthProvider")


def test_rule_5_every_mutation_runs_exactly_once_through_broken_connections(
    server: ServerProcess, run_script: RunScript
) -> None:
    with cutting_proxy(server.port) as proxy:
        # Each of these mutations was committed, and its answer never arrived: the client sends it again.
        proxy.lose("MutationResponse", times=4, every=10)
        seen = run_script("reconnecting_client.mjs", proxy.url, "exactly once", "100", timeout=100)
        assert proxy.left == 0
    assert sorted(seen["results"]) == list(range(1, 101))
    assert seen["latest"] == 100
    assert seen["retries"] >= 4


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_rule_5_exactly_once_also_through_a_restart_of_the_server(
    run_script: RunScript, tmp_path: Path, number: signal.Signals
) -> None:
    first = ServerProcess(tmp_path)
    with cutting_proxy(first.port) as proxy, ThreadPoolExecutor(1) as pool:
        running = pool.submit(run_script, "reconnecting_client.mjs", proxy.url, "restarted", "300", timeout=100)
        try:
            while value_of(first.url, "restarted") < 100:
                assert not running.done()
        finally:
            first.stop(number)
        with in_process(tmp_path) as second:
            proxy.target(second.port)
            seen = running.result(60)
            assert value_of(second.url, "restarted") == 300
    assert sorted(seen["results"]) == list(range(1, 301))


def value_of(url: str, name: str) -> int:
    call = {"path": "lib/counters:valueOf", "args": {"name": name}}
    return httpx.post(f"{url}/api/query", json=call).json()["value"]
