"""The embedder that a deployment's variables name, for applications that leave the choice to whoever runs them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reflow.errors import DefinitionError, EmbedderError
from reflow.rag.embedders import Cohere, LocalEmbedder, Ollama, OpenAICompatible, Voyage
from reflow.rag.embedders.base import Embedder

MODEL = "EMBEDDING_MODEL"
URL = "EMBEDDING_URL"
DIMS = "EMBEDDING_DIMS"
KEY = "EMBEDDING_KEY"
OTHERS = "EMBEDDING_OTHERS"

_LOCAL = ("", "local", LocalEmbedder.id)
_PROVIDERS = {"openai": OpenAICompatible, "cohere": Cohere, "voyage": Voyage, "ollama": Ollama}


def configured_embedder(variables: Mapping[str, str]) -> Embedder:
    """The embedder that these variables name.

    EMBEDDING_MODEL is "local" (the default), or provider and model: "openai/text-embedding-3-small",
    "cohere/embed-v4.0", "voyage/voyage-3.5", "ollama/nomic-embed-text"; the provider's key is in its own variable. With
    EMBEDDING_URL it is the model of any server that speaks OpenAI's format, whose key is in EMBEDDING_KEY.
    EMBEDDING_DIMS is the length of its vectors, where that is not known. A corpus is defined with it, so the variables
    are those of the process, and a change counts at the next start.

    Raises DefinitionError.
    """
    model, url = variables.get(MODEL, ""), variables.get(URL)
    if model in _LOCAL and url is None:
        return LocalEmbedder()
    options = _options(variables.get(DIMS))
    if url is not None:
        return _known(OpenAICompatible(model, base_url=url, variable=KEY if KEY in variables else None, **options))
    provider, _, name = model.partition("/")
    if provider not in _PROVIDERS or not name:
        names = ", ".join(_PROVIDERS)
        raise DefinitionError(f'{MODEL}={model!r}: write "local", or a provider ({names}) and its model: openai/MODEL')
    return _known(_PROVIDERS[provider](name, **options))


def other_embedders(variables: Mapping[str, str]) -> list[Embedder]:
    """The embedders of EMBEDDING_OTHERS, separated by commas and named as EMBEDDING_MODEL is: those that can take the
    place of that one, or that it took the place of. Raises DefinitionError."""
    names = [name.strip() for name in variables.get(OTHERS, "").split(",")]
    return [configured_embedder({MODEL: name}) for name in names if name]


def _options(dims: str | None) -> dict[str, Any]:
    if dims is None:
        return {}
    if not dims.isascii() or not dims.isdigit() or int(dims) < 1:
        raise DefinitionError(f"{DIMS}={dims!r}: write the length of the model's vectors, such as 768")
    return {"dims": int(dims)}


def _known(embedder: Embedder) -> Embedder:
    """The embedder, whose vectors' length must be known before any of them is there."""
    try:
        _ = embedder.dims
    except EmbedderError:
        raise DefinitionError(
            f"the length of the vectors of {embedder.id} is not known: set {DIMS}, such as {DIMS}=768"
        ) from None
    return embedder
