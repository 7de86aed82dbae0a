"""The official PyPI client, unmodified, against a real server process."""

from __future__ import annotations

import time
from typing import Any

import pytest
from convex import ConvexClient, ConvexError, ConvexInt64

from tests.support.proxy import cutting_proxy
from tests.support.servers import ServerProcess


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> ConvexClient:
    return ConvexClient(server.url)


def test_queries_mutations_and_actions(client: ConvexClient) -> None:
    assert client.query("lib/counters:valueOf", {"name": "py"}) == 0
    assert client.mutation("lib/counters:addOne", {"name": "py"}) == 1
    assert client.query("lib/counters:valueOf", {"name": "py"}) == 1
    assert client.action("messages:announce", {"author": "py", "body": "hi"}) >= 1
    assert [row["body"] for row in client.query("messages:listing", {"author": "py"})] == ["hi"]


def test_subscriptions(client: ConvexClient) -> None:
    subscription = client.subscribe("lib/counters:valueOf", {"name": "py live"})
    seen: list[Any] = [next(subscription)]
    for _ in range(3):
        client.mutation("lib/counters:addOne", {"name": "py live"})
    while seen[-1] != 3:
        seen.append(next(subscription))
    assert seen == sorted(seen)
    subscription.unsubscribe()


def test_values(client: ConvexClient) -> None:
    value = {"big": ConvexInt64(1 << 40), "bytes": b"\x00\xff", "list": [1, None, "ä"], "number": float("inf")}
    back = client.query("extra:echo", {"value": value})
    assert back["big"] == ConvexInt64(1 << 40)
    assert back["bytes"] == b"\x00\xff"
    assert back["list"] == [1.0, None, "ä"]
    assert back["number"] == float("inf")


def test_a_large_result(client: ConvexClient) -> None:
    assert len(client.query("extra:large", {"name": "none", "size": 16_000_000})) == 16_000_002


def test_more_in_one_transition_than_a_frame_may_have(client: ConvexClient) -> None:
    """Two results change at once: 20 MB, where the client takes frames of 16 MiB."""
    name = "py large"
    both = [client.subscribe("extra:large", {"name": name, "size": 10_000_000 + n}) for n in range(2)]
    assert [str(next(one))[:2] for one in both] == ["0:", "0:"]
    client.mutation("lib/counters:addOne", {"name": name})
    for one in both:
        while (value := str(next(one)))[:2] != "1:":
            assert value[:2] == "0:"
    for one in both:
        one.unsubscribe()


def test_errors(client: ConvexClient) -> None:
    with pytest.raises(ConvexError) as refused:
        client.mutation("messages:refuse", {"data": {"code": 7}})
    assert refused.value.data == {"code": 7}
    with pytest.raises(ConvexError) as refused:
        client.action("messages:refuse_action", {"data": None})
    assert refused.value.data is None
    with pytest.raises(Exception, match="the reason") as crashed:
        client.mutation("messages:crash")
    assert not isinstance(crashed.value, ConvexError)
    with pytest.raises(Exception, match="Could not find public function"):
        client.query("messages:secret")
    with pytest.raises(Exception, match="ArgumentValidationError"):
        client.mutation("lib/counters:addOne", {"nam": "x"})


def test_a_dropped_connection_makes_mutations_at_least_once(server: ServerProcess) -> None:
    """This client makes a new session for each socket, so that the server can't tell a replay."""
    with cutting_proxy(server.port) as proxy:
        client = ConvexClient(proxy.url)
        client.query("extra:default")
        proxy.lose("MutationResponse", times=1)
        assert client.mutation("lib/counters:addOne", {"name": "py dropped"}) == 2
        assert proxy.left == 0
        assert client.query("lib/counters:valueOf", {"name": "py dropped"}) == 2


def test_an_idempotent_mutation_runs_once_through_a_dropped_connection(server: ServerProcess) -> None:
    with cutting_proxy(server.port) as proxy:
        client = ConvexClient(proxy.url)
        client.query("extra:default")
        proxy.lose("MutationResponse", times=2)
        first = client.mutation("messages:send_once", {"author": "py once", "body": "call 1"})
        second = client.mutation("messages:send_once", {"author": "py once", "body": "call 2"})
        assert proxy.left == 0
        rows = client.query("messages:listing", {"author": "py once"})
        assert [row["_id"] for row in rows] == [first, second]


def test_subscriptions_go_on_after_a_dropped_connection(server: ServerProcess, client: ConvexClient) -> None:
    with cutting_proxy(server.port) as proxy:
        through = ConvexClient(proxy.url)
        subscription = through.subscribe("lib/counters:valueOf", {"name": "py again"})
        assert next(subscription) == 0
        proxy.cut()
        client.mutation("lib/counters:addOne", {"name": "py again"})
        deadline = time.monotonic() + 30
        while next(subscription) != 1:
            assert time.monotonic() < deadline
        subscription.unsubscribe()
