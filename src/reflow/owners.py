"""Owners: whose a row is. The caller's token decides, never an argument, so that a function can't forget it.

A table or index with an owner shows each function run the rows of its caller only; see docs/owners.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from hashlib import blake2b
from typing import Any, Literal, Protocol

from reflow.auth import same_issuer
from reflow.errors import AuthenticationRequired, DefinitionError
from reflow.limits import DEFAULT

Owners = Literal["caller", "all"]
"""Whose rows a function works with: its caller's, or (internal functions only) everybody's."""

_DIGESTED = "~"


class Signed(Protocol):
    """A caller whose token was verified."""

    @property
    def issuer(self) -> str: ...
    @property
    def claims(self) -> Mapping[str, Any]: ...
    @property
    def token_identifier(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Owner:
    """Says whose a row is: `field` of the table holds the caller's `token_identifier`, or a claim of their token.

    `claim` names it where rows belong to a tenant, such as `Owner("org", claim="org_id")`: everybody whose token has
    the same text there shares them. Choose one that the identity provider controls. With several providers that might
    give out the same texts, `issuer` names the one whose claim counts. A `Vectors` has no field: `Owner(claim=...)`.
    """

    field: str = ""
    _: KW_ONLY
    claim: str | None = None
    issuer: str | None = None

    def of(self, caller: Signed | None) -> str | None:
        """The owner that a caller is; None for nobody and for a token without the claim."""
        if caller is None or (self.issuer is not None and not same_issuer(caller.issuer, self.issuer)):
            return None
        found: object = caller.token_identifier if self.claim is None else caller.claims.get(self.claim)
        return found if isinstance(found, str) and found and _is_text(found) else None

    def required(self, caller: Signed | None, what: str) -> str:
        """The same. Raises AuthenticationRequired where there is none; `what` is to be written."""
        found = self.of(caller)
        if found is not None:
            return found
        if caller is None:
            raise AuthenticationRequired(
                f"{what} belongs to its users, and nobody is signed in: sign in first. Background work has no user; it "
                'writes from an internal function with owners="all" and names the owner'
            )
        claim = "a token identifier" if self.claim is None else f"a text as its claim {self.claim!r}"
        source = "" if self.issuer is None else f" from {self.issuer}"
        raise AuthenticationRequired(
            f"{what} belongs to whom the token names, and this caller's token has not {claim}{source}: have the "
            "identity provider add it, or sign in where it is given out"
        )


def _is_text(found: str) -> bool:
    """Whether a text can be stored: JSON can hold halves of characters."""
    try:
        found.encode()
    except UnicodeEncodeError:
        return False
    return True


class OwnerField:
    """The type of `owner()`'s marker; the metaclass of tables replaces it by a default of ""."""


_OWNER_FIELD = OwnerField()


def owner() -> Any:
    """Default of a table's owner field: `insert` fills it with the caller, so that nobody has to write it.

    A stored row with "" is nobody's: only functions with owners="all" see it.
    """
    return _OWNER_FIELD


def rule_of(given: str | Owner | None, what: str) -> Owner | None:
    """A table's rule, however it was written. Raises DefinitionError for one without a usable field."""
    if given is None:
        return None
    rule = Owner(given) if isinstance(given, str) else given
    if not isinstance(rule, Owner):  # pyright: ignore[reportUnnecessaryIsInstance] - applications need no type checker
        raise DefinitionError(
            f'{what}: owner= takes the name of a field or rf.Owner("field", claim=...), got {given!r}'
        )
    if not rule.field or rule.field[0] in "_$" or "." in rule.field:
        raise DefinitionError(f"{what}: owner= names the field that holds the owner, and {rule.field!r} can't be one")
    return rule


def namespace_of(owner: str) -> str:
    """The namespace of an owned `Vectors` that is an owner's, for functions with owners="all" and Pinecone's clients.

    That is the owner itself where it can name a namespace, else a digest of it.
    """
    plain = owner.isascii() and owner.isprintable() and len(owner) <= DEFAULT.record_id_length
    if plain and owner and not owner.startswith((_DIGESTED, "__")):
        return owner
    return _DIGESTED + blake2b(owner.encode(), digest_size=32).hexdigest()
