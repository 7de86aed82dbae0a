"""Signing in: over the socket and over HTTP, until the token ends; and the admin key."""

from __future__ import annotations

import json
import logging
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosedError

import reflow as rf
from reflow.server.admin import FILE_NAME
from tests.support.auth_app import QUICK, signed
from tests.support.provider import local_provider
from tests.support.servers import Threaded, in_thread
from tests.support.sync_client import SyncClient, added
from tests.support.tokens import ISSUER

KEY = "long enough, and not easy to guess"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Threaded]:
    app = rf.App(modules=[signed], auth=[ISSUER.provider], environment={"REFLOW_ADMIN_KEY": KEY}, limits=QUICK)
    with in_thread(app, tmp_path_factory.mktemp("data")) as threaded:
        yield threaded


@pytest.fixture
def client(server: Threaded) -> Iterator[SyncClient]:
    with SyncClient(server.url) as found:
        yield found


def authenticate(client: SyncClient, base: int, value: str = "", kind: str = "User", **fields: Any) -> None:
    client.send("Authenticate", baseVersion=base, tokenType=kind, value=value, **fields)


def post(server: Threaded, door: str, path: str, authorization: str | None = None, **args: Any) -> httpx.Response:
    headers = {} if authorization is None else {"authorization": authorization}
    return httpx.post(f"{server.url}/api/{door}", json={"path": path, "args": args}, headers=headers)


# Over the socket


def test_a_token_signs_in_and_nothing_signs_out(client: SyncClient) -> None:
    assert client.subscribe(0, "signed:who")["value"] is None
    authenticate(client, 0, ISSUER.token("ann"))
    assert client.expect("Transition")["endVersion"]["identity"] == 1
    assert client.results[0] == "ann"
    assert client.mutate("signed:sign")["result"] == "ann"
    assert client.act("signed:asks")["result"] == ["ann", "ann"]
    authenticate(client, 1, ISSUER.token("bob"))
    assert client.expect("Transition")["endVersion"]["identity"] == 2
    assert client.results[0] == "bob"
    authenticate(client, 2, kind="None")
    assert client.expect("Transition")["endVersion"]["identity"] == 3
    assert client.results[0] is None
    assert client.mutate("signed:sign")["result"] is None


def test_a_refreshed_token_runs_nothing_again(client: SyncClient) -> None:
    authenticate(client, 0, ISSUER.token("ann", jti="1"))
    client.subscribe(0, "signed:claims")
    authenticate(client, 1, ISSUER.token("ann", jti="2", lifetime=7000))
    step = client.expect("Transition")
    assert step["endVersion"]["identity"] == 2
    assert step["modifications"] == []
    authenticate(client, 2, ISSUER.token("ann", role="admin"))
    step = client.expect("Transition")
    assert [change["value"]["role"] for change in step["modifications"]] == ["admin"]


@pytest.mark.parametrize("token", ["", "x.y.z", ISSUER.token("ann")[:-2], ISSUER.token("ann", aud="other")])
def test_a_refused_token_ends_the_socket(client: SyncClient, token: str) -> None:
    authenticate(client, 0, ISSUER.token("ann"))
    client.expect("Transition")
    authenticate(client, 1, token)
    client.call("Mutation", "signed:sign", {"text": "never seen"})
    error = client.expect("AuthError")
    assert (error["baseVersion"], error["authUpdateAttempted"]) == (1, True)
    assert error["error"].partition(":")[0] in ("InvalidToken", "NoAuthProvider")
    closed = client.closed()
    assert closed.rcvd is not None
    assert (closed.rcvd.code, closed.rcvd.reason) == (1000, "AuthError")


def test_an_expired_token_ends_the_session(client: SyncClient) -> None:
    authenticate(client, 0, ISSUER.token("ann", lifetime=1))
    client.subscribe(0, "signed:who")
    error = client.receive()
    assert error == {
        "type": "AuthError",
        "error": "TokenExpired: the token has expired",
        "baseVersion": 1,
        "authUpdateAttempted": False,
    }
    closed = client.closed()
    assert closed.rcvd is not None
    assert (closed.rcvd.code, closed.rcvd.reason) == (1000, "AuthError")


