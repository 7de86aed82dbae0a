"""The public keys of a provider of identities: fetched when a token needs them, kept, and replaced as they rotate."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from reflow.auth import JWT, OIDC, Algorithm, Provider, data_of, same_issuer
from reflow.errors import AuthenticationError, DefinitionError, MissingExtra, ProviderUnavailable
from reflow.limits import Limits
from reflow.server.fetching import fetched, in_thread, may_lead_to

if TYPE_CHECKING:
    from jwt import PyJWK

LOG = logging.getLogger("reflow.server")

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What a provider's JSON may raise when it is read."""
_PUBLIC_FIELDS = ("kty", "crv", "n", "e", "x", "y")

KeysByName = Mapping[tuple[str | None, Algorithm], "PyJWK"]
"""Keys by `kid` and by what they are used for."""


class _Configuration(Struct):
    """What is needed of a discovery document (OpenID Connect Discovery 1.0, section 3)."""

    issuer: str
    jwks_uri: str


class _KeyList(Struct):
    """A JSON Web Key Set (RFC 7517, section 5)."""

    keys: list[dict[str, Any]]


class KeySet:
    """The keys of one provider. Raises DefinitionError where they are written down and can't be used, MissingExtra."""

    def __init__(self, provider: Provider, limits: Limits, seconds: Callable[[], float] = monotonic) -> None:
        self._provider = provider
        self._limits = limits
        self._seconds = seconds
        self.keys: KeysByName = {}
        """The keys that are known now: another object whenever they were fetched again."""
        self._fetched = -math.inf
        self._asked = -math.inf
        self._failure = ""
        self._asking: asyncio.Task[None] | None = None
        if not isinstance(provider, OIDC) and provider.jwks.startswith("data:"):
            self.keys = _written(provider, limits)
            self._fetched = math.inf  # they never change

    def still(self, keys: KeysByName) -> bool:
        """Whether what was found in `keys` would be found again."""
        return keys is self.keys and self._seconds() - self._fetched <= self._limits.keys_fresh_seconds

    async def find(self, kid: str | None, algorithm: Algorithm) -> PyJWK:
        """The key that a token names. Raises AuthenticationError, ProviderUnavailable."""
        limits = self._limits
        if self._seconds() - self._fetched > limits.keys_fresh_seconds:
            asking = self._ask()
            if self._is_too_old():
                await asyncio.shield(asking)
                if self._is_too_old():
                    raise ProviderUnavailable(self._failure)
        key = self._named(kid, algorithm)
        if key is None and self._fetched < math.inf:
            key = await self._newly_named(kid, algorithm)
        if key is None:
            if self._failure:
                raise ProviderUnavailable(self._failure)
            raise AuthenticationError(
                f"InvalidToken: the token is refused: its issuer publishes no key of that name for {algorithm}"
            )
        return key

    async def close(self) -> None:
        """Asks no more."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    def _is_too_old(self) -> bool:
        return self._seconds() - self._fetched > self._limits.keys_kept_seconds

    def _named(self, kid: str | None, algorithm: Algorithm) -> PyJWK | None:
        if kid is not None:
            return self.keys.get((kid, algorithm))
        # A token need not name its key where there is no choice.
        fitting = [key for (_, used_for), key in self.keys.items() if used_for == algorithm]
        return fitting[0] if len(fitting) == 1 else None

    async def _newly_named(self, kid: str | None, algorithm: Algorithm) -> PyJWK | None:
        """The key among those that the provider has by now."""
        came = self._seconds()
        await asyncio.shield(self._ask())
        if self._asked < came and not self._failure and self._named(kid, algorithm) is None:
            await asyncio.shield(self._ask())  # the question was older than the token, and the key may be younger
        return self._named(kid, algorithm)

    def _ask(self) -> asyncio.Task[None]:
        """The question for the keys that is under way, else a new one."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.get_running_loop().create_task(self._refresh(), name="reflow-keys")
        return self._asking

    async def _refresh(self) -> None:
        """Replaces the keys by what the provider says now; where it says nothing, notes why. Never raises.

        Forged names of keys must not make us ask all the time. So there is a pause: who waits for a new key waits
        through it, and who waits for a provider that is down is told so at once.
        """
        limits = self._limits
        pause = self._asked + limits.provider_pause_seconds - self._seconds()
        if pause > 0:
            if self._failure:
                return
            await asyncio.sleep(pause)
        self._asked = self._seconds()
        try:
            async with asyncio.timeout(limits.provider_seconds):
                raw = await in_thread(self._current)
            self.keys = read_keys(raw, self._provider, limits)
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
            return fetched(provider.jwks, self._limits)
        address = provider.issuer.removesuffix("/") + "/.well-known/openid-configuration"
        try:
            found = msgspec.json.decode(fetched(address, self._limits), type=_Configuration)
        except _UNREADABLE as error:
            raise ProviderUnavailable(f"{address} is no discovery document: {error}") from None
        if not same_issuer(found.issuer, provider.issuer):
            raise ProviderUnavailable(f"{address} is about another issuer, {found.issuer[:200]!r}")
        if not may_lead_to(address, found.jwks_uri):
            raise ProviderUnavailable(f"{found.jwks_uri[:200]!r} is no https address")
        return fetched(found.jwks_uri, self._limits)


def _written(provider: JWT, limits: Limits) -> KeysByName:
    try:
        return read_keys(data_of(provider.jwks), provider, limits)
    except ProviderUnavailable as error:
        raise DefinitionError(f"rf.JWT({provider.issuer!r}): jwks: {error}") from None


def read_keys(raw: bytes, provider: Provider, limits: Limits) -> KeysByName:
    """The keys in a key set that this provider's tokens may be signed by; others are left out.

    Raises ProviderUnavailable where it is no key set, or one without such a key; MissingExtra.
    """
    try:
        listed = msgspec.json.decode(raw, type=_KeyList).keys
    except _UNREADABLE as error:
        raise ProviderUnavailable(f"that is no JSON Web Key Set: {error}") from None
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
        raise ProviderUnavailable(f"there is no usable key for {' or '.join(provider.algorithms)}")
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
    return found if allowed is None or (isinstance(allowed, list) and "verify" in allowed) else None


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
