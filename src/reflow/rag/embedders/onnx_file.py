"""Reading tensors out of an ONNX file and writing a graph, without the `onnx` package.

An ONNX file is a Protocol Buffers message. The few fields needed here have kept their numbers since the first
version of the format; they are named as in onnx.proto (github.com/onnx/onnx, Apache-2.0).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Tensor = NDArray[Any]
Attribute = int | float | tuple[int, ...]

_DTYPES = {1: "<f4", 2: "u1", 3: "i1", 6: "<i4", 7: "<i8"}
_CODES = {np.dtype(name): code for code, name in _DTYPES.items()}
FLOAT = 1
"""The code of float32, for casts."""

_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5


# Reading


def read_tensors(file: bytes) -> dict[str, Tensor]:
    """The initializers of a model by name, as read-only views of the file; those of other types are left out.

    Raises ValueError for a file that is no ONNX model.
    """
    try:
        graph = next(value for number, value in _fields(memoryview(file)) if number == 7 and not isinstance(value, int))
        found = (_read_tensor(value) for number, value in _fields(graph) if number == 5 and not isinstance(value, int))
        return dict(item for item in found if item)
    except (StopIteration, IndexError, UnicodeDecodeError) as error:
        raise ValueError("not an ONNX model") from error


def _read_tensor(message: memoryview) -> tuple[str, Tensor] | None:
    dims: list[int] = []
    name, code, raw = "", 0, None
    for number, value in _fields(message):
        if number == 1:
            dims += [value] if isinstance(value, int) else _varints(value)
        elif number == 2 and isinstance(value, int):
            code = value
        elif number == 8 and not isinstance(value, int):
            name = bytes(value).decode()
        elif number == 9 and not isinstance(value, int):
            raw = value
    if raw is None or code not in _DTYPES:
        return None
    return name, np.frombuffer(raw, _DTYPES[code]).reshape(dims)


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
        elif kind in (_BYTES, _EIGHT_BYTES, _FOUR_BYTES):
            size = 8 if kind == _EIGHT_BYTES else 4
            if kind == _BYTES:
                size, at = _varint(message, at)
            value, at = message[at : at + size], at + size
            if len(value) < size:
                raise ValueError("not an ONNX model")
        else:
            raise ValueError("not an ONNX model")
        yield key >> 3, value


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _varints(packed: memoryview) -> list[int]:
    values, at = list[int](), 0
    while at < len(packed):
        value, at = _varint(packed, at)
        values.append(value)
    return values


# Writing


class Graph:
    """A graph under construction. Operators of onnxruntime's own have the domain `CONTRIB`.

    Large tensors are not copied into the model: `model()` refers to them by name, and the session is given the
    arrays of `tensors` under those names (`SessionOptions.add_external_initializers`).
    """

    CONTRIB = "com.microsoft"

    _INLINE_BYTES = 1024

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._small: dict[str, Tensor] = {}
        self._nodes: list[bytes] = []

    def constant(self, name: str, value: Tensor) -> str:
        """Adds a tensor; returns its name."""
        value = np.ascontiguousarray(value)
        (self._small if value.nbytes < self._INLINE_BYTES else self.tensors)[name] = value
        return name

    def add(self, operator: str, *inputs: str, domain: str = "", output: str = "", **attributes: Attribute) -> str:
        """Adds an operator with one output; returns the output's name, which can be given."""
        name = output or f"{operator}_{len(self._nodes)}"
        node = b"".join(_field(1, value) for value in inputs) + _field(2, name) + _field(3, name) + _field(4, operator)
        node += b"".join(_field(5, _attribute(key, value)) for key, value in attributes.items())
        self._nodes.append(node + _field(7, domain))
        return name

    def model(
        self, inputs: dict[str, tuple[str, Sequence[int | str]]], output: str, shape: Sequence[int | str]
    ) -> bytes:
        """The whole model with one float32 output. An input is given as (dtype, shape); named sizes are free."""
        graph = b"".join(_field(1, node) for node in self._nodes) + _field(2, "reflow")
        graph += b"".join(_field(5, _tensor(name, value, external=False)) for name, value in self._small.items())
        graph += b"".join(_field(5, _tensor(name, value, external=True)) for name, value in self.tensors.items())
        graph += b"".join(_field(11, _value_info(name, *given)) for name, given in inputs.items())
        graph += _field(12, _value_info(output, "float32", shape))
        operators = _field(8, _field(1, "") + _field(2, 17)) + _field(8, _field(1, self.CONTRIB) + _field(2, 1))
        return _field(1, 8) + _field(2, "reflow") + _field(7, graph) + operators


def _field(number: int, value: int | float | str | bytes) -> bytes:
    if isinstance(value, int):
        return _encode_varint(number << 3 | _VARINT) + _encode_varint(value)
    if isinstance(value, float):
        return _encode_varint(number << 3 | _FOUR_BYTES) + struct.pack("<f", value)
    data = value.encode() if isinstance(value, str) else value
    return _encode_varint(number << 3 | _BYTES) + _encode_varint(len(data)) + data


def _encode_varint(value: int) -> bytes:
    value &= (1 << 64) - 1  # negative numbers are written in two's complement
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _attribute(name: str, value: Attribute) -> bytes:
    if isinstance(value, float):
        return _field(1, name) + _field(2, value) + _field(20, 1)
    if isinstance(value, tuple):
        return _field(1, name) + b"".join(_field(8, item) for item in value) + _field(20, 7)
    return _field(1, name) + _field(3, value) + _field(20, 2)


def _tensor(name: str, value: Tensor, *, external: bool) -> bytes:
    head = b"".join(_field(1, size) for size in value.shape) + _field(2, _CODES[value.dtype]) + _field(8, name)
    if not external:
        return head + _field(9, value.tobytes())
    where = {"location": "memory", "offset": "0", "length": str(value.nbytes)}
    return head + b"".join(_field(13, _field(1, key) + _field(2, text)) for key, text in where.items()) + _field(14, 1)


def _value_info(name: str, dtype: str, shape: Sequence[int | str]) -> bytes:
    sizes = b"".join(_field(1, _field(1 if isinstance(size, int) else 2, size)) for size in shape)
    kind = _field(1, _field(1, _CODES[np.dtype(dtype)]) + _field(2, sizes))
    return _field(1, name) + _field(2, kind)
