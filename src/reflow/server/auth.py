"""Who is asking: the place where tokens are verified."""

from __future__ import annotations

from typing import Literal, Protocol

from reflow.context import Identity
from reflow.errors import AuthenticationError

TokenType = Literal["User", "Admin"]


class Verifier(Protocol):
    """Turns a token into an identity."""

    async def verify(self, token_type: TokenType, token: str) -> Identity:
        """The identity behind a token. Raises AuthenticationError."""
        ...


class NoProvider:
    """The verifier of an app that has no provider of identities: it refuses every token."""

    async def verify(self, token_type: TokenType, token: str) -> Identity:
        """Raises AuthenticationError."""
        raise AuthenticationError(
            "NoAuthProvider: authentication is not set up in this app, so it accepts no token; call without one"
        )


def token_of(header: str) -> tuple[TokenType, str]:
    """The token in an Authorization header. Raises AuthenticationError."""
    scheme, _, token = header.strip().partition(" ")
    match scheme.lower():
        case "bearer":
            return "User", token.strip()
        case "convex":
            return "Admin", token.strip()
        case _:
            raise AuthenticationError(
                "InvalidAuthHeader: the Authorization header must be 'Bearer <token>' or 'Convex <admin key>'"
            )
