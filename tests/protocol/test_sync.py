"""The sync protocol on a raw socket: its fields, its versions, its order, and what the clients rely on."""

from __future__ import annotations

import time
import uuid
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from reflow.server.frames import decode_timestamp, encode_timestamp
from reflow.server.serve import Serving
from tests.support.app_under_test import app
from tests.support.servers import Threaded
from tests.support.sync_client import ZERO, SyncClient, added, number, removed

RESPONSE_FIELDS = {"type", "requestId", "success", "result", "ts", "logLines"}


def name() -> str:
    """A name that no other test uses."""
    return uuid.uuid4().hex


# Fields


def test_a_transition_has_exactly_the_fields_that_clients_read(server: Threaded) -> None:
    with SyncClient(server.url) as client:
        client.modify(added(0, "lib/counters:valueOf", {"name": name()}))
        message = client.expect("Transition")
    assert set(message) == {"type", "startVersion", "endVersion", "modifications"}  # no clientClockSkew, no serverTs
    assert message["startVersion"] == ZERO
    assert set(message["endVersion"]) == {"querySet", "identity", "ts"}
    assert message["modifications"] == [
        {"type": "QueryUpdated", "queryId": 0, "value": 0, "logLines": [], "journal": None}
    ]


def test_a_mutation_response_carries_result_log_lines_and_the_commit_timestamp(server: Threaded) -> None:
    with SyncClient(server.url) as client:
        response = client.mutate("lib/counters:addOne", {"name": name()})
    assert set(response) == RESPONSE_FIELDS
    assert response["success"] is True
    assert response["result"] == 1
    assert response["logLines"] == []
    assert isinstance(response["ts"], str)  # null would crash the JavaScript client
    assert 0 < number(response["ts"]) < 1 << 63


def test_a_plain_failure_has_no_error_data(server: Threaded) -> None:
    with SyncClient(server.url) as client:
        response = client.mutate("messages:crash")
    assert set(response) == RESPONSE_FIELDS
    assert response["success"] is False
    assert response["ts"] is None
    assert "the reason" in response["result"]


@pytest.mark.parametrize("data", [None, "text", {"code": 7, "deep": [1.5, {"$integer": "BQAAAAAAAAA="}]}])
def test_error_data_is_there_even_when_it_is_null(server: Threaded, data: Any) -> None:
    with SyncClient(server.url) as client:
        mutation = client.mutate("messages:refuse", {"data": data})
        action = client.act("messages:refuse_action", {"data": data})
    assert set(mutation) == RESPONSE_FIELDS | {"errorData"}
    assert set(action) == RESPONSE_FIELDS - {"ts"} | {"errorData"}
    assert mutation["errorData"] == action["errorData"] == data
    assert action["logLines"] == []  # what functions log is not for clients


def test_an_action_response_has_no_timestamp(server: Threaded) -> None:
    with SyncClient(server.url) as client:
        response = client.act("messages:wait", {"seconds": 0.0})
    assert response == {"type": "ActionResponse", "requestId": 0, "success": True, "result": 0, "logLines": []}


def test_values_pass_through_untouched(server: Threaded) -> None:
    value = {"i": {"$integer": "//////////8="}, "f": {"$float": "AAAAAAAA8H8="}, "b": {"$bytes": "AAE="}, "t": 'ä"\\\n'}
    with SyncClient(server.url) as client:
        assert client.subscribe(0, "extra:echo", {"value": value})["value"] == value


def test_a_query_that_fails_stays_subscribed(server: Threaded) -> None:
    author = name()
    with SyncClient(server.url) as client:
        assert client.subscribe(0, "messages:failing", {"author": author})["value"] == 0
        client.call("Mutation", "messages:send", {"author": author, "body": ""})
        client.expect("MutationResponse")
        (change,) = client.expect("Transition")["modifications"]
    assert set(change) == {"type", "queryId", "errorMessage", "errorData", "logLines", "journal"}
    assert change["type"] == "QueryFailed"
    assert change["errorData"] == {"author": author}


def test_timestamps_are_base64_of_little_endian_nanoseconds(server: Threaded) -> None:
    assert encode_timestamp(0) == ZERO["ts"]
    assert decode_timestamp(encode_timestamp((1 << 63) - 1)) == (1 << 63) - 1
    with SyncClient(server.url) as client:
        response = client.mutate("lib/counters:addOne", {"name": name()})
    assert abs(number(response["ts"]) - time.time_ns()) < 60e9


@pytest.mark.parametrize("path", ["/api/sync", "/api/1.48.0/sync", "/api/0.8.1/sync"])
def test_all_clients_find_the_socket(server: Threaded, path: str) -> None:
    with SyncClient(server.url, path=path) as client:
        assert client.subscribe(0, "extra:default")["value"] == "the default"


