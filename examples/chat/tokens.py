"""Tokens that the chat signs itself: ES256, short-lived, checked by the app like those of any other provider."""

from __future__ import annotations

import base64
import json
import os
import secrets
from pathlib import Path

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

import reflow as rf

ISSUER = "https://chat.example"
AUDIENCE = "chat"
LIFETIME_SECONDS = 600.0
"""How long a token is good; the page fetches the next one by itself."""

_KEY_ID = "chat-1"


def _signing_key() -> ec.EllipticCurvePrivateKey:
    """The key beside the database, made at the first start and readable by its owner only."""
    path = Path(os.environ.get("REFLOW_DATA", ".reflow")) / "chat-signing-key.pem"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{secrets.token_hex(8)}")
        made = ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(made)
        unfinished.replace(path)
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise RuntimeError(f"{path} holds no key for ES256; remove it, and a new one is made")
    return key


_KEY = _signing_key()


def provider() -> rf.JWT:
    """What the app has to know to check these tokens: the public half of the key."""
    public = {**ECAlgorithm.to_jwk(_KEY.public_key(), as_dict=True), "kid": _KEY_ID, "alg": "ES256"}
    text = base64.b64encode(json.dumps({"keys": [public]}).encode()).decode()
    return rf.JWT(ISSUER, jwks=f"data:application/json;base64,{text}", algorithm="ES256", application_id=AUDIENCE)


def token_for(account: str, name: str, team: str, now: float) -> str:
    """A token for a signed-in user; `now` in seconds since 1970."""
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": account, "name": name, "team": team}
    claims |= {"iat": int(now), "exp": int(now + LIFETIME_SECONDS)}
    return jwt.encode(claims, _KEY, algorithm="ES256", headers={"kid": _KEY_ID})
