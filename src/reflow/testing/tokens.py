"""Tokens for tests and for trying out: a provider of identities inside the process."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from typing import TYPE_CHECKING, Any

from reflow.auth import JWT, Algorithm
from reflow.errors import MissingExtra

if TYPE_CHECKING:
    from jwt.algorithms import AllowedPrivateKeys

_RSA_BITS = 2048
_LIFETIME_SECONDS = 3600.0


class TokenIssuer:
    """Signs tokens as a provider of identities does; its keys live as long as the object. Example:

        issuer = TokenIssuer()
        app = rf.App(modules=[notes], auth=[issuer.provider])
        ...
        client.set_auth(issuer.token("ann", name="Ann"))

    Needs `reflow[auth]`. Raises MissingExtra.
    """

    def __init__(
        self,
        issuer: str = "https://issuer.test",
        *,
        algorithm: Algorithm = "ES256",
        application_id: str | None = "app",
    ) -> None:
        self.issuer = issuer
        self.algorithm: Algorithm = algorithm
        self.application_id = application_id
        self._keys: dict[str, AllowedPrivateKeys] = {}
        self._made = 0
        self.rotate(keep=0)

    def rotate(self, *, keep: int = 1) -> str:
        """Signs with a new key from now on; publishes it and the latest `keep` before it. Returns its `kid`."""
        self._made += 1
        kid = f"key-{self._made}"
        kept = list(self._keys.items())[len(self._keys) - keep if keep else len(self._keys) :]
        self._keys = {**dict(kept), kid: _new_key(self.algorithm)}
        return kid

    @property
    def provider(self) -> JWT:
        """What goes into `App(auth=[...])`; it knows the keys that are published now."""
        uri = "data:application/json;base64," + b64encode(self.jwks()).decode()
        return JWT(self.issuer, jwks=uri, algorithm=self.algorithm, application_id=self.application_id)

    def jwks(self) -> bytes:
        """The published keys as a JSON Web Key Set (RFC 7517)."""
        return json.dumps({"keys": [self.public_key(kid) for kid in self._keys]}).encode()

    def public_key(self, kid: str) -> dict[str, Any]:
        """One published key as a JSON Web Key."""
        import jwt

        algorithm = jwt.get_algorithm_by_name(self.algorithm)
        described: dict[str, Any] = json.loads(algorithm.to_jwk(self._keys[kid].public_key()))
        return {**described, "kid": kid, "use": "sig", "alg": self.algorithm}

    def token(
        self,
        subject: str,
        *,
        lifetime: float = _LIFETIME_SECONDS,
        header: dict[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        """A signed token for `subject`, good for `lifetime` seconds from now.

        `claims` are added; they, and the fields of `header`, may also replace what a proper token has. What is None is
        left out.
        """
        import jwt

        now = time.time()
        told: dict[str, Any] = {"iss": self.issuer, "sub": subject, "iat": now, "exp": now + lifetime}
        if self.application_id is not None:
            told["aud"] = self.application_id
        kid, key = list(self._keys.items())[-1]
        headers = _given({"kid": kid, **(header or {})})
        payload = json.dumps(_given({**told, **claims})).encode()
        return jwt.PyJWS().encode(payload, key, algorithm=self.algorithm, headers=headers)


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _new_key(algorithm: Algorithm) -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    except ImportError:
        raise MissingExtra('TokenIssuer needs PyJWT with cryptography: pip install "reflow[auth]"') from None
    match algorithm:
        case "RS256":
            return rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
        case "ES256":
            return ec.generate_private_key(ec.SECP256R1())
        case "EdDSA":
            return ed25519.Ed25519PrivateKey.generate()
