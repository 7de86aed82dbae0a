"""The keys of a provider: found, cached, rotated; and a provider that fails or lies."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

import reflow as rf
from reflow.auth import ALGORITHMS, Algorithm
from reflow.errors import AuthenticationError, ProviderUnavailable
from reflow.limits import Limits
from reflow.server.fetching import fetched, may_lead_to
from reflow.server.key_sets import KeySet
from reflow.server.tokens import TokenVerifier
from reflow.testing import TokenIssuer
from tests.support import arun
from tests.support.provider import DISCOVERY, JWKS, Answer, LocalProvider, local_provider, said

EAGER = Limits(provider_pause_seconds=0.001)


@pytest.fixture
def provider() -> Iterator[LocalProvider]:
    with local_provider("ES256") as found:
        yield found


class Time:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def run(provider: LocalProvider, work: Callable[[TokenVerifier], Awaitable[None]], limits: Limits = EAGER) -> None:
    async def main() -> None:
        verifier = TokenVerifier([provider.oidc], limits, time.time)
        try:
            await work(verifier)
        finally:
            await verifier.close()

    arun(main())


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_keys_are_found_by_discovery(algorithm: Algorithm) -> None:
    async def work(verifier: TokenVerifier) -> None:
        assert (await verifier.verify(found.issuer.token("ann"))).identity.subject == "ann"

    with local_provider(algorithm) as found:
        run(found, work)
        assert found.asked == [DISCOVERY, JWKS]


def test_nothing_is_asked_before_there_is_a_token_that_needs_it(provider: LocalProvider) -> None:
    async def work(verifier: TokenVerifier) -> None:
        for token in ("nonsense", TokenIssuer().token("ann"), provider.issuer.token("ann", aud="other")):
            with pytest.raises(AuthenticationError):
                await verifier.verify(token)
        with pytest.raises(AuthenticationError, match="expired"):
            await verifier.verify(provider.issuer.token("ann", lifetime=-60))

    run(provider, work)
    assert provider.asked == []


def test_many_tokens_ask_once(provider: LocalProvider) -> None:
    async def work(verifier: TokenVerifier) -> None:
        tokens = [provider.issuer.token(f"user {number}") for number in range(50)]
        found = await asyncio.gather(*(verifier.verify(token) for token in [*tokens, *tokens]))
        assert {verified.identity.subject for verified in found} == {f"user {number}" for number in range(50)}

    run(provider, work)
    assert provider.asked == [DISCOVERY, JWKS]


def test_a_new_key_is_found_and_a_removed_one_forgotten(provider: LocalProvider) -> None:
    async def work(verifier: TokenVerifier) -> None:
        old = provider.issuer.token("ann")
        await verifier.verify(old)
        provider.issuer.rotate(keep=0)
        assert (await verifier.verify(old)).identity.subject == "ann"  # nothing has told of the rotation yet
        assert (await verifier.verify(provider.issuer.token("ann"))).identity.subject == "ann"
        with pytest.raises(AuthenticationError, match="publishes no key"):
            await verifier.verify(old)

    run(provider, work)


def test_removed_keys_are_forgotten_in_time_though_nothing_new_comes(provider: LocalProvider) -> None:
    async def main() -> None:
        now, limits = Time(), Limits(provider_pause_seconds=0.001)
        keys = KeySet(provider.oidc, limits, now)
        await keys.find("key-1", "ES256")
        before = keys.keys
        provider.issuer.rotate(keep=0)
        now.seconds = limits.keys_fresh_seconds
        assert keys.still(before)
        now.seconds += 1
        assert not keys.still(before)
        await keys.find("key-1", "ES256")  # the known keys serve while the provider is asked
        await keys.find("key-2", "ES256")
        assert not keys.still(before)
        assert provider.asked == [DISCOVERY, JWKS] * 2
        with pytest.raises(AuthenticationError):
            await keys.find("key-1", "ES256")

    arun(main())


def test_forged_names_of_keys_do_not_make_it_ask_all_the_time(provider: LocalProvider) -> None:
    async def work(verifier: TokenVerifier) -> None:
        await verifier.verify(provider.issuer.token("ann"))
        forged = [TokenIssuer(provider.url).token("ann", header={"kid": f"forged {n}"}) for n in range(30)]
        asking = [asyncio.ensure_future(verifier.verify(token)) for token in forged]
        # Who has a known key is not kept waiting by them.
        assert (await verifier.verify(provider.issuer.token("bob"))).identity.subject == "bob"
        assert not any(task.done() for task in asking)
        for error in await asyncio.gather(*asking, return_exceptions=True):
            assert isinstance(error, AuthenticationError)

    run(provider, work, Limits(provider_pause_seconds=0.5))
    assert provider.asked == [DISCOVERY, JWKS] * 2


def test_a_provider_that_is_down_is_no_refusal_and_is_asked_again(
    provider: LocalProvider, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(verifier: TokenVerifier) -> None:
        provider.down()
        token = provider.issuer.token("ann")
        with pytest.raises(ProviderUnavailable, match="503"):
            await verifier.verify(token)
        assert token not in caplog.text
        provider.up()
        await asyncio.sleep(0.002)
        assert (await verifier.verify(token)).identity.subject == "ann"

    with caplog.at_level(logging.WARNING, "reflow"):
        run(provider, work)
    assert f"the keys of the issuer {provider.url} can't be had" in caplog.text


def test_while_it_is_down_everybody_is_told_at_once(provider: LocalProvider) -> None:
    async def work(verifier: TokenVerifier) -> None:
        provider.down()
        for _ in range(20):
            with pytest.raises(ProviderUnavailable):
                await verifier.verify(provider.issuer.token("ann"))

    run(provider, work, Limits(provider_pause_seconds=1000))
    assert provider.asked == [DISCOVERY]


def test_known_keys_go_on_while_it_is_down_but_not_for_ever(provider: LocalProvider) -> None:
    async def main() -> None:
        now, limits = Time(), Limits()
        keys = KeySet(provider.oidc, limits, now)
        await keys.find("key-1", "ES256")
        provider.down()
        now.seconds = limits.keys_kept_seconds - 1
        await keys.find("key-1", "ES256")
        with pytest.raises(ProviderUnavailable):
            await keys.find("key-2", "ES256")  # it may be new: that can't be told now
        now.seconds += 2
        with pytest.raises(ProviderUnavailable):
            await keys.find("key-1", "ES256")
        provider.up()
        now.seconds += limits.provider_pause_seconds
        await keys.find("key-1", "ES256")
        await keys.close()

    arun(main())


LIES: dict[str, Callable[[LocalProvider], dict[str, Answer]]] = {
    "no JSON": lambda _: {DISCOVERY: Answer(200, b"<html>", {})},
    "no document": lambda _: {DISCOVERY: said([])},
    "no keys": lambda _: {JWKS: said({"keys": []})},
    "keys for other things": lambda p: {JWKS: said({"keys": [{**p.issuer.public_key("key-1"), "use": "enc"}]})},
    "keys that check nothing": lambda p: {
        JWKS: said({"keys": [{**p.issuer.public_key("key-1"), "key_ops": ["sign"]}]})
    },
    "broken keys": lambda p: {JWKS: said({"keys": [{**p.issuer.public_key("key-1"), "x": "AAAA"}]})},
    "shared secrets": lambda _: {JWKS: said({"keys": [{"kty": "oct", "k": "AAAA", "kid": "key-1", "alg": "HS256"}]})},
    "keys of no kind": lambda _: {JWKS: said({"keys": [{}, {"kty": 7}, {"kty": "EC", "crv": "P-999"}]})},
    "another issuer": lambda _: {DISCOVERY: said({"issuer": "https://evil.test", "jwks_uri": "https://evil.test/k"})},
    "keys without https": lambda p: {DISCOVERY: said({"issuer": p.url, "jwks_uri": "http://evil.test/keys"})},
    "keys in a file": lambda p: {DISCOVERY: said({"issuer": p.url, "jwks_uri": "file:///etc/hostname"})},
    "a way without https": lambda _: {JWKS: said({}, 302, location="http://evil.test/keys")},
    "a way in a circle": lambda _: {JWKS: said({}, 302, location=JWKS)},
    "too much": lambda _: {JWKS: Answer(200, b" " * (1 << 20), {})},
    "a fault": lambda _: {JWKS: said({}, 500)},
    "no Unicode": lambda _: {JWKS: Answer(200, b'{"keys":[{"kid":"\xff"}]}', {})},
    "a deep hole": lambda _: {JWKS: Answer(200, b'{"keys":[{"kid":' + b"[" * 100_000, {})},
    "discovery without Unicode": lambda _: {DISCOVERY: Answer(200, b'{"issuer":"\xff"}', {})},
    "discovery in a deep hole": lambda _: {DISCOVERY: Answer(200, b'{"a":' + b"[" * 100_000, {})},
}


@pytest.mark.parametrize("lie", LIES)
def test_a_provider_that_lies_lets_nobody_in(provider: LocalProvider, lie: str) -> None:
    async def work(verifier: TokenVerifier) -> None:
        for path, answer in LIES[lie](provider).items():
            provider.answers[path] = lambda answer=answer: answer
        with pytest.raises(ProviderUnavailable, match="can't be had"):
            await verifier.verify(provider.issuer.token("ann"))

    run(provider, work)


def test_weak_keys_are_not_used(provider: LocalProvider, caplog: pytest.LogCaptureFixture) -> None:
    weak = RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 1024).public_key(), as_dict=True)
    provider.answers[JWKS] = lambda: said({"keys": [{**weak, "kid": "weak"}, provider.issuer.public_key("key-1")]})

    async def main() -> None:
        keys = KeySet(provider.oidc, EAGER)
        await keys.find("key-1", "ES256")
        assert set(keys.keys) == {("key-1", "ES256")}

    arun(main())
    assert "1024 bits" in caplog.text


def test_a_key_that_is_described_wrongly_spoils_no_other(provider: LocalProvider) -> None:
    described = provider.issuer.public_key("key-1")
    odd = [{**described, "kid": f"odd {ops!r}", "key_ops": ops} for ops in (5, True, "verify", {"verify": 1}, [])]
    provider.answers[JWKS] = lambda: said({"keys": [*odd, described]})

    async def main() -> None:
        keys = KeySet(provider.oidc, EAGER)
        await keys.find("key-1", "ES256")
        assert set(keys.keys) == {("key-1", "ES256")}

    arun(main())


@pytest.mark.parametrize(
    ("start", "further", "may"),
    [
        ("https://id.example", "https://keys.example/jwks", True),
        ("https://id.example", "http://127.0.0.1:9200/_all", False),
        ("https://id.example", "http://localhost/admin", False),
        ("https://id.example", "http://keys.example/jwks", False),
        ("https://id.example", "file:///etc/passwd", False),
        ("http://localhost:8080", "http://localhost:8081/keys", True),
        ("http://localhost:8080", "https://keys.example/jwks", True),
    ],
)
def test_a_provider_outside_sends_nobody_to_this_machine(start: str, further: str, may: bool) -> None:
    assert may_lead_to(start, further) == may


def test_only_so_many_keys_are_kept(provider: LocalProvider) -> None:
    described = provider.issuer.public_key("key-1")
    provider.answers[JWKS] = lambda: said({"keys": [{**described, "kid": f"k{n}"} for n in range(100)]})

    async def main() -> None:
        keys = KeySet(provider.oidc, Limits(keys_per_provider=3))
        await keys.find("k0", "ES256")
        assert len(keys.keys) == 3

    arun(main())


def test_a_provider_that_never_answers_is_not_waited_for(provider: LocalProvider) -> None:
    asked, release = threading.Event(), threading.Event()

    def silent() -> Answer:
        asked.set()
        release.wait(30)
        return said({})

    async def work(verifier: TokenVerifier) -> None:
        with pytest.raises(ProviderUnavailable, match=r"limits\.provider_seconds|timed out"):
            await verifier.verify(provider.issuer.token("ann"))

    provider.answers[DISCOVERY] = silent
    try:
        run(provider, work, Limits(provider_seconds=0.2, provider_pause_seconds=1000))
        assert asked.wait(10)
    finally:
        release.set()


@pytest.mark.parametrize("begun", [b"HTTP/1.1 200 OK\r\nx: ", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_a_provider_that_never_comes_to_an_end_keeps_no_thread(begun: bytes) -> None:
    """Each of its bytes is in time. Without an end to the whole this test has none either."""
    listening = socket.create_server(("127.0.0.1", 0))

    def drip() -> None:
        client, _ = listening.accept()
        with client, suppress(OSError):
            client.sendall(begun)
            while True:
                client.sendall(b"x")
                time.sleep(0.01)

    dripping = threading.Thread(target=drip)
    dripping.start()
    with listening, pytest.raises(ProviderUnavailable, match="too slow"):
        fetched(f"http://127.0.0.1:{listening.getsockname()[1]}/keys", Limits(provider_seconds=0.2))
    dripping.join()


def test_nobody_listens() -> None:
    with local_provider() as gone:
        pass

    async def work(verifier: TokenVerifier) -> None:
        with pytest.raises(ProviderUnavailable, match="refused"):
            await verifier.verify(gone.issuer.token("ann"))

    run(gone, work)


def test_keys_behind_an_address_without_discovery(provider: LocalProvider) -> None:
    async def main() -> None:
        jwt = rf.JWT(provider.url, jwks=provider.url + JWKS, algorithm="ES256", application_id="app")
        verifier = TokenVerifier([jwt], EAGER, time.time)
        await verifier.verify(provider.issuer.token("ann"))
        provider.issuer.rotate()
        await verifier.verify(provider.issuer.token("ann"))

    arun(main())
    assert provider.asked == [JWKS, JWKS]
