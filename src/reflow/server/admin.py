"""The admin key: made once for a data directory, or set in the environment. Who has it may do everything."""

from __future__ import annotations

import os
import secrets
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import Any

import msgspec

from reflow.auth import Identity
from reflow.errors import AuthenticationError, StorageUnavailable

SETTING = "REFLOW_ADMIN_KEY"
FILE_NAME = "admin.key"

_PREFIX = "reflow|"
_SECRET_BYTES = 32
_SHORTEST = 24
"""Characters of a key of one's own choice, which is to be random too."""

_CLAIMS = {
    "name": "name",
    "givenName": "given_name",
    "familyName": "family_name",
    "nickname": "nickname",
    "preferredUsername": "preferred_username",
    "profileUrl": "profile",
    "pictureUrl": "picture",
    "websiteUrl": "website",
    "email": "email",
    "emailVerified": "email_verified",
    "gender": "gender",
    "birthday": "birthdate",
    "timezone": "zoneinfo",
    "language": "locale",
    "phoneNumber": "phone_number",
    "phoneNumberVerified": "phone_number_verified",
    "address": "address",
    "updatedAt": "updated_at",
}
"""Convex's names of an identity's attributes, and the claims that they stand for (OpenID Connect Core 1.0, 5.1)."""


def admin_key(directory: Path, environment: Mapping[str, str]) -> str:
    """The admin key of a data directory: the setting REFLOW_ADMIN_KEY, else the one kept there, made at first use.

    Raises StorageUnavailable, AuthenticationError for a setting that is too easy to guess.
    """
    chosen = environment.get(SETTING)
    if chosen:
        if len(chosen) < _SHORTEST or ":" in chosen or not chosen.isascii() or not chosen.isprintable():
            raise AuthenticationError(
                f"{SETTING} must have at least {_SHORTEST} printable ASCII characters and no colon; such as what "
                "`openssl rand -hex 32` prints"
            )
        return chosen
    path = directory / FILE_NAME
    try:
        return _made(path)
    except FileExistsError:
        return _kept(path)
    except OSError as error:
        raise StorageUnavailable(f"{path} can't be written: {error.strerror or error}") from None


def _made(path: Path) -> str:
    """A new key, in a file that only its owner can read. Raises OSError, FileExistsError where there is one."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists():
        raise FileExistsError
    key = _PREFIX + secrets.token_hex(_SECRET_BYTES)
    # Written under another name first: nobody may find half a key, and of two that make one, one wins.
    draft = path.with_name(f"{FILE_NAME}.{os.getpid()}")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(file, key.encode())
        os.fsync(file)
        os.link(draft, path)
    finally:
        os.close(file)
        os.unlink(draft)
    return key


def _kept(path: Path) -> str:
    try:
        key = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StorageUnavailable(f"{path} can't be read: {error}") from None
    if len(key) < _SHORTEST:
        raise StorageUnavailable(f"{path} holds no admin key: delete it, and a new one is made")
    return key


def check_key(shown: str, key: str | None) -> None:
    """Raises AuthenticationError unless the shown key is the admin key."""
    # Digests are compared: so the time tells nothing, not even a length.
    wanted = "" if key is None else key
    same = compare_digest(_digest(shown), _digest(wanted))
    if key is None or not same:
        raise AuthenticationError("BadDeployKey: this is not the server's admin key; `reflow admin-key` prints it")


def _digest(text: str) -> bytes:
    return sha256(text.encode(errors="surrogatepass")).digest()


def unpacked(text: str) -> bytes:
    """The JSON of whom to be taken for, from the end of a header. Raises AuthenticationError."""
    try:
        return b64decode(text.encode(), validate=True)
    except (Base64Error, UnicodeEncodeError):
        raise AuthenticationError("InvalidIdentity: what follows the colon must be base64 of a JSON object") from None


def impersonated(raw: bytes, home: str) -> Identity:
    """The identity that an admin wants to be taken for; `home` is its issuer where none is given.

    Attributes have Convex's names (`givenName`) or those of claims (`given_name`). Raises AuthenticationError.
    """
    try:
        attributes = msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise AuthenticationError("InvalidIdentity: an identity to act as must be a JSON object") from None
    identifier = attributes.pop("tokenIdentifier", None)
    issuer, subject = attributes.pop("issuer", None), attributes.pop("subject", None)
    if isinstance(identifier, str):
        issuer, _, subject = identifier.partition("|")
    issuer = home if issuer is None else issuer
    if not isinstance(subject, str) or not subject or not isinstance(issuer, str) or "|" in issuer:
        raise AuthenticationError(
            'InvalidIdentity: an identity to act as needs a subject, such as {"subject": "user_1", "issuer": "..."}'
        )
    return Identity(
        issuer=issuer, subject=subject, claims={_CLAIMS.get(name, name): value for name, value in attributes.items()}
    )