def test_a_refresh_in_time_keeps_the_session(client: SyncClient) -> None:
    authenticate(client, 0, ISSUER.token("ann", lifetime=1))
    client.subscribe(0, "signed:who")
    authenticate(client, 1, ISSUER.token("ann", lifetime=60))
    client.expect("Transition")
    time.sleep(1.2)  # the first token has ended
    assert client.mutate("signed:sign")["result"] == "ann"


def test_signing_out_forgets_when_the_token_ends(client: SyncClient) -> None:
    authenticate(client, 0, ISSUER.token("ann", lifetime=1))
    authenticate(client, 1, kind="None")
    client.subscribe(0, "signed:who")
    time.sleep(1.2)
    assert client.mutate("signed:sign")["result"] is None


def came_back(server: Threaded, token: str) -> Any:
    """What a client gets that comes again as often as it is told to: the provider is not asked at once either."""
    for _ in range(100):
        with SyncClient(server.url) as client:
            authenticate(client, 0, token)
            try:
                return client.subscribe(0, "signed:who")
            except ConnectionClosedError as closed:
                if closed.rcvd is None or closed.rcvd.code != 1013:
                    raise
        time.sleep(0.1)
    raise AssertionError("the client was not let in again")


def test_a_provider_that_is_down_makes_clients_come_back(tmp_path: Path) -> None:
    with local_provider("ES256") as provider:
        provider.down()
        app = rf.App(modules=[signed], auth=[provider.oidc], limits=QUICK)
        with in_thread(app, tmp_path) as server:
            token = provider.issuer.token("ann")
            with SyncClient(server.url) as client:
                authenticate(client, 0, token)
                closed = client.closed()
            assert closed.rcvd is not None
            assert closed.rcvd.code == 1013
            assert closed.rcvd.reason.startswith("AuthProviderUnavailable: ")
            response = post(server, "query", "signed:who", f"Bearer {token}")
            assert (response.status_code, response.json()["code"]) == (503, "AuthProviderUnavailable")
            provider.up()
            assert came_back(server, token)["value"] == "ann"


# Over HTTP


