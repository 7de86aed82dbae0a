"""The webhook example: real deliveries, forged ones, replayed ones."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from tests.support import ROOT
from tests.support.servers import Threaded, in_thread
from tests.support.sync_client import SyncClient
from webhook.app import app
from webhook.signatures import NotAccepted, sign, verify

SECRET = "whsec_" + base64.b64encode(b"a key of thirty-two bytes, no less").decode()
OTHER = "whsec_" + base64.b64encode(b"another one of about the same size").decode()
PAID = {"type": "payment.succeeded", "data": {"customer": "ann", "cents": 1250, "more": [1]}}


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBHOOK_SECRET", SECRET)


@pytest.fixture
def server(tmp_path: Path, secret: None) -> Iterator[Threaded]:
    with in_thread(app, tmp_path) as threaded:
        yield threaded


def message(event: Any = PAID, *, id: str = "msg_1", secret: str = SECRET, at: float | None = None) -> dict[str, Any]:
    """A delivery as the provider's own library signs it."""
    body = event if isinstance(event, str) else json.dumps(event)
    sent = datetime.fromtimestamp(time.time() if at is None else at, UTC)
    signature = Webhook(secret).sign(id, sent, body)
    headers = {"webhook-id": id, "webhook-timestamp": str(int(sent.timestamp())), "webhook-signature": signature}
    return {"content": body, "headers": headers}


def deliver(server: Threaded, given: dict[str, Any]) -> httpx.Response:
    return httpx.post(f"{server.url}/hooks/payments", **given)


def payments(server: Threaded) -> list[dict[str, Any]]:
    return httpx.post(f"{server.url}/api/query", json={"path": "payments:latest"}).json()["value"]


def test_a_delivery_of_the_provider_s_library_is_taken_and_seen_live(server: Threaded) -> None:
    with SyncClient(server.url) as page:
        assert page.subscribe(0, "payments:latest")["value"] == []
        assert deliver(server, message()).status_code == 204
        (payment,) = page.expect("Transition")["modifications"][0]["value"]
        assert (payment["delivery"], payment["customer"], payment["cents"]) == ("msg_1", "ann", 1250)


def test_a_replayed_delivery_changes_nothing(tmp_path: Path, secret: None) -> None:
    first, again = message(), message(at=time.time() - 60)  # the provider tries again under the same id
    with in_thread(app, tmp_path) as server, ThreadPoolExecutor(8) as several:
        answers = list(several.map(lambda given: deliver(server, given), [first, again] * 8))
        assert {answer.status_code for answer in answers} == {204}
        assert len(payments(server)) == 1
    with in_thread(app, tmp_path) as server:
        assert deliver(server, first).status_code == 204
        assert len(payments(server)) == 1
        assert deliver(server, message(id="msg_2")).status_code == 204
        assert len(payments(server)) == 2


def forged(**headers: str | None) -> dict[str, Any]:
    found = message()
    changed = {**found["headers"], **{name.replace("_", "-"): text for name, text in headers.items()}}
    return found | {"headers": {name: text for name, text in changed.items() if text is not None}}


def bad() -> dict[str, tuple[dict[str, Any], int]]:
    """Deliveries of now that must not be taken, and how they are answered."""
    return {
        "another secret": (message(secret=OTHER), 401),
        "a changed body": (message() | {"content": json.dumps(PAID).replace("1250", "9999")}, 401),
        "another id": (forged(webhook_id="msg_2"), 401),
        "a newer time": (forged(webhook_timestamp=str(int(time.time()) + 1)), 401),
        "an old message": (message(at=time.time() - 400), 401),
        "one of the future": (message(at=time.time() + 400), 401),
        "no signature": (forged(webhook_signature=None), 401),
        "an empty signature": (forged(webhook_signature=""), 401),
        "another version": (forged(webhook_signature="v2," + message()["headers"]["webhook-signature"][3:]), 401),
        "no id": (forged(webhook_id=None), 401),
        "no time": (forged(webhook_timestamp=None), 401),
        "a strange time": (forged(webhook_timestamp="-1"), 401),
        "a huge time": (forged(webhook_timestamp="9" * 5000), 401),
        "no JSON": (message("{"), 400),
        "another shape": (message({"type": "payment.succeeded", "data": {"customer": "ann", "cents": "12"}}), 400),
        "nothing": ({"content": b""}, 401),
    }


def test_what_is_forged_stale_or_broken_is_refused_and_changes_nothing(server: Threaded) -> None:
    wanted = bad()
    answers = {name: deliver(server, given) for name, (given, _) in wanted.items()}
    assert {name: answer.status_code for name, answer in answers.items()} == {
        name: status for name, (_, status) in wanted.items()
    }
    for answer in answers.values():
        assert SECRET not in answer.text
        assert len(answer.text) < 200
    assert payments(server) == []


def test_other_events_are_acknowledged(server: Threaded) -> None:
    assert deliver(server, message({"type": "customer.created", "data": None})).status_code == 204
    assert payments(server) == []


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_c2hvcnQ="])
def test_half_a_secret_signs_nothing(secret: str) -> None:
    headers = {"webhook-id": "msg", "webhook-timestamp": "1700000000", "webhook-signature": "v1,anything"}
    with pytest.raises(ValueError, match="shorter than"):
        verify(headers, b"{}", secret=secret, now=1_700_000_000)


def test_one_of_several_signatures_is_enough() -> None:
    body, now = b"{}", 1_700_000_000
    right, wrong = sign(SECRET, "msg", now, body), sign(OTHER, "msg", now, body)
    headers = {"webhook-id": "msg", "webhook-timestamp": str(now), "webhook-signature": f"{wrong} v1a,x {right}"}
    assert verify(headers, body, secret=SECRET, now=now) == "msg"
    with pytest.raises(NotAccepted):
        verify(headers | {"webhook-signature": wrong}, body, secret=SECRET, now=now)


def test_the_script_that_plays_the_provider(server: Threaded) -> None:
    command = [sys.executable, "-m", "webhook.send", server.url, "bob", "300"]
    environment = {**os.environ, "WEBHOOK_SECRET": SECRET}
    done = subprocess.run(command, cwd=ROOT / "examples", env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "204\n"
    assert [(payment["customer"], payment["cents"]) for payment in payments(server)] == [("bob", 300)]
