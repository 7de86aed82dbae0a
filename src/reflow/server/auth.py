"""Who is asking: what a client shows, and whom that lets in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from reflow.auth import Identity, Provider
from reflow.errors import AuthenticationError
from reflow.limits import Limits
from reflow.server import admin
from reflow.server.tokens import TokenVerifier

TokenType = Literal["User", "Admin"]

FUTURE = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What a client shows: a user's token, or the admin key and, as JSON, whom it wants to be taken for."""

    kind: TokenType
    value: str = field(repr=False)
    acting_as: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who is let in. `identity` None: nobody is signed in. `admin` may call internal functions too."""

    identity: Identity | None = None
    admin: bool = False
    expires: float = FUTURE
    """When the rights end, in seconds since 1970."""


ANYBODY = Caller()
"""Who shows nothing."""


class Verifier(Protocol):
    """Checks what clients show."""

    async def verify(self, shown: Credentials) -> Caller:
        """Who is let in. Raises AuthenticationError, ProviderUnavailable."""
        ...


class AppVerifier:
    """Checks users' tokens against the app's providers, and the admin key. `seconds` is the time since 1970."""

    def __init__(
        self, providers: Sequence[Provider], limits: Limits, seconds: Callable[[], float], admin_key: str | None
    ) -> None:
        self._tokens = TokenVerifier(providers, limits, seconds)
        self._limits = limits
        self._admin_key = admin_key
        self._home = home_of(providers)

    async def verify(self, shown: Credentials) -> Caller:
        """Who is let in. Raises AuthenticationError, ProviderUnavailable."""
        if shown.kind == "Admin":
            admin.check_key(shown.value, self._admin_key)
            identity = None if shown.acting_as is None else admin.impersonated(shown.acting_as, self._home)
            return Caller(identity=identity, admin=True)
        verified = await self._tokens.verify(shown.value)
        return Caller(identity=verified.identity, expires=verified.expires + self._limits.clock_tolerance_seconds)

    async def close(self) -> None:
        """Asks providers no more."""
        await self._tokens.close()


def home_of(providers: Sequence[Provider]) -> str:
    """The issuer of an identity to act as that names none: that of the first provider."""
    return providers[0].issuer if providers else ""


async def caller_of(verifier: Verifier, headers: Mapping[bytes, bytes]) -> Caller:
    """Who sends a request with these headers. Raises AuthenticationError, ProviderUnavailable."""
    header = headers.get(b"authorization")
    return ANYBODY if header is None else await verifier.verify(credentials_of(header.decode("latin-1")))


def credentials_of(header: str) -> Credentials:
    """What an Authorization header shows. Raises AuthenticationError."""
    scheme, _, value = header.strip().partition(" ")
    match scheme.lower():
        case "bearer":
            return Credentials(kind="User", value=value.strip())
        case "convex":
            key, colon, acting_as = value.strip().partition(":")
            return Credentials(kind="Admin", value=key, acting_as=admin.unpacked(acting_as) if colon else None)
        case _:
            raise AuthenticationError(
                "InvalidAuthHeader: the Authorization header must be 'Bearer <token>' or 'Convex <admin key>'"
            )
