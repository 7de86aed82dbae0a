from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnxruntime
import pytest

from reflow.errors import EmbedderError, InvalidValue, Overloaded
from reflow.limits import Limits
from reflow.rag.embedders import minilm, wordpiece
from reflow.rag.embedders.base import Embedder, Vectors
from reflow.rag.embedders.local import LocalEmbedder
from reflow.testing.embedder import HashingEmbedder

T = TypeVar("T")

QUESTION = "how do I copy a directory tree"
ANSWER = "Recursively copy an entire directory tree and return the destination."
OTHER = "Compute the harmonic mean of a series of floating point numbers."
LONG = " ".join(f"Sentence number {number} speaks of the copper mines of Falun." for number in range(80))


def run(main: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(main)


@pytest.fixture(scope="module")
def embedder() -> Iterator[LocalEmbedder]:
    made = LocalEmbedder()
    yield made
    made.close()


def model_file() -> Path:
    spec = minilm.find_spec(minilm.PACKAGE)
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / minilm.FILE


def of_the_package(texts: list[str]) -> Vectors:
    """What the package's own graph gives, with pooling as the model's card describes it."""
    session = onnxruntime.InferenceSession(model_file(), providers=["CPUExecutionProvider"])
    vectors = []
    for text in texts:
        ids = np.array([[wordpiece.START, *wordpiece.encode(text), wordpiece.END]])
        inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        mean = np.asarray(session.run(None, inputs)[0])[0].mean(axis=0)
        vectors.append(mean / np.linalg.norm(mean))
    return np.array(vectors)


def test_vectors_are_unit_vectors_that_know_meaning(embedder: LocalEmbedder) -> None:
    vectors = run(embedder.embed([QUESTION, ANSWER, OTHER], "query"))
    assert vectors.shape == (3, 384)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.3


def test_float32_gives_the_vectors_of_the_package() -> None:
    texts = [QUESTION, ANSWER, OTHER, "", "x", " ".join([ANSWER] * 15)]
    embedder = LocalEmbedder(numerics="float32")
    assert np.abs(run(embedder.embed(texts)) - of_the_package(texts)).max() < 1e-4
    embedder.close()


def test_int8_is_near_float32_and_is_told_apart() -> None:
    small, large = LocalEmbedder(numerics="int8"), LocalEmbedder(numerics="float32")
    texts = [QUESTION, ANSWER, OTHER]
    cosines = (run(small.embed(texts)) * run(large.embed(texts))).sum(axis=1)
    assert (cosines > minilm.GOLDEN_COSINE).all()
    assert small.id == large.id
    assert small.revision != large.revision
    small.close()
    large.close()


def test_a_processor_where_int8_is_inexact_gets_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minilm, "GOLDEN_COSINE", 0.9999)
    assert minilm.load().numerics == "float32"
    with pytest.raises(EmbedderError, match="int8 arithmetic is inexact"):
        minilm.load(numerics="int8")


def test_the_same_text_has_the_same_vector_in_any_company(embedder: LocalEmbedder) -> None:
    alone = run(embedder.embed([ANSWER]))
    among = run(embedder.embed([LONG, OTHER, ANSWER, QUESTION, ""] * 3))
    assert (among[2::5] == alone[0]).all()


def test_no_texts_have_no_vectors(embedder: LocalEmbedder) -> None:
    assert run(embedder.embed([])).shape == (0, 384)


def test_a_string_instead_of_a_list_is_refused(embedder: LocalEmbedder) -> None:
    with pytest.raises(InvalidValue, match="a single string"):
        run(embedder.embed("text"))


def test_a_long_text_is_read_to_its_end_and_counted(embedder: LocalEmbedder) -> None:
    assert embedder.count_tokens(LONG) > 3 * embedder.max_tokens  # type: ignore[operator]
    before = embedder.stats
    first, last = run(embedder.embed([LONG, LONG.replace("79 speaks of the copper", "79 speaks of the silver")]))
    assert np.isclose(np.linalg.norm(first), 1, atol=1e-5)
    assert 0.9 < first @ last < 0.99999
    after = embedder.stats
    assert (after.texts - before.texts, after.windowed_texts - before.windowed_texts) == (2, 2)
    assert after.runs - before.runs > 2 * 3


def test_the_default_chunk_fits_the_model(embedder: LocalEmbedder) -> None:
    from reflow.rag.chunking import split

    assert all(embedder.count_tokens(chunk.text) <= minilm.MAX_PIECES for chunk in split(LONG))


