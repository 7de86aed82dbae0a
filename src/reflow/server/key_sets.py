"""The public keys of a provider of identities: fetched when a token needs them, kept, and replaced as they rotate."""

from __future__ import annotations

import asyncio
import logging
import math
import urllib.request
from collections.abc import Callable, Mapping
from http.client import HTTPException, HTTPMessage
from time import monotonic
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urljoin

import msgspec
from msgspec import Struct

from reflow.auth import OIDC, Algorithm, Provider, data_of, is_safe_address, same_issuer
from reflow.errors import AuthenticationError, MissingExtra, ProviderUnavailable
from reflow.limits import Limits

if TYPE_CHECKING:
    from jwt import PyJWK

LOG = logging.getLogger("reflow.server")

Fetch = Callable[[str, Limits], bytes]
"""What an address answers; runs in a thread. Raises ProviderUnavailable."""

_PUBLIC_FIELDS = ("kty", "crv", "n", "e", "x", "y")
_CHUNK = 1 << 16


class _Configuration(Struct):
    """What is needed of a discovery document (OpenID Connect Discovery 1.0, section 3)."""

    issuer: str
    jwks_uri: str


class _KeyList(Struct):
    """A JSON Web Key Set (RFC 7517, section 5)."""

    keys: list[dict[str, Any]]


