from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import reflow as rf
from reflow.errors import ProviderBusy, ProviderError, ProviderReason
from reflow.rag.provider.failures import QUOTED_CHARS, failure, scrubbed

KEY = rf.Secret("sk-proj-AbC123xyz_789-QQ")


def error(status: int, body: object = None, headers: dict[str, str] | None = None) -> ProviderError:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return failure("Test", status, headers or {}, data, 2.0, KEY)


@pytest.mark.parametrize(
    ("status", "reason", "retryable", "input_refused"),
    [
        (400, "refused", False, True),
        (401, "key", False, False),
        (402, "quota", False, False),
        (403, "key", False, False),
        (404, "missing", False, False),
        (405, "missing", False, False),
        (408, "busy", True, False),
        (409, "busy", True, False),
        (413, "refused", False, True),
        (415, "settings", False, False),
        (418, "settings", False, False),
        (422, "refused", False, True),
        (425, "busy", True, False),
        (429, "busy", True, False),
        (500, "busy", True, False),
        (502, "busy", True, False),
        (503, "busy", True, False),
        (529, "busy", True, False),
        (307, "settings", False, False),
    ],
)
def test_each_status_has_a_meaning(status: int, reason: ProviderReason, retryable: bool, input_refused: bool) -> None:
    found = error(status, {"error": {"message": "it is so"}})
    assert (found.reason, found.retryable, found.input_refused) == (reason, retryable, input_refused)
    assert found.status == status
    assert str(status) in str(found)
    assert found.retry_after == (2.0 if retryable else None)


@pytest.mark.parametrize("code", ["insufficient_quota", "billing_hard_limit_reached"])
@pytest.mark.parametrize("field", ["code", "type"])
def test_an_account_that_is_used_up_is_not_asked_again(field: str, code: str) -> None:
    found = error(429, {"error": {"message": "You exceeded your current quota", field: code}})
    assert (found.reason, found.retryable) == ("quota", False)
    assert "billing" in str(found)


@pytest.mark.parametrize(("said", "retryable"), [("true", True), ("false", False), ("False", False), ("maybe", None)])
@pytest.mark.parametrize("status", [400, 429, 500])
def test_the_provider_may_say_whether_to_ask_again(status: int, said: str, retryable: bool | None) -> None:
    usual = status != 400
    assert error(status, {}, {"x-should-retry": said}).retryable is (usual if retryable is None else retryable)


def test_a_wrong_parameter_is_not_the_texts_fault() -> None:
    wrong = {"error": {"message": "This model does not support specifying dimensions", "param": "dimensions"}}
    found = error(400, wrong)
    assert (found.reason, found.input_refused) == ("settings", False)
    for param in ("input", "input[3]", "$.input", "messages[0].content", None):
        assert error(400, {"error": {"message": "too long", "param": param}}).input_refused, param


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": {"message": "of OpenAI"}}, "of OpenAI"),
        ({"message": "of Cohere"}, "of Cohere"),
        ({"detail": "of Voyage"}, "of Voyage"),
        ({"error": "of Ollama"}, "of Ollama"),
        (b"plain text", "plain text"),
        (b"<html><h1>Bad gateway</h1></html>", None),
        ([1, 2], None),
        ({"error": {"message": ["a", "list"]}}, None),
        (b"\xff\xfe", "\ufffd"),
        (b"[" * 100_000, "[[["),
    ],
)
def test_what_the_provider_says_is_passed_on(body: object, said: str | None) -> None:
    text = str(error(500, body))
    assert text.endswith("(HTTP 500)") if said is None else f"(HTTP 500: {said}" in text
    assert len(text) < QUOTED_CHARS + 100


def test_a_message_is_one_line() -> None:
    assert str(error(500, {"message": "one\r\ntwo\x1b[31m\u2028three"})).count("\n") == 0
    assert scrubbed("one\r\ntwo\x1b[31mthree", None) == "one two [31mthree"


def test_a_redirect_names_where_to_and_no_more() -> None:
    found = error(302, b"", {"location": f"https://user:{KEY.reveal()}@elsewhere.example/v1?key={KEY.reveal()}"})
    assert "redirects to" in str(found)
    assert KEY.reveal() not in str(found)


def test_a_refused_key_is_not_quoted() -> None:
    text = str(error(401, {"error": {"message": "Incorrect API key provided: sk-pr***QQ"}}))
    assert "sk-pr" not in text
    assert "key" in text


@given(st.data())
def test_no_message_shows_a_part_of_the_key(data: st.DataObject) -> None:
    key = data.draw(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=60))
    start = data.draw(st.integers(0, len(key) - 6))
    part = key[start : start + data.draw(st.integers(6, len(key)))]
    before, after = data.draw(st.text(max_size=400)), data.draw(st.text(max_size=20))
    shown = scrubbed(f"{before}{part}{after}", rf.Secret(key))
    assert all(key[at : at + 6] not in shown for at in range(len(key) - 5))


def test_a_short_key_is_not_shown_either() -> None:
    assert scrubbed("the key abc is wrong", rf.Secret("abc")) == "the key … is wrong"


def test_a_busy_provider_is_something_to_come_back_to() -> None:
    busy = ProviderBusy("later", 60.0, status=429)
    assert isinstance(busy, rf.RetryAfter)
    assert isinstance(busy, ProviderError)
    assert (busy.seconds, busy.retry_after, busy.retryable, busy.reason, str(busy)) == (60, 60, True, "busy", "later")
