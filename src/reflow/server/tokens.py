"""Checking JSON Web Tokens (RFC 7519): who signed one, for whom, until when, and who it says calls."""

from __future__ import annotations

import re
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections import OrderedDict
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from reflow.auth import Identity, Provider, same_issuer
from reflow.errors import AuthenticationError
from reflow.limits import Limits
from reflow.server.key_sets import KeysByName, KeySet, jwt_library

_LEFT_OUT = frozenset(("iss", "sub", "aud", "exp", "iat", "nbf", "jti", "nonce", "at_hash", "c_hash", "fva"))
"""Claims that are no claims about the user, or that differ between two tokens of one sign-in."""

_BASE64URL = re.compile(rb"[A-Za-z0-9_-]*")
_TO_BASE64 = bytes.maketrans(b"-_", b"+/")


class _Header(Struct):
    """The header of a token (RFC 7515, section 4.1)."""

    alg: str
    kid: str | None = None
    crit: Any = None


class _Registered(Struct):
    """The claims that are looked at (RFC 7519, section 4.1)."""

    iss: str
    sub: str
    exp: float
    aud: str | list[str] = []
    nbf: float | None = None
    iat: float | None = None


class Verified(NamedTuple):
    """Whom a token names, and when it ends in seconds since 1970."""

    identity: Identity
    expires: float


class _Checked(NamedTuple):
    """A token that was right, and the keys that said so."""

    verified: Verified
    key_set: KeySet
    keys: KeysByName


_decode_header = msgspec.json.Decoder(_Header).decode
_decode_registered = msgspec.json.Decoder(_Registered).decode
_decode_claims = msgspec.json.Decoder(dict[str, Any]).decode


class TokenVerifier:
    """Takes the tokens of some providers. `seconds` is the time since 1970."""

    def __init__(self, providers: Iterable[Provider], limits: Limits, seconds: Callable[[], float]) -> None:
        self._key_sets = [(provider, KeySet(provider, limits)) for provider in providers]
        self._limits = limits
        self._seconds = seconds
        self._checked: OrderedDict[bytes, _Checked] = OrderedDict()
        """Tokens that were right, by their digest: a client shows one many times."""
        if self._key_sets:
            jwt_library()

    async def close(self) -> None:
        """Asks providers no more."""
        for _, keys in self._key_sets:
            await keys.close()

    async def verify(self, token: str) -> Verified:
        """Whom a token names. Raises AuthenticationError, ProviderUnavailable; neither holds anything of the token."""
        if not self._key_sets:
            raise AuthenticationError(
                "NoAuthProvider: authentication is not set up in this app (App(auth=[...])), so it accepts no token; "
                "call without one"
            )
        raw = token.encode(errors="surrogatepass")
        if len(raw) > self._limits.token_bytes:
            raise _invalid(f"it is longer than limits.token_bytes = {self._limits.token_bytes}")
        digest = sha256(raw).digest()
        known = self._checked.get(digest)
        if known is not None and known.key_set.still(known.keys):
            self._check_end(known.verified.expires)
            self._checked.move_to_end(digest)
            return known.verified
        checked = await self._check(raw)
        self._checked[digest] = checked
        if len(self._checked) > self._limits.tokens_remembered:
            self._checked.popitem(last=False)
        return checked.verified

    async def _check(self, raw: bytes) -> _Checked:
        """Looks at everything, the signature last: asking a provider for its keys is the dearest."""
        header, claims_raw, signed, signature = _parts(raw)
        claims = _read(_decode_registered, claims_raw, "payload")
        provider, key_set = self._provider_of(claims)
        if header.crit is not None:
            raise _invalid("its header has 'crit', of which nothing is understood here")
        if header.alg not in provider.algorithms:
            raise _invalid(f"it is not signed by {' or '.join(provider.algorithms)}")
        self._check_times(claims)
        key = await key_set.find(header.kid, header.alg)
        if not key.Algorithm.verify(signed, key.key, signature):
            raise _invalid("its signature is wrong")
        if not claims.sub:
            raise _invalid("its sub is empty")
        told = {name: value for name, value in _decode_claims(claims_raw).items() if name not in _LEFT_OUT}
        identity = Identity(issuer=claims.iss, subject=claims.sub, claims=told)
        return _Checked(Verified(identity, claims.exp), key_set, key_set.keys)

    def _provider_of(self, claims: _Registered) -> tuple[Provider, KeySet]:
        audience = [claims.aud] if isinstance(claims.aud, str) else claims.aud
        for provider, keys in self._key_sets:
            wanted = provider.application_id
            if same_issuer(claims.iss, provider.issuer) and (wanted is None or wanted in audience):
                return provider, keys
        known = ", ".join(f"{found.issuer} for {found.application_id or 'any aud'}" for found, _ in self._key_sets)
        raise AuthenticationError(
            f"NoAuthProvider: the token's iss and aud fit no provider of this app; App(auth=[...]) has {known}"
        )

    def _check_end(self, expires: float) -> None:
        if not expires + self._limits.clock_tolerance_seconds > self._seconds():
            raise _invalid("it has expired")

    def _check_times(self, claims: _Registered) -> None:
        now, tolerance = self._seconds(), self._limits.clock_tolerance_seconds
        self._check_end(claims.exp)
        if claims.nbf is not None and not claims.nbf - tolerance <= now:
            raise _invalid("it is not valid yet (nbf)")
        if claims.iat is not None and not claims.iat - tolerance <= now:
            raise _invalid("it was issued in the future (iat): do the clocks agree?")


def _parts(raw: bytes) -> tuple[_Header, bytes, bytes, bytes]:
    """Header, claims, what is signed, signature: all of it unchecked."""
    pieces = raw.split(b".")
    if len(pieces) != 3:
        raise _invalid("it does not have the three parts of a signed token")
    header = _read(_decode_header, _decoded(pieces[0]), "header")
    return header, _decoded(pieces[1]), raw[: raw.rindex(b".")], _decoded(pieces[2])


def _decoded(piece: bytes) -> bytes:
    """A part of a token from base64url without padding (RFC 7515, section 2). One text for one value."""
    padded = piece.translate(_TO_BASE64) + b"=" * (-len(piece) % 4)
    try:
        if _BASE64URL.fullmatch(piece) is None:
            raise Base64Error
        return a2b_base64(padded, strict_mode=True)
    except Base64Error:
        raise _invalid("a part of it is no base64url") from None


def _read(decode: Callable[[bytes], Any], raw: bytes, what: str) -> Any:
    try:
        return decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # The decoder's own words may quote what it read.
        raise _invalid(f"its {what} can't be read, or lacks what is required") from None


def _invalid(why: str) -> AuthenticationError:
    return AuthenticationError(f"InvalidToken: the token is refused: {why}")