class KeySet:
    """The keys of one provider."""

    def __init__(
        self,
        provider: Provider,
        limits: Limits,
        *,
        fetch: Fetch | None = None,
        seconds: Callable[[], float] = monotonic,
    ) -> None:
        self._provider = provider
        self._limits = limits
        self._fetch = fetch or fetched
        self._seconds = seconds
        self._keys: Mapping[tuple[str | None, Algorithm], PyJWK] = {}
        self._fetched = -math.inf
        self._asked = -math.inf
        self._failure = ""
        self._asking: asyncio.Task[None] | None = None

    async def find(self, kid: str | None, algorithm: Algorithm) -> PyJWK:
        """The key that a token names. Raises AuthenticationError, ProviderUnavailable."""
        limits = self._limits
        age = self._seconds() - self._fetched
        if age > limits.keys_fresh_seconds:
            asking = self._ask()
            if age > limits.keys_kept_seconds:
                await asyncio.shield(asking)
                self._check_known()
        key = self._named(kid, algorithm)
        if key is None:
            # The provider may have new keys. Forged names must not make us ask it all the time.
            await asyncio.shield(self._ask())
            key = self._named(kid, algorithm)
        if key is None:
            if self._failure:
                raise ProviderUnavailable(self._failure)
            raise AuthenticationError(
                f"InvalidToken: the token is signed by a key that its issuer does not publish for {algorithm}"
            )
        return key

    async def close(self) -> None:
        """Asks no more."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    def _named(self, kid: str | None, algorithm: Algorithm) -> PyJWK | None:
        if kid is not None:
            return self._keys.get((kid, algorithm))
        # A token need not name its key where there is no choice.
        fitting = [key for (_, used_for), key in self._keys.items() if used_for == algorithm]
        return fitting[0] if len(fitting) == 1 else None

    def _check_known(self) -> None:
        if self._seconds() - self._fetched > self._limits.keys_kept_seconds:
            raise ProviderUnavailable(self._failure)

    def _ask(self) -> asyncio.Future[None]:
        """The question for the keys that is under way, a new one where the last is long enough ago."""
        loop = asyncio.get_running_loop()
        if self._asking is not None and not self._asking.done():
            return self._asking
        if self._seconds() - self._asked < self._limits.provider_pause_seconds:
            done: asyncio.Future[None] = loop.create_future()
            done.set_result(None)
            return done
        self._asked = self._seconds()
        self._asking = loop.create_task(self._refresh(), name="reflow-keys")
        return self._asking

    async def _refresh(self) -> None:
        """Replaces the keys by what the provider says now; where it says nothing, notes why. Never raises."""
        limits = self._limits
        try:
            # A thread can't be stopped: it ends by itself soon after, and is not waited for.
            async with asyncio.timeout(limits.provider_seconds):
                raw = await asyncio.to_thread(self._current)
            self._keys = read_keys(raw, self._provider, limits)
        except TimeoutError:
            self._failed(f"it did not answer within limits.provider_seconds = {limits.provider_seconds:g}")
        except ProviderUnavailable as error:
            self._failed(str(error))
        else:
            self._fetched, self._failure = self._seconds(), ""

    def _failed(self, why: str) -> None:
        self._failure = f"the keys of the issuer {self._provider.issuer} can't be had: {why}"
        LOG.warning("%s; tokens that need them are refused until it answers", self._failure)

    def _current(self) -> bytes:
        """The key set as text. Raises ProviderUnavailable."""
        provider = self._provider
        if not isinstance(provider, OIDC):
            return data_of(provider.jwks) if provider.jwks.startswith("data:") else self._got(provider.jwks)
        address = provider.issuer.removesuffix("/") + "/.well-known/openid-configuration"
        raw = self._got(address)
        try:
            found = msgspec.json.decode(raw, type=_Configuration)
        except msgspec.DecodeError as error:
            raise ProviderUnavailable(f"{address} is no discovery document: {error}") from None
        if not same_issuer(found.issuer, provider.issuer):
            raise ProviderUnavailable(f"{address} is about another issuer, {found.issuer[:200]!r}")
        return self._got(found.jwks_uri)

    def _got(self, address: str) -> bytes:
        if not is_safe_address(address):
            raise ProviderUnavailable(f"{address[:200]!r} is no https address")
        return self._fetch(address, self._limits)


def read_keys(raw: bytes, provider: Provider, limits: Limits) -> dict[tuple[str | None, Algorithm], PyJWK]:
    """The keys in a key set that this provider's tokens may be signed by; others are left out.

    Raises ProviderUnavailable where it is no key set, or one without such a key; MissingExtra.
    """
    try:
        listed = msgspec.json.decode(raw, type=_KeyList).keys
    except (msgspec.DecodeError, RecursionError) as error:
        raise ProviderUnavailable(f"its answer is no JSON Web Key Set: {error}") from None
    keys: dict[tuple[str | None, Algorithm], PyJWK] = {}
    for described in listed[: limits.keys_per_provider]:
        algorithm = _algorithm_of(described)
        if algorithm is None or algorithm not in provider.algorithms:
            continue
        key = _key(described, algorithm)
        kid = described.get("kid")
        if key is not None:
            keys.setdefault((kid if isinstance(kid, str) else None, algorithm), key)
    if not keys:
        raise ProviderUnavailable(f"its key set has no usable key for {' or '.join(provider.algorithms)}")
    return keys


def _algorithm_of(described: dict[str, Any]) -> Algorithm | None:
    """What a key may be used for; None for keys that sign nothing, and kinds that are not spoken here."""
    match described:
        case {"kty": "RSA"}:
            found: Algorithm = "RS256"
        case {"kty": "EC", "crv": "P-256"}:
            found = "ES256"
        case {"kty": "OKP", "crv": "Ed25519"}:
            found = "EdDSA"
        case _:
            return None
    if described.get("alg", found) not in (found, "Ed25519" if found == "EdDSA" else found):
        return None
    if described.get("use", "sig") != "sig":
        return None
    allowed = described.get("key_ops")
    return found if allowed is None or "verify" in allowed else None


def _key(described: dict[str, Any], algorithm: Algorithm) -> PyJWK | None:
    """A public key; None where its figures are none, or too short to be safe."""
    jwt = jwt_library()
    public = {name: described[name] for name in _PUBLIC_FIELDS if name in described}
    try:
        key = jwt.PyJWK(public, algorithm)
        weakness = key.Algorithm.check_key_length(key.key)
    except (jwt.PyJWTError, TypeError, ValueError) as error:
        weakness, key = type(error).__name__, None
    if weakness is not None:
        LOG.warning("a published key for %s is not used: %s", algorithm, weakness)
        return None
    return key


def jwt_library() -> Any:
    """PyJWT, which is loaded when the first app with providers starts. Raises MissingExtra."""
    try:
        import jwt
        import jwt.algorithms as algorithms
    except ImportError:
        raise _missing() from None
    if not algorithms.has_crypto:
        raise _missing()
    return jwt


def _missing() -> MissingExtra:
    return MissingExtra('App(auth=[...]) needs PyJWT with cryptography: pip install "reflow[auth]"')


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects as long as nobody on the way could have changed what comes."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        if not is_safe_address(urljoin(req.full_url, newurl)):
            raise ProviderUnavailable(f"{req.full_url} leads to an address without https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def fetched(address: str, limits: Limits) -> bytes:
    """What an address answers, within limits.keys_bytes and limits.provider_seconds. Raises ProviderUnavailable."""
    deadline = monotonic() + limits.provider_seconds
    opener = urllib.request.build_opener(_SafeRedirects)
    request = urllib.request.Request(address, headers={"accept": "application/json", "user-agent": "reflow"})
    body = bytearray()
    try:
        with opener.open(request, timeout=limits.provider_seconds) as response:
            while chunk := response.read1(_CHUNK):
                body += chunk
                if len(body) > limits.keys_bytes:
                    raise ProviderUnavailable(f"{address} answers more than limits.keys_bytes = {limits.keys_bytes}")
                if monotonic() > deadline:
                    raise ProviderUnavailable(f"{address} is too slow")
    except (OSError, HTTPException, ValueError) as error:
        raise ProviderUnavailable(f"{address}: {error}") from None
    return bytes(body)