@pytest.mark.parametrize("path", ["/", "/api/sync/more", "/sync", "/api/a/b/sync"])
def test_other_addresses_have_no_socket(server: Threaded, path: str) -> None:
    with pytest.raises(InvalidStatus):
        SyncClient(server.url, path=path)


# Paths


@pytest.mark.parametrize("path", ["extra:default", "extra", "extra.js:default", "extra.js"])
def test_paths_in_all_spellings(server: Threaded, path: str) -> None:
    with SyncClient(server.url) as client:
        assert client.subscribe(0, path)["value"] == "the default"


@pytest.mark.parametrize(
    "path", ["nope:nothing", "messages:secret", "messages:secret_send", "messages", "", ":", "a:b:c"]
)
@pytest.mark.parametrize("fields", [{}, {"componentPath": "other"}])
def test_rule_8_internal_functions_answer_like_missing_ones(
    server: Threaded, path: str, fields: dict[str, str]
) -> None:
    with SyncClient(server.url) as client:
        query = client.subscribe(0, path, **fields)
        client.call("Mutation", path, **fields)
        mutation = client.expect("MutationResponse")
        assert client.expect("Transition")["modifications"] == []
        client.call("Action", path, **fields)
        action = client.expect("ActionResponse")
    assert query["type"] == "QueryFailed"
    assert not mutation["success"]
    assert not action["success"]
    assert query["errorMessage"] == mutation["result"] == action["result"]
    assert query["errorMessage"].startswith("Could not find public function for '")


def test_functions_of_components_are_not_the_apps(server: Threaded) -> None:
    with SyncClient(server.url) as client:
        assert client.subscribe(0, "extra:default", componentPath="other")["type"] == "QueryFailed"
        assert client.subscribe(1, "extra:default", componentPath="")["value"] == "the default"


@pytest.mark.parametrize("kind", ["Mutation", "Action"])
def test_a_function_of_another_kind_is_missing(server: Threaded, kind: str) -> None:
    with SyncClient(server.url) as client:
        client.call(kind, "extra:default")
        assert not client.receive()["success"]


def test_wrong_arguments_are_told_to_the_caller(server: Threaded) -> None:
    with SyncClient(server.url) as client:
        query = client.subscribe(0, "lib/counters:valueOf", {"nam": "x"})
        mutation = client.mutate("lib/counters:addOne", {"name": 5})
        client.call("Mutation", "lib/counters:addOne", args=["no object"])
        other = client.expect("MutationResponse")
    assert query["errorMessage"].startswith("ArgumentValidationError: ")
    assert mutation["result"].startswith("ArgumentValidationError: ")
    assert other["result"].startswith("ArgumentValidationError: ")


# Versions and query sets


def test_an_empty_query_set_gets_its_transition(server: Threaded) -> None:
    with SyncClient(server.url) as client:
        client.modify()
        assert client.expect("Transition")["endVersion"]["querySet"] == 1


def test_changes_of_the_query_set_may_share_a_transition(server: Threaded) -> None:
    key = name()
    with SyncClient(server.url) as client:
        client.modify(added(0, "lib/counters:valueOf", {"name": key}))
        client.modify(added(1, "extra:default"))
        client.modify(removed(0))
        while client.version["querySet"] < 3:
            client.expect("Transition")
        assert client.results == {1: "the default"}


def test_removing_a_query_is_confirmed_and_ends_its_updates(server: Threaded) -> None:
    key = name()
    with SyncClient(server.url) as client:
        client.subscribe(0, "lib/counters:valueOf", {"name": key})
        client.modify(removed(0))
        assert client.expect("Transition")["modifications"] == [{"type": "QueryRemoved", "queryId": 0}]
        client.call("Mutation", "lib/counters:addOne", {"name": key})
        client.expect("MutationResponse")
        assert client.expect("Transition")["modifications"] == []


