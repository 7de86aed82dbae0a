from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from reflow.rag.embedders.onnx_file import Graph, read_tensors


def test_a_written_graph_runs_and_its_tensors_are_read_back() -> None:
    graph = Graph()
    weight = np.arange(12, dtype=np.float32).reshape(3, 4)
    product = graph.add("MatMul", "x", graph.constant("weight", weight))
    graph.add("ReduceMean", product, output="y", axes=(1,), keepdims=0)
    model = graph.model({"x": ("float32", ["rows", 3])}, "y", ["rows"])
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    x = np.array([[1, 2, 3], [-1, 0, 0.5]], np.float32)
    assert np.allclose(np.asarray(session.run(None, {"x": x})[0]), (x @ weight).mean(axis=1))
    assert {name: value.tolist() for name, value in read_tensors(model).items()} == {"weight": weight.tolist()}


def test_large_tensors_stay_outside_of_the_model() -> None:
    graph = Graph()
    graph.add("Add", "x", graph.constant("large", np.ones(1000, np.float32)), output="y")
    model = graph.model({"x": ("float32", [1000])}, "y", [1000])
    assert len(model) < 500
    assert list(graph.tensors) == ["large"]


@pytest.mark.parametrize(
    "file", [b"", b"\0", b"plain text", b"\x3a\xff\xff\xff", b"\xff" * 20, b"\x3a\x04\x2a\x7f\x08\x01"]
)
def test_other_files_are_refused(file: bytes) -> None:
    with pytest.raises(ValueError, match="not an ONNX model"):
        print(read_tensors(file))
