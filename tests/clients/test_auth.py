"""The official clients, unmodified, with tokens of a provider that speaks OpenID Connect on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from convex import ConvexClient

from reflow.server.admin import FILE_NAME
from tests.clients.conftest import RunScript
from tests.support.provider import DISCOVERY, LocalProvider, local_provider
from tests.support.servers import ServerProcess, in_process


@pytest.fixture(scope="module")
def provider() -> Iterator[LocalProvider]:
    with local_provider("RS256") as found:
        yield found


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def server(data: Path, provider: LocalProvider) -> Iterator[ServerProcess]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEST_ISSUER", provider.url)
        with in_process(data, "tests.support.auth_app") as process:
            yield process


def test_the_javascript_clients_sign_in(
    server: ServerProcess, provider: LocalProvider, run_script: RunScript, data: Path
) -> None:
    key = (data / FILE_NAME).read_text()
    seen = run_script("auth_client.mjs", server.url, provider.url, key, timeout=100)
    assert seen["signing"]["names"] == [None, "ann", None, "bob"]
    assert seen["signing"]["told"] == [True]
    assert seen["signing"]["calls"] == ["ann", "ann", "ann", None, "bob"]
    # a cached token first, at once a fresh one, and then whenever one is about to end
    assert seen["refreshed"] == {"names": ["ann"], "told": [True], "asked": [False, True, True, True], "result": "ann"}
    assert seen["reused"] == {"result": "ann", "asked": [False]}
    assert seen["stale"] == {"told": [True], "asked": [False, True], "result": "ann"}
    assert seen["refused"]["told"] == [False]
    assert 2 <= seen["refused"]["attempts"] <= 4
    assert seen["refused"]["names"] == [None]
    assert seen["refused"]["result"] is None
    assert seen["nobody"] == {"told": [False], "names": [None], "result": None}
    for way in ("expired", "ageless"):
        assert seen[way]["results"] == seen[way]["signatures"] == ["ann"] * 3
        assert seen[way]["asked"] == [False, True, True]
        assert False not in seen[way]["told"]
    assert seen["outage"]["toldMeanwhile"] == []
    assert seen["outage"]["told"] == [True]
    assert seen["admin"]["claims"] == {"id": f"{provider.url}|zoe", "given_name": "Zoe"}
    assert seen["admin"]["secret"] == "hidden"
    assert seen["http"]["names"] == [None, "ann", "ann", "ann", "ann", None, "zoé", "hidden"]
    assert "Could not find public function" in seen["http"]["hidden"]
    assert seen["http"]["forged"] == "InvalidToken"
    assert DISCOVERY in provider.asked


def test_the_python_client_signs_in(server: ServerProcess, provider: LocalProvider) -> None:
    client = ConvexClient(server.url)
    assert client.query("signed:who") is None
    client.set_auth(provider.issuer.token("ann"))
    assert client.query("signed:who") == "ann"
    subscription = client.subscribe("signed:who")
    assert next(subscription) == "ann"
    assert client.mutation("signed:sign") == "ann"
    assert client.action("signed:asks") == ["ann", "ann"]
    client.set_auth(provider.issuer.token("bob"))
    while (name := next(subscription)) != "bob":
        assert name == "ann"  # this client tells results again that are the same
    client.set_auth(None)  # pyright: ignore[reportArgumentType] - this is how one signs out
    while (name := next(subscription)) is not None:
        assert name == "bob"
    assert client.mutation("signed:sign") is None
    subscription.unsubscribe()