def test_count_tokens_is_what_the_model_reads(embedder: LocalEmbedder) -> None:
    assert [embedder.count_tokens(text) for text in ("", "hello world", "hello " * 254)] == [2, 4, 256]
    before = embedder.stats
    run(embedder.embed(["hello " * 254]))
    assert embedder.stats.windowed_texts == before.windowed_texts


def test_questions_overtake_documents() -> None:
    async def main() -> bool:
        embedder = LocalEmbedder(threads=1)
        await embedder.load()
        documents = asyncio.create_task(embedder.embed([LONG] * 6, "document"))
        while embedder.stats.runs == 0:
            await asyncio.sleep(0.001)
        await embedder.embed([QUESTION], "query")
        overtaken = not documents.done()
        await documents
        embedder.close()
        return overtaken

    assert run(main())


def test_too_many_waiting_calls_are_refused() -> None:
    async def main() -> None:
        embedder = LocalEmbedder(limits=Limits(embed_calls=1))
        first = asyncio.create_task(embedder.embed([LONG]))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match=r"limits\.embed_calls"):
            await embedder.embed([QUESTION])
        await first
        assert len(await embedder.embed([QUESTION])) == 1
        embedder.close()

    run(main())


def test_a_cancelled_call_leaves_the_embedder_usable(embedder: LocalEmbedder) -> None:
    async def main() -> None:
        task = asyncio.create_task(embedder.embed([LONG] * 20))
        await asyncio.sleep(0.05)
        runs = embedder.stats.runs
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(await embedder.embed([QUESTION])) == 1
        assert embedder.stats.runs - runs < 20

    run(main())


def test_a_closed_embedder_says_so() -> None:
    embedder = LocalEmbedder()
    embedder.close()
    with pytest.raises(EmbedderError, match="closed"):
        run(embedder.embed([QUESTION]))


def test_session_time_is_a_part_of_the_process_time() -> None:
    embedder = LocalEmbedder()  # one of its own: nobody's unfinished work runs in it
    try:
        run(embedder.embed([QUESTION]))
        before, start = embedder.stats.session_cpu_seconds, time.process_time()
        run(embedder.embed([LONG]))
        assert 0 < embedder.stats.session_cpu_seconds - before <= time.process_time() - start
    finally:
        embedder.close()


def test_a_changed_model_file_is_refused(tmp_path: Path) -> None:
    changed = tmp_path / "model.onnx"
    shutil.copyfile(model_file(), changed)
    with changed.open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"\0\1\2\3")
    with pytest.raises(EmbedderError, match=r"model\.onnx is not the model .* sha256"):
        run(LocalEmbedder(model_path=changed).embed([QUESTION]))


def test_a_missing_model_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(EmbedderError, match=r"can't read its model .*absent\.onnx"):
        run(LocalEmbedder(model_path=tmp_path / "absent.onnx").embed([QUESTION]))


@pytest.mark.parametrize("package", ["onnxruntime", minilm.PACKAGE])
def test_a_missing_package_names_its_extra(package: str) -> None:
    program = f"""
import asyncio, sys
sys.modules[{package!r}] = None
from reflow.errors import MissingExtra
from reflow.rag.embedders.local import LocalEmbedder
try:
    asyncio.run(LocalEmbedder().embed(["text"]))
except MissingExtra as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "reflow[local]" in done.stdout


def test_nothing_touches_the_network() -> None:
    program = """
import asyncio, sys
def audit(event, args):
    if event.startswith(("socket.connect", "socket.getaddrinfo", "socket.sendto", "subprocess", "urllib")):
        print(event, args)
sys.addaudithook(audit)
from reflow.rag.embedders.local import LocalEmbedder
print(asyncio.run(LocalEmbedder().embed(["text"])).shape)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "(1, 384)\n"


# The test double


def test_the_test_double_is_an_embedder_and_is_deterministic() -> None:
    one: Embedder = HashingEmbedder()
    two: Embedder = HashingEmbedder()
    texts = [QUESTION, ANSWER, OTHER, "", "a"]
    vectors = run(one.embed(texts, "document"))
    assert (vectors == run(two.embed(texts, "query"))).all()
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]


def test_the_test_double_fails_as_told() -> None:
    async def main() -> None:
        embedder = HashingEmbedder(8, failures=[ConnectionError("refused")])
        with pytest.raises(ConnectionError):
            await embedder.embed(["a"])
        assert (await embedder.embed(["a"], "query")).shape == (1, 8)
        assert embedder.calls == [(("a",), "document"), (("a",), "query")]

    run(main())


def test_the_local_embedder_is_an_embedder(embedder: LocalEmbedder) -> None:
    made: Embedder = embedder
    assert (made.id, made.dims, made.normalized) == ("local/minilm-l6-v2", 384, True)