def test_an_unchanged_result_is_not_sent_again(server: Threaded) -> None:
    author = name()
    with SyncClient(server.url) as client:
        client.subscribe(0, "messages:failing", {"author": author})
        client.subscribe(1, "messages:count")
        client.call("Mutation", "messages:send", {"author": name(), "body": ""})
        client.expect("MutationResponse")
        assert [change["queryId"] for change in client.expect("Transition")["modifications"]] == [1]


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([("ModifyQuerySet", {"baseVersion": 1, "newVersion": 2, "modifications": []})], "BaseVersionMismatch"),
        ([("ModifyQuerySet", {"baseVersion": 0, "newVersion": 0, "modifications": []})], "BaseVersionMismatch"),
        ([("Authenticate", {"baseVersion": 1, "tokenType": "None"})], "BaseVersionMismatch"),
        (
            [
                (
                    "ModifyQuerySet",
                    {"baseVersion": 0, "newVersion": 1, "modifications": [added(0, "extra"), added(0, "extra")]},
                )
            ],
            "query 0 is in the query set already",
        ),
        (
            [("ModifyQuerySet", {"baseVersion": 0, "newVersion": 1, "modifications": [removed(4)]})],
            "query 4 is to be removed",
        ),
        ([("Connect", {"sessionId": "again"})], "second Connect"),
        ([("Authenticate", {"baseVersion": 0, "tokenType": "Other"})], "tokenType"),
        ([("Nothing", {})], "Nothing"),
        ([("Mutation", {"requestId": -1, "udfPath": "a:b", "args": [{}]})], "requestId"),
        ([("Mutation", {"requestId": 1 << 32, "udfPath": "a:b", "args": [{}]})], "requestId"),
        ([("Mutation", {"requestId": 0, "udfPath": "a:b", "args": []})], "args"),
        ([("Mutation", {"requestId": 0, "udfPath": "a:b", "args": [{}, {}]})], "args"),
        ([("Mutation", {"requestId": 0, "args": [{}]})], "udfPath"),
    ],
)
def test_a_broken_rule_is_fatal_and_named(
    server: Threaded, messages: list[tuple[str, dict[str, Any]]], reason: str
) -> None:
    with SyncClient(server.url) as client:
        for kind, fields in messages:
            client.send(kind, **fields)
        assert reason in client.expect("FatalError")["error"]
        closed = client.closed()
    assert closed.rcvd is not None
    assert closed.rcvd.code == 1008


def test_the_first_message_must_be_connect(server: Threaded) -> None:
    with SyncClient(server.url, introduce=False) as client:
        client.modify()
        assert "first message must be Connect" in client.expect("FatalError")["error"]


def test_events_are_ignored_and_unknown_fields_too(server: Threaded) -> None:
    with SyncClient(server.url, introduce=False) as client:
        client.connect(somethingNew={"a": [1]})
        client.send("Event", eventType="ClientConnect", event={"any": "thing"})
        assert client.subscribe(0, "extra:default", somethingNew=1)["value"] == "the default"


# Time


def test_a_client_of_the_future_is_sent_away_to_come_back(server: Threaded) -> None:
    with SyncClient(server.url, introduce=False) as client:
        client.connect(maxObservedTimestamp=encode_timestamp(time.time_ns() + 3600 * 10**9))
        client.modify()
        closed = client.closed()
    assert closed.rcvd is not None
    assert closed.rcvd.code == 1011
    assert closed.rcvd.reason.startswith("InternalServerError")


def test_after_lost_data_time_does_not_go_back_for_a_client(server: Threaded) -> None:
    seen = time.time_ns()  # above all that is committed: as if the latest commits had been lost
    with SyncClient(server.url, introduce=False) as client:
        client.connect(maxObservedTimestamp=encode_timestamp(seen))
        change = client.subscribe(0, "extra:default")
        assert change["value"] == "the default"
        assert number(client.version["ts"]) >= seen


def test_a_bad_timestamp_is_the_clients_mistake(server: Threaded) -> None:
    with SyncClient(server.url, introduce=False) as client:
        client.connect(maxObservedTimestamp="yesterday")
        assert "maxObservedTimestamp" in client.expect("FatalError")["error"]


# Who is asking


def test_nobody_is_an_identity_too(server: Threaded) -> None:
    with SyncClient(server.url) as client:
        client.send("Authenticate", baseVersion=0, tokenType="None")
        assert client.expect("Transition")["endVersion"]["identity"] == 1
        client.send("Authenticate", baseVersion=1, tokenType="None")
        assert client.expect("Transition")["endVersion"]["identity"] == 2


@pytest.mark.parametrize(("kind", "code"), [("User", "NoAuthProvider"), ("Admin", "BadDeployKey")])
def test_a_token_is_refused_where_no_provider_is_set_up(server: Threaded, kind: str, code: str) -> None:
    with SyncClient(server.url) as client:
        client.send("Authenticate", baseVersion=0, tokenType=kind, value="x.y.z", impersonating={"subject": "a"})
        error = client.expect("AuthError")
        closed = client.closed()
    assert error["authUpdateAttempted"] is True
    assert error["baseVersion"] == 0
    assert error["error"].startswith(f"{code}: ")
    assert closed.rcvd is not None
    assert closed.rcvd.code == 1000


# Order