def test_a_bearer_token_names_the_caller(server: Threaded) -> None:
    bearer = f"Bearer {ISSUER.token('ann', email='a@b.test')}"
    assert post(server, "query", "signed:who", bearer).json()["value"] == "ann"
    assert post(server, "mutation", "signed:sign", bearer).json()["value"] == "ann"
    assert post(server, "action", "signed:asks", bearer).json()["value"] == ["ann", "ann"]
    told = post(server, "query", "signed:claims", bearer).json()["value"]
    assert told == {"id": "https://issuer.test|ann", "email": "a@b.test"}
    assert post(server, "query", "signed:claims").json()["value"] == {}
    for name in ("bob", "ann", "bob"):
        assert post(server, "query", "signed:who", f"bearer {ISSUER.token(name)}").json()["value"] == name


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("Bearer x.y.z", "InvalidToken"),
        ("Bearer", "InvalidToken"),
        (f"Bearer {ISSUER.token('ann', lifetime=-60)}", "InvalidToken"),
        (f"Bearer {ISSUER.token('ann', iss='https://evil.test')}", "NoAuthProvider"),
        (f"Bearer {ISSUER.token('ann', header={'kid': 'other'})}", "InvalidToken"),
        ("Basic YTpi", "InvalidAuthHeader"),
        ("Convex wrong", "BadDeployKey"),
        ("Convex", "BadDeployKey"),
        (f"Convex {KEY[:-1]}", "BadDeployKey"),
        (f"Convex {KEY}:no json", "InvalidIdentity"),
        (f"Convex {KEY}:{b64encode(b'{}').decode()}", "InvalidIdentity"),
    ],
)
def test_a_request_that_shows_something_wrong_runs_nothing(
    server: Threaded, header: str, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        response = post(server, "mutation", "signed:sign", header, text="wrong")
    assert response.status_code == 401
    assert response.json()["code"] == code
    secret = header.partition(" ")[2]
    if len(secret) > 8:
        assert secret not in response.text + caplog.text
    assert post(server, "query", "signed:signatures", text="wrong").json()["value"] == []


# Administrators


def test_the_admin_key_calls_internal_functions(server: Threaded) -> None:
    admin = f"Convex {KEY}"
    assert "Could not find" in post(server, "query", "signed:secret").json()["errorMessage"]
    assert post(server, "query", "signed:secret", admin).json()["value"] == "hidden"
    assert post(server, "function", "signed:secret", admin).json()["value"] == "hidden"
    assert post(server, "function", "signed:secret_sign", admin).json()["value"] is None
    assert post(server, "query", "signed:who", admin).json()["value"] is None
    refused = post(server, "function", "signed:who", f"Bearer {ISSUER.token('ann')}")
    assert (refused.status_code, refused.json()["code"]) == (403, "Forbidden")
    assert post(server, "function", "signed:who").status_code == 403


@pytest.mark.parametrize(
    ("attributes", "identifier", "claims"),
    [
        ({"subject": "zoe"}, "https://issuer.test|zoe", {}),
        ({"subject": "zoe", "issuer": "https://x.test"}, "https://x.test|zoe", {}),
        ({"tokenIdentifier": "https://x.test|a|b"}, "https://x.test|a|b", {}),
        (
            {"subject": "zoe", "givenName": "Zoe", "emailVerified": True, "org_id": "o", "pictureUrl": "p"},
            "https://issuer.test|zoe",
            {"given_name": "Zoe", "email_verified": True, "org_id": "o", "picture": "p"},
        ),
    ],
)
def test_an_administrator_acts_as_somebody(
    server: Threaded, attributes: dict[str, Any], identifier: str, claims: dict[str, Any]
) -> None:
    shown = b64encode(json.dumps(attributes).encode()).decode()
    told = post(server, "query", "signed:claims", f"Convex {KEY}:{shown}").json()["value"]
    assert told == {"id": identifier, **claims}
    for field in ("impersonating", "acting_as"):
        with SyncClient(server.url) as client:
            authenticate(client, 0, KEY, "Admin", **{field: attributes})
            assert client.subscribe(0, "signed:claims")["value"] == told


def test_an_administrators_rights_come_and_go(client: SyncClient) -> None:
    client.modify(added(0, "signed:secret"), added(1, "signed:who"))
    first = {change["queryId"]: change["type"] for change in client.expect("Transition")["modifications"]}
    assert first == {0: "QueryFailed", 1: "QueryUpdated"}
    authenticate(client, 0, KEY, "Admin")
    client.expect("Transition")
    assert client.results[0] == "hidden"
    assert client.mutate("signed:secret_sign")["success"]
    authenticate(client, 1, ISSUER.token("ann"))
    changes = client.expect("Transition")["modifications"]
    assert [change["type"] for change in changes if change["queryId"] == 0] == ["QueryFailed"]
    assert client.results[1] == "ann"
    assert not client.mutate("signed:secret_sign")["success"]
    response = client.act("signed:secret")
    assert "Could not find public function" in response["result"]


@pytest.mark.parametrize("value", ["", "wrong", KEY + ":e30="])
def test_a_wrong_admin_key_ends_the_socket(client: SyncClient, value: str) -> None:
    authenticate(client, 0, value, "Admin")
    error = client.expect("AuthError")
    assert error["error"].startswith("BadDeployKey: ")
    assert value == "" or value not in error["error"]
    client.closed()


def test_an_identity_to_act_as_must_be_one(client: SyncClient) -> None:
    authenticate(client, 0, KEY, "Admin", impersonating={"name": "nobody"})
    assert client.expect("AuthError")["error"].startswith("InvalidIdentity: ")


def test_a_key_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    keys: list[str] = []
    for _ in range(2):
        with in_thread(rf.App(modules=[signed], environment={}), tmp_path) as server:
            path = tmp_path / FILE_NAME
            keys.append(path.read_text())
            assert path.stat().st_mode & 0o777 == 0o600
            assert post(server, "query", "signed:secret", f"Convex {keys[-1]}").json()["value"] == "hidden"
    assert keys[0] == keys[1]
    assert len(keys[0]) > 64


def test_mistakes_are_told_at_the_start(tmp_path: Path) -> None:
    short = rf.App(modules=[signed], environment={"REFLOW_ADMIN_KEY": "secret"})
    with pytest.raises(rf.ReflowError, match="at least 24") as caught, in_thread(short, tmp_path):
        pass
    assert "secret" not in str(caught.value)
    (tmp_path / FILE_NAME).write_text("")
    empty = rf.App(modules=[signed], environment={})
    with pytest.raises(rf.ReflowError, match="delete it"), in_thread(empty, tmp_path):
        pass
