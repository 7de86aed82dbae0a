"""API keys: who may use the Pinecone API of this server."""

from __future__ import annotations

from collections.abc import Iterable
from hmac import compare_digest

from reflow.server.pinecone.errors import Refused

SETTING = "REFLOW_PINECONE_API_KEY"
"""The environment's name for the keys, separated by commas."""

URL_SETTING = "REFLOW_PINECONE_URL"
"""The environment's name for the address that clients reach this server at."""

HEADER = b"api-key"


def keys_in(text: str) -> tuple[str, ...]:
    """The keys in a setting, without blanks around them."""
    return tuple(key for part in text.split(",") if (key := part.strip()))


class Keys:
    """The keys that open the API. None at all: every key does, for a server that only its own machine reaches."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys = [key.encode() for key in keys]

    def check(self, key: bytes | None) -> None:
        """Raises Refused for a missing or wrong key, in a time that tells nothing of the right ones."""
        if not key:
            raise Refused("UNAUTHENTICATED", "Unauthorized: the request has no API key; send it as the header Api-Key")
        fits = [compare_digest(key, known) for known in self._keys]
        if fits and not any(fits):
            raise Refused("UNAUTHENTICATED", "Invalid API Key")
