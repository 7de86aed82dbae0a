"""Who calls: identities, and the providers whose tokens an app takes. Nothing here does I/O."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal
from urllib.parse import unquote_to_bytes, urlsplit

import msgspec

from reflow.errors import DefinitionError

Algorithm = Literal["RS256", "ES256", "EdDSA"]
"""How a token is signed: RSA with SHA-256, ECDSA on P-256, Ed25519."""

ALGORITHMS: tuple[Algorithm, ...] = ("RS256", "ES256", "EdDSA")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who calls: the claims of a verified token. `token_identifier` is unique over all issuers.

    `claims` holds what the token says besides `iss` and `sub`, by the token's own names; what differs between two
    tokens of one sign-in (`iat`, `exp`, `nbf`, `jti` and the like) is left out, so that a refreshed token is the same
    identity.
    """

    issuer: str
    subject: str
    claims: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        # Results are shared by who has equal claims, so nobody may change them.
        object.__setattr__(self, "claims", MappingProxyType(dict(self.claims)))

    @property
    def token_identifier(self) -> str:
        """`issuer|subject`."""
        return f"{self.issuer}|{self.subject}"

    @property
    def name(self) -> str | None:
        """The full name."""
        return self._text("name")

    @property
    def given_name(self) -> str | None:
        """The first name."""
        return self._text("given_name")

    @property
    def family_name(self) -> str | None:
        """The last name."""
        return self._text("family_name")

    @property
    def nickname(self) -> str | None:
        """The casual name."""
        return self._text("nickname")

    @property
    def preferred_username(self) -> str | None:
        """The name by which the user wants to be called; not unique."""
        return self._text("preferred_username")

    @property
    def picture(self) -> str | None:
        """The address of a picture."""
        return self._text("picture")

    @property
    def email(self) -> str | None:
        """The e-mail address; look at `email_verified` before you trust it."""
        return self._text("email")

    @property
    def email_verified(self) -> bool:
        """Whether the provider has checked that the address is the user's."""
        return self.claims.get("email_verified") is True

    def _text(self, claim: str) -> str | None:
        value = self.claims.get(claim)
        return value if isinstance(value, str) else None


@dataclass(frozen=True, slots=True)
class OIDC:
    """A provider that speaks OpenID Connect, such as Auth0, Clerk, Google, Keycloak or Okta.

    `issuer` is its address as the tokens' `iss` says it; its keys are found through
    `<issuer>/.well-known/openid-configuration`. `application_id` is what a token's `aud` must hold: the client id that
    the provider gave this application. Algorithms: RS256, ES256, EdDSA. Raises DefinitionError for an address that is
    neither https nor on this machine.
    """

    issuer: str
    application_id: str = field(kw_only=True)

    def __post_init__(self) -> None:
        if "://" not in self.issuer:
            object.__setattr__(self, "issuer", f"https://{self.issuer}")
        _check_issuer("OIDC", self.issuer)
        if not is_safe_address(self.issuer):
            raise DefinitionError(
                f"rf.OIDC({self.issuer!r}): the issuer must be an https address (http on this machine only)"
            )
        if not self.application_id:
            raise DefinitionError(f"rf.OIDC({self.issuer!r}): application_id is empty; it is what the tokens' aud says")

    @property
    def algorithms(self) -> tuple[Algorithm, ...]:
        """How its tokens may be signed."""
        return ALGORITHMS


@dataclass(frozen=True, slots=True)
class JWT:
    """A source of tokens without discovery, such as a sign-in of your own.

    `issuer` is what the tokens' `iss` says. `jwks` is where the public keys are: an https address (http on this machine
    only) or a `data:` URI with a JSON Web Key Set (RFC 7517). Tokens must be signed by `algorithm` and name their key
    by `kid`. Without `application_id` tokens for every audience are taken: give one wherever the source also signs
    tokens for other applications. Raises DefinitionError.
    """

    issuer: str
    jwks: str = field(kw_only=True)
    algorithm: Algorithm = field(default="RS256", kw_only=True)
    application_id: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        _check_issuer("JWT", self.issuer)
        if self.algorithm not in ALGORITHMS:
            raise DefinitionError(
                f"rf.JWT({self.issuer!r}): algorithm {self.algorithm!r} is none of {', '.join(ALGORITHMS)}"
            )
        if self.application_id == "":
            raise DefinitionError(f"rf.JWT({self.issuer!r}): application_id is empty; leave it out for any audience")
        if self.jwks.startswith("data:"):
            try:
                msgspec.json.decode(data_of(self.jwks), type=dict[str, Any])
            except (ValueError, msgspec.DecodeError) as error:
                raise DefinitionError(f"rf.JWT({self.issuer!r}): jwks is no data: URI of a key set: {error}") from None
        elif not is_safe_address(self.jwks):
            raise DefinitionError(
                f"rf.JWT({self.issuer!r}): jwks must be an https address (http on this machine only) or a data: URI"
            )

    @property
    def algorithms(self) -> tuple[Algorithm, ...]:
        """How its tokens may be signed."""
        return (self.algorithm,)


Provider = OIDC | JWT
"""Whose tokens an app takes: one of `App(auth=[...])`."""


def same_issuer(left: str, right: str) -> bool:
    """Whether two spellings mean one issuer: `https://` and a slash at the end make no difference."""
    return _bare(left) == _bare(right)


def _bare(issuer: str) -> str:
    return issuer.removeprefix("https://").removesuffix("/")


def is_safe_address(address: str) -> bool:
    """Whether nobody on the way can change what this address answers: https, or http to this machine."""
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
    except ValueError:
        return False
    if parts.username is not None:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and is_this_machine(host)))


def is_this_machine(host: str) -> bool:
    """Whether a host name can only mean this machine."""
    return host in ("localhost", "127.0.0.1", "::1")


def data_of(uri: str) -> bytes:
    """The content of a `data:` URI (RFC 2397). Raises ValueError."""
    head, comma, body = uri.partition(",")
    if not comma:
        raise ValueError("a comma must stand before the data")
    raw = unquote_to_bytes(body)
    if not head.endswith(";base64"):
        return raw
    try:
        return b64decode(raw + b"=" * (-len(raw) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None


def _check_issuer(kind: str, issuer: str) -> None:
    # `issuer|subject` must name one user only, so an issuer can't hold the bar.
    if not issuer.strip() or "|" in issuer:
        raise DefinitionError(f"rf.{kind}({issuer!r}): the issuer must be what the tokens' iss says, without '|'")
