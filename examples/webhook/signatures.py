"""Signatures as Standard Webhooks has them (https://www.standardwebhooks.com): HMAC-SHA256 over id, time and body.

A message carries the headers webhook-id, webhook-timestamp (seconds since 1970) and webhook-signature, which may hold
several signatures while the provider changes its secret.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping

TOLERANCE_SECONDS = 300
"""How far a message's time may be from now: a message that somebody has recorded is good for nothing later."""

SHORTEST_KEY_BYTES = 16
"""Half a secret, such as its prefix alone, must not make a key that everybody knows."""

_PREFIX = "whsec_"


class NotAccepted(Exception):
    """A message that does not come from the provider, or not now."""


def sign(secret: str, delivery: str, timestamp: int, body: bytes) -> str:
    """The signature of a message. `secret` is base64, with or without `whsec_` before it.

    Raises ValueError for what is no secret.
    """
    key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    if len(key) < SHORTEST_KEY_BYTES:
        raise ValueError(f"the webhook's secret is shorter than {SHORTEST_KEY_BYTES} bytes: anybody could guess it")
    signed = hmac.digest(key, f"{delivery}.{timestamp}.".encode() + body, hashlib.sha256)
    return f"v1,{base64.b64encode(signed).decode()}"


def verify(headers: Mapping[str, str], body: bytes, *, secret: str, now: float) -> str:
    """The id of a message that the provider has signed. Raises NotAccepted."""
    delivery, time = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not delivery or not time.isascii() or not time.isdigit() or len(time) > 15:
        raise NotAccepted("the headers webhook-id and webhook-timestamp are missing or wrong")
    timestamp = int(time)
    expected = sign(secret, delivery, timestamp, body).encode()
    given = headers.get("webhook-signature", "").encode().split()
    # Every signature is compared, each in constant time: how long it takes tells nothing.
    if not sum([hmac.compare_digest(expected, signature) for signature in given]):
        raise NotAccepted("the signature is not right")
    if abs(now - timestamp) > TOLERANCE_SECONDS:
        raise NotAccepted(f"the message was not sent within the last {TOLERANCE_SECONDS} seconds")
    return delivery