def test_rule_3_all_results_of_a_transition_are_of_one_snapshot(server: Threaded) -> None:
    key = name()
    with SyncClient(server.url) as reader, SyncClient(server.url) as writer:
        reader.modify(
            added(0, "lib/counters:valueOf", {"name": key}), added(1, "extra:large", {"name": key, "size": 3})
        )
        for _ in range(100):
            writer.call("Mutation", "lib/counters:addOne", {"name": key})
        seen: list[int] = []
        while not seen or seen[-1] < 100:
            reader.expect("Transition")
            assert reader.results[1] == f"{reader.results[0]}:xxx"
            seen.append(reader.results[0])
    assert seen == sorted(set(seen))


def test_rule_4_a_mutation_is_seen_after_its_response_and_with_a_later_transition(server: Threaded) -> None:
    key = name()
    with SyncClient(server.url) as client, SyncClient(server.url) as other:
        client.subscribe(0, "lib/counters:valueOf", {"name": key})
        other.subscribe(0, "lib/counters:valueOf", {"name": key})
        requests = 200
        for number_ in range(requests):
            client.call("Mutation", "lib/counters:addOne", {"name": key})
            if number_ % 3 == 0:
                other.call("Mutation", "lib/counters:addOne", {"name": key})
        answered: dict[int, int] = {}
        newest = 0
        while len(answered) < requests or number(client.version["ts"]) < newest:
            message = client.receive()
            if message["type"] == "MutationResponse":
                # It was not shown before: no transition so far reached its commit.
                assert number(message["ts"]) > number(client.version["ts"])
                answered[message["requestId"]] = message["result"]
                newest = number(message["ts"])
            else:
                assert client.results[0] >= max(answered.values(), default=0)
        assert list(answered) == list(range(requests))  # in the order of their arrival


def test_rule_4_also_where_nothing_is_subscribed_and_nothing_changes(server: Threaded) -> None:
    with SyncClient(server.url) as client:
        for _ in range(3):
            client.call("Mutation", "messages:send_once", {"author": "a", "body": "the same"})
            response = client.expect("MutationResponse")
            assert number(client.expect("Transition")["endVersion"]["ts"]) >= number(response["ts"])


def test_a_failed_mutation_changes_nothing(server: Threaded) -> None:
    with SyncClient(server.url) as client:
        before = client.subscribe(0, "messages:listing", {"author": "refused"})["value"]
        client.mutate("messages:refuse", {"data": 1})
        client.mutate("lib/counters:addOne", {"name": name()})
        assert client.results[0] == before == []


def test_actions_run_side_by_side(server: Threaded) -> None:
    with SyncClient(server.url) as client:
        slow = client.call("Action", "messages:wait", {"seconds": 0.5})
        quick = client.call("Action", "messages:wait", {"seconds": 0.0})
        assert [client.receive()["requestId"] for _ in range(2)] == [quick, slow]


# Replay


def test_a_mutation_sent_again_is_answered_and_not_run_again(server: Threaded) -> None:
    key = name()
    with SyncClient(server.url) as client:
        first = client.mutate("lib/counters:addOne", {"name": key})
    with SyncClient(server.url, introduce=False) as again:
        again.session = client.session
        again.connect(connectionCount=1, lastCloseReason="dropped", maxObservedTimestamp=first["ts"])
        replayed = again.mutate("lib/counters:addOne", {"name": key})
        assert replayed == first
        assert again.subscribe(0, "lib/counters:valueOf", {"name": key})["value"] == 1


# Bounds


def test_too_many_queries_are_refused_by_the_name_of_the_limit(server: Threaded) -> None:
    with SyncClient(server.url) as client:
        client.modify(*(added(i, "extra:echo", {"value": i}) for i in range(4097)))
        assert "limits.queries_per_socket" in client.expect("FatalError")["error"]


def test_too_many_waiting_actions_are_refused_one_by_one(server: Threaded) -> None:
    with SyncClient(server.url) as client:
        for _ in range(1003):
            client.call("Action", "messages:wait", {"seconds": 1.0})
        answers = [client.receive() for _ in range(1003)]
    refused = [answer for answer in answers if not answer["success"]]
    assert [answer["requestId"] for answer in refused] == [1000, 1001, 1002]
    assert "limits.actions_per_socket" in refused[0]["result"]


def test_a_leaving_client_leaves_nothing_behind(server: Threaded) -> None:
    async def sockets(serving: Serving) -> int:
        return len(app.doors.sockets())

    before = server.call(sockets)
    key = name()
    with SyncClient(server.url) as client:
        client.subscribe(0, "lib/counters:valueOf", {"name": key})
        assert server.call(sockets) == before + 1
        client.call("Mutation", "lib/counters:addOne", {"name": key})
    deadline = time.monotonic() + 10
    while server.call(sockets) > before:
        assert time.monotonic() < deadline
        time.sleep(0.01)
