"""Tokens, forged in every way that is known to have worked somewhere."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Any

import pytest

import reflow as rf
from reflow.auth import ALGORITHMS, Algorithm, Provider, same_issuer
from reflow.errors import AuthenticationError, DefinitionError
from reflow.server.tokens import TokenVerifier, Verified
from reflow.testing import TokenIssuer
from tests.support import arun

ISSUER = TokenIssuer("https://issuer.test", algorithm="RS256")
NOW = time.time()
DEEP = b'{"a":' * 3000


def verified(token: str, *providers: Provider) -> Verified:
    async def main() -> Verified:
        verifier = TokenVerifier(providers or (ISSUER.provider,), rf.Limits(), time.time)
        try:
            return await verifier.verify(token)
        finally:
            await verifier.close()

    return arun(main())


def refused(token: str, *providers: Provider) -> str:
    with pytest.raises(AuthenticationError) as caught:
        verified(token, *providers)
    message = str(caught.value)
    for piece in token.split("."):
        assert len(piece) < 8 or piece not in message, "an error repeats a part of the token"
    assert caught.value.__cause__ is None
    return message


def part(value: Any) -> str:
    return urlsafe_b64encode(value if isinstance(value, bytes) else json.dumps(value).encode()).rstrip(b"=").decode()


def claims(**changed: Any) -> dict[str, Any]:
    return {"iss": ISSUER.issuer, "aud": "app", "sub": "ann", "exp": NOW + 60, "iat": NOW, **changed}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_token_names_its_user(algorithm: Algorithm) -> None:
    issuer = TokenIssuer(algorithm=algorithm)
    token = issuer.token(
        "ann", name="Ann", email="ann@issuer.test", email_verified=True, org_id="o1", jti="1", nonce="2"
    )
    found = verified(token, issuer.provider)
    identity = found.identity
    assert identity.token_identifier == "https://issuer.test|ann"
    assert (identity.name, identity.email, identity.email_verified) == ("Ann", "ann@issuer.test", True)
    assert identity.given_name is identity.family_name is identity.nickname is identity.picture is None
    assert identity.preferred_username is None
    assert identity.claims == {
        **{"name": "Ann", "email": "ann@issuer.test", "email_verified": True},
        "org_id": "o1",
    }
    assert 0 < found.expires - time.time() <= 3600


def test_a_refreshed_token_is_the_same_identity() -> None:
    first = ISSUER.token("ann", name="Ann", jti="1", iat=NOW - 30)
    second = ISSUER.token("ann", name="Ann", jti="2", lifetime=7200)
    assert verified(first).identity == verified(second).identity


def test_nobody_can_change_the_claims_of_an_identity() -> None:
    told: dict[str, Any] = {"role": "guest"}
    identity = rf.Identity(issuer="i", subject="s", claims=told)
    told["role"] = "admin"
    with pytest.raises(TypeError):
        identity.claims["role"] = "admin"  # type: ignore[index]
    assert identity.claims == {"role": "guest"}


# Forged


def unsigned(algorithm: str) -> str:
    return f"{part({'alg': algorithm, 'typ': 'JWT'})}.{part(claims())}."


def by_another() -> str:
    return TokenIssuer(algorithm="RS256").token("ann")  # a key of its own, with the same name


def with_other_claims() -> str:
    header, _, signature = ISSUER.token("ann").split(".")
    return f"{header}.{part(claims(sub='bob'))}.{signature}"


def with_public_key_as_secret(form: Callable[[], bytes]) -> Callable[[], str]:
    def made() -> str:
        signed = f"{part({'alg': 'HS256', 'kid': 'key-1'})}.{part(claims())}"
        return f"{signed}.{part(hmac.new(form(), signed.encode(), hashlib.sha256).digest())}"

    return made


def public_pem() -> bytes:
    import jwt
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key: Any = jwt.PyJWK(ISSUER.public_key("key-1")).key
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def with_own_key_in_header() -> str:
    other = TokenIssuer(algorithm="RS256")
    return other.token("ann", header={"jwk": other.public_key("key-1")})


def with_another_address_of_keys() -> str:
    return TokenIssuer(algorithm="RS256").token("ann", header={"jku": "https://evil.test/keys", "x5u": "https://evil"})


def cut_signature() -> str:
    return ISSUER.token("ann")[:-8]


def no_signature() -> str:
    return ISSUER.token("ann").rpartition(".")[0] + "."


def of_another_algorithm() -> str:
    return TokenIssuer(algorithm="EdDSA").token("ann")


def of_another_algorithm_by_name() -> str:
    header = json.loads(base64.urlsafe_b64decode(ISSUER.token("ann").split(".")[0] + "=="))
    _, body, signature = ISSUER.token("ann").split(".")
    return f"{part({**header, 'alg': 'RS512'})}.{body}.{signature}"


FORGED: list[Callable[[], str]] = [
    *(lambda name=name: unsigned(name) for name in ("none", "None", "NONE", "nOnE", "", "RS256")),
    by_another,
    with_other_claims,
    with_public_key_as_secret(lambda: json.dumps(ISSUER.public_key("key-1")).encode()),
    with_public_key_as_secret(public_pem),
    with_public_key_as_secret(lambda: b""),
    with_own_key_in_header,
    with_another_address_of_keys,
    cut_signature,
    no_signature,
    of_another_algorithm,
    of_another_algorithm_by_name,
]


@pytest.mark.parametrize("forge", FORGED)
def test_a_forged_token_is_refused(forge: Callable[[], str]) -> None:
    assert refused(forge()).startswith("InvalidToken: ")


@pytest.mark.parametrize(
    "forge", [with_public_key_as_secret(public_pem), lambda: unsigned("none"), with_own_key_in_header, by_another]
)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_it_is_refused_by_providers_of_every_kind(forge: Callable[[], str], algorithm: Algorithm) -> None:
    issuer = TokenIssuer(algorithm=algorithm)
    assert refused(forge(), issuer.provider).startswith("InvalidToken: ")


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"iss": "https://evil.test"}, "NoAuthProvider"),
        ({"iss": "https://issuer.test.evil.test"}, "NoAuthProvider"),
        ({"iss": "http://issuer.test"}, "NoAuthProvider"),
        ({"iss": "https://issuer.test//"}, "NoAuthProvider"),
        ({"iss": None}, "InvalidToken"),
        ({"iss": 7}, "InvalidToken"),
        ({"aud": "other"}, "NoAuthProvider"),
        ({"aud": ["other", "ap"]}, "NoAuthProvider"),
        ({"aud": None}, "NoAuthProvider"),
        ({"aud": {"app": 1}}, "InvalidToken"),
        ({"sub": None}, "InvalidToken"),
        ({"sub": ""}, "InvalidToken"),
        ({"sub": 7}, "InvalidToken"),
        ({"exp": None}, "InvalidToken"),
        ({"exp": "2099-01-01"}, "InvalidToken"),
        ({"exp": NOW - 60}, "InvalidToken"),
        ({"exp": 0}, "InvalidToken"),
        ({"nbf": NOW + 86400}, "InvalidToken"),
        ({"iat": NOW + 86400}, "InvalidToken"),
    ],
)
def test_a_signed_token_for_others_is_refused(changed: dict[str, Any], code: str) -> None:
    assert refused(ISSUER.token("ann", **{"sub": "ann", **changed})).startswith(f"{code}: ")


@pytest.mark.parametrize(
    "changed",
    [
        *({"aud": "app"}, {"aud": ["other", "app"]}, {"iss": "https://issuer.test/"}, {"iss": "issuer.test"}),
        *({"nbf": NOW}, {"iat": NOW}, {"iat": None, "exp": NOW + 10**9}),
    ],
)
def test_what_is_no_fault(changed: dict[str, Any]) -> None:
    assert verified(ISSUER.token("ann", **changed)).identity.subject == "ann"


def test_the_clock_of_a_provider_may_be_a_little_wrong() -> None:
    now, tolerance = 1_000_000.0, rf.Limits().clock_tolerance_seconds

    def is_taken(seconds: float, **claims: Any) -> bool:
        async def main() -> bool:
            verifier = TokenVerifier([ISSUER.provider], rf.Limits(), lambda: seconds)
            token = ISSUER.token("ann", **{"iat": now - 60, "exp": now + 60, **claims})
            try:
                return (await verifier.verify(token)).identity.subject == "ann"
            except AuthenticationError:
                return False

        return arun(main())

    assert is_taken(now + 60 + tolerance - 0.01)
    assert not is_taken(now + 60 + tolerance)
    for claim in ("nbf", "iat"):
        assert is_taken(now, **{claim: now + tolerance})
        assert not is_taken(now, **{claim: now + tolerance + 0.01})


def test_a_remembered_token_ends_like_any_other() -> None:
    async def main() -> None:
        now = 1_000_000.0
        verifier = TokenVerifier([ISSUER.provider], rf.Limits(tokens_remembered=2), lambda: now)
        tokens = [ISSUER.token(name, iat=now - 60, exp=now + 60) for name in "abc"]
        for token in [*tokens, *tokens]:
            assert await verifier.verify(token) == await verifier.verify(token)
        now += 66
        for token in tokens:
            with pytest.raises(AuthenticationError, match="expired"):
                await verifier.verify(token)

    arun(main())


@pytest.mark.parametrize(
    "token",
    [
        *(
            "",
            ".",
            "..",
            "...",
            "a.b",
            "a.b.c",
            "a.b.c.d",
            "\x00.\x00.\x00",
            "ü.ü.ü",
            "e30.e30.e30",
            "e30.e30.",
            "\ud800.a.b",
        ),
        f"{part([])}.{part(claims())}.{part(b'x')}",
        f"{part({'alg': 'RS256'})}.{part([])}.{part(b'x')}",
        f"{part({'alg': 'RS256'})}.{part(b'[' * 10_000)}.{part(b'x')}",
        f"{part({'alg': 'RS256'})}.{part(DEEP)}.{part(b'x')}",
        f"{part({'alg': 'RS256', 'kid': 7})}.{part(claims())}.{part(b'x')}",
        f"{part({'alg': ['RS256']})}.{part(claims())}.{part(b'x')}",
        f"{part({'alg': 'RS256'})}.{part(claims())}.{part(b'x')}\n",
        f"{part({'alg': 'RS256'})}.{part(claims())}=.{part(b'x')}",
        "a" * 20_000,
    ],
)
def test_what_is_no_token_is_refused(token: str) -> None:
    assert refused(token).startswith("InvalidToken: ")


def test_unknown_critical_fields_are_refused() -> None:
    assert "crit" in refused(ISSUER.token("ann", header={"crit": ["exp"], "exp": 1}))
    assert "crit" in refused(ISSUER.token("ann", header={"crit": ["b64"], "b64": True}))


def test_a_token_for_one_provider_is_not_checked_by_anothers_keys() -> None:
    other = TokenIssuer("https://other.test", algorithm="RS256")
    assert verified(other.token("ann"), ISSUER.provider, other.provider).identity.issuer == "https://other.test"
    stolen = ISSUER.token("ann", iss="https://other.test")
    assert "signature" in refused(stolen, ISSUER.provider, other.provider)


def test_two_applications_of_one_issuer() -> None:
    one = TokenIssuer(application_id="one")
    two = TokenIssuer(application_id="two")
    for issuer in (one, two):
        assert verified(issuer.token("ann"), one.provider, two.provider).identity.subject == "ann"
    assert "signature" in refused(one.token("ann", aud="two"), one.provider, two.provider)


def test_without_an_application_id_every_audience_is_taken() -> None:
    issuer = TokenIssuer(application_id=None)
    assert verified(issuer.token("ann"), issuer.provider).identity.subject == "ann"
    assert verified(issuer.token("ann", aud="anything"), issuer.provider).identity.subject == "ann"


def test_a_key_need_not_be_named_where_there_is_one() -> None:
    issuer = TokenIssuer()
    token = issuer.token("ann", header={"kid": None})
    assert verified(token, issuer.provider).identity.subject == "ann"
    issuer.rotate()
    assert "key" in refused(issuer.token("ann", header={"kid": None}), issuer.provider)


def test_a_rotated_key_signs_no_more() -> None:
    issuer = TokenIssuer()
    old = issuer.token("ann")
    issuer.rotate()
    assert verified(old, issuer.provider).identity.subject == "ann"
    issuer.rotate()
    assert "publishes no key" in refused(old, issuer.provider)


# Definitions


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("https://a.test", "https://a.test/", True),
        ("a.test", "https://a.test", True),
        ("http://a.test", "https://a.test", False),
        ("https://a.test/x", "https://a.test", False),
        ("https://A.test", "https://a.test", False),
    ],
)
def test_spellings_of_an_issuer(left: str, right: str, same: bool) -> None:
    assert same_issuer(left, right) is same


@pytest.mark.parametrize(
    ("define", "said"),
    [
        (lambda: rf.OIDC("http://accounts.test", application_id="a"), "https"),
        (lambda: rf.OIDC("ftp://accounts.test", application_id="a"), "https"),
        (lambda: rf.OIDC("https://a:b@accounts.test", application_id="a"), "https"),
        (lambda: rf.OIDC("http://127.0.0.1.evil.test", application_id="a"), "https"),
        (lambda: rf.OIDC("", application_id="a"), "issuer"),
        (lambda: rf.OIDC("https://a.test|b", application_id="a"), "without '|'"),
        (lambda: rf.OIDC("https://a.test", application_id=""), "application_id"),
        (lambda: rf.JWT("i", jwks="http://keys.test"), "https"),
        (lambda: rf.JWT("i", jwks="file:///etc/passwd"), "https"),
        (lambda: rf.JWT("i", jwks="data:application/json;base64,!!!"), "data: URI"),
        (lambda: rf.JWT("i", jwks="data:application/json"), "data: URI"),
        (lambda: rf.JWT("i", jwks="data:application/json,[]"), "data: URI"),
        (lambda: rf.JWT("i", jwks="https://keys.test", algorithm="HS256"), "none of RS256"),  # type: ignore[arg-type]
        (lambda: rf.JWT("i", jwks="https://keys.test", application_id=""), "application_id"),
        (lambda: rf.JWT(" ", jwks="https://keys.test"), "issuer"),
    ],
)
def test_a_provider_that_can_not_work_is_refused_where_it_is_written(define: Callable[[], object], said: str) -> None:
    with pytest.raises(DefinitionError, match=said):
        define()


def test_written_keys_that_can_not_be_used_are_told_at_the_start() -> None:
    for keys in ("{}", '{"keys":[]}', '{"keys":[{"kty":"oct","k":"AAAA"}]}'):
        with pytest.raises(DefinitionError, match="jwks"):
            TokenVerifier([rf.JWT("i", jwks=f"data:application/json,{keys}")], rf.Limits(), time.time)


def test_a_provider_on_this_machine_needs_no_https() -> None:
    assert rf.OIDC("http://localhost:8080/realms/x", application_id="a").issuer == "http://localhost:8080/realms/x"
    assert rf.OIDC("accounts.test", application_id="a").issuer == "https://accounts.test"
    assert rf.JWT("i", jwks="data:text/plain,%7B%22keys%22%3A%5B%5D%7D").algorithms == ("RS256",)
