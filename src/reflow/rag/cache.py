"""Vectors by what they were made of, so that no text is embedded twice."""

from __future__ import annotations

from hashlib import sha256

from reflow import Model
from reflow.rag.embedders.base import Kind


def text_hash(text: str) -> str:
    """Names a text by its content: 64 hexadecimal digits."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def digest_of(model: Model, kind: Kind, hash: str) -> str:
    """Names the vector that `model` makes of a text: equal for equal vectors only."""
    parts = (model.embedder, model.revision, str(model.dims), str(model.normalized), kind, hash)
    return sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
