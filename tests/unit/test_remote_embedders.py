"""Embedders behind an address, against a real server that speaks their formats."""

from __future__ import annotations

import asyncio
import base64
import os
import subprocess
import sys
from collections.abc import Callable, Generator
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reflow as rf
from reflow.errors import EmbedderError, InvalidValue, ProviderBusy, ProviderError
from reflow.limits import DEFAULT, Limits
from reflow.rag.embedders import (
    BatchEmbedder,
    Cohere,
    Embedder,
    FunctionEmbedder,
    Ollama,
    OpenAICompatible,
    RemoteEmbedder,
    Voyage,
    batching,
)
from reflow.rag.embedders.batches import cut, estimated_tokens
from reflow.rag.embedders.replies import checked, in_order
from reflow.rag.provider import Garbage
from reflow.rag.reembed import model_of
from reflow.testing import HashingEmbedder
from tests.support import arun
from tests.support.model_faults import GARBAGE
from tests.support.model_provider import Fault, ModelProvider, Storm, model_provider

QUICK = Limits(model_first_pause_seconds=0.001)
Makes = Callable[..., RemoteEmbedder]


@pytest.fixture
def provider() -> Generator[ModelProvider, None, None]:
    with model_provider(wait_seconds=0.003) as found:
        yield found


def openai(provider: ModelProvider, **options: Any) -> OpenAICompatible:
    options = {"limits": QUICK, "rng": Random(1), "api_key": rf.Secret(provider.key), **options}
    return OpenAICompatible(options.pop("model", "test"), base_url=provider.url, **options)


def voyage(provider: ModelProvider, **options: Any) -> Voyage:
    options = {"limits": QUICK, "rng": Random(1), "api_key": rf.Secret(provider.key), **options}
    return Voyage(options.pop("model", "test"), base_url=provider.url, **options)


def cohere(provider: ModelProvider, **options: Any) -> Cohere:
    options = {"limits": QUICK, "rng": Random(1), "api_key": rf.Secret(provider.key), **options}
    return Cohere(options.pop("model", "test"), base_url=provider.root, **options)


def ollama(provider: ModelProvider, **options: Any) -> Ollama:
    options = {"limits": QUICK, "rng": Random(1), "api_key": rf.Secret(provider.key), **options}
    return Ollama(options.pop("model", "test"), base_url=provider.root, **options)


every = pytest.mark.parametrize("make", [openai, voyage, cohere, ollama])


# --- What each sends and gets --------------------------------------------------------------------------------------


@every
def test_vectors_come_in_the_order_of_the_texts(provider: ModelProvider, make: Makes) -> None:
    embedder = make(provider, max_batch=7)
    texts = [f"text {number} of many" for number in range(40)]
    vectors = arun(embedder.embed(texts, "document"))
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, [provider.vector(text) for text in texts], atol=1e-6)
    assert len(provider.calls) == 6
    assert embedder.dims == provider.dims


@every
def test_a_batch_says_what_it_took(provider: ModelProvider, make: Makes) -> None:
    provider.next("500")
    found = arun(make(provider).embed_batch(["one two", "three"], "document"))
    assert (found.vectors.shape, found.tokens, found.retries) == ((2, 32), 3, 1)
    assert found.milliseconds > 0
    provider.next("no-usage")
    uncounted = arun(make(provider).embed_batch(["one two", "three"], "document"))
    assert uncounted.tokens == estimated_tokens("one two") + estimated_tokens("three")


@every
def test_a_typed_embedder(provider: ModelProvider, make: Makes) -> None:
    embedder: BatchEmbedder = make(provider, dims=32)
    plain: Embedder = embedder
    assert batching(plain) is embedder
    assert model_of(embedder).dims == 32


def test_openais_request(provider: ModelProvider) -> None:
    arun(openai(provider, dimensions=8, extra={"user": "ann"}, headers={"x-team": "a"}).embed(["one"], "query"))
    (call,) = provider.calls
    assert call.path == "/v1/embeddings"
    wanted = {"model": "test", "input": ["one"], "encoding_format": "float", "dimensions": 8, "user": "ann"}
    assert call.body == wanted
    assert call.headers["x-team"] == "a"


def test_voyages_request(provider: ModelProvider) -> None:
    arun(voyage(provider, dimensions=8).embed(["one"], "query"))
    arun(voyage(provider).embed(["one"], "document"))
    asked, stored = provider.calls
    wanted = {"model": "test", "input": ["one"], "input_type": "query", "truncation": False, "output_dimension": 8}
    assert asked.body == wanted
    assert stored.body["input_type"] == "document"


def test_coheres_request(provider: ModelProvider) -> None:
    arun(cohere(provider, dimensions=8).embed(["one"], "query"))
    arun(cohere(provider).embed(["one"], "document"))
    asked, stored = provider.calls
    assert asked.path == "/v2/embed"
    assert asked.body == {
        "model": "test", "texts": ["one"], "input_type": "search_query", "embedding_types": ["float"],
        "truncate": "NONE", "output_dimension": 8,
    }  # fmt: skip
    assert stored.body["input_type"] == "search_document"


def test_ollamas_request(provider: ModelProvider) -> None:
    embedder = ollama(provider, api_key=None)
    with pytest.raises(ProviderError, match="key"):  # this server wants one
        arun(embedder.embed(["one"], "query"))
    (call,) = provider.calls
    assert call.path == "/api/embed"
    assert call.body == {"model": "test", "input": ["one"], "truncate": False}
    assert "authorization" not in call.headers
    assert Ollama().endpoint.url == "http://localhost:11434/api/embed"
    assert Ollama(base_url="http://box:11434/v1/").endpoint.url == "http://box:11434/api/embed"


@every
def test_questions_and_texts_have_prompts_of_their_own(provider: ModelProvider, make: Makes) -> None:
    embedder = make(provider, query_prefix="ask: ", document_prefix="doc: ")
    asked = arun(embedder.embed(["one"], "query"))
    stored = arun(embedder.embed(["one"], "document"))
    assert [call.texts for call in provider.calls] == [["ask: one"], ["doc: one"]]
    assert not np.allclose(asked, stored)


def test_the_prompts_of_known_models_are_their_makers() -> None:
    nomic = Ollama("nomic-embed-text:latest")
    assert (nomic.query_prefix, nomic.document_prefix, nomic.dims) == ("search_query: ", "search_document: ", 768)
    assert OpenAICompatible.tei("intfloat/multilingual-e5-small").document_prefix == "passage: "
    assert Ollama("nomic-embed-text", query_prefix="").query_prefix == ""
    assert Ollama("nomic-embed-text", query_prefix="").revision != nomic.revision


def test_packed_vectors_are_read(provider: ModelProvider) -> None:
    embedder = openai(provider, extra={"encoding_format": "base64"})
    vectors = arun(embedder.embed(["one", "two"], "document"))
    np.testing.assert_allclose(vectors, [provider.vector("one"), provider.vector("two")], atol=1e-6)


def test_only_openai_is_asked_for_packed_vectors_and_sent_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    assert OpenAICompatible().request(["a"], "document")["encoding_format"] == "base64"
    assert OpenAICompatible(base_url="https://api.openai.com/v1/").needs == ("OPENAI_API_KEY",)
    other = OpenAICompatible(base_url="https://api.example.com/v1")
    assert other.request(["a"], "document")["encoding_format"] == "float"
    assert other.needs == ()
    assert OpenAICompatible(base_url="https://api.example.com/v1", variable="MINE").needs == ("MINE",)
    assert OpenAICompatible.vllm("m", variable="MINE").needs == ("MINE",)
    assert OpenAICompatible.vllm("m", variable="MINE", api_key="given").needs == ()
    assert Cohere(variable="CO_API_KEY").needs == ("CO_API_KEY",)
    with model_provider() as provider:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai-alone")
        with pytest.raises(ProviderError):
            arun(openai(provider, api_key=None).embed(["one"]))
        assert "authorization" not in provider.calls[0].headers


def test_presets_name_their_servers() -> None:
    assert OpenAICompatible().id == "openai/text-embedding-3-small"
    assert OpenAICompatible("m", base_url="https://api.mistral.ai/v1").id == "api.mistral.ai/m"
    assert OpenAICompatible("m", base_url="https://api.mistral.ai/v1", provider="mistral").id == "mistral/m"
    assert OpenAICompatible.vllm("BAAI/bge-m3").id == "vllm/BAAI/bge-m3"
    assert OpenAICompatible.lm_studio("m").endpoint.url == "http://localhost:1234/v1/embeddings"
    assert OpenAICompatible.tei("m").max_batch == 32
    assert OpenAICompatible.tei("m", max_batch=8).max_batch == 8
    assert (Voyage().id, Cohere().id, Ollama().id) == (
        "voyage/voyage-3.5", "cohere/embed-v4.0", "ollama/nomic-embed-text",
    )  # fmt: skip


# --- Dimensions, revisions -----------------------------------------------------------------------------------------


@every
def test_the_length_of_vectors_is_asked_for_once(provider: ModelProvider, make: Makes) -> None:
    embedder = make(provider)
    with pytest.raises(EmbedderError, match="dims="):
        _ = embedder.dims
    assert arun(embedder.embed([], "document")).shape == (0, 32)
    assert embedder.dims == 32
    arun(embedder.load())
    assert len(provider.calls) == 1
    told = make(provider, dims=32)
    assert arun(told.embed([], "document")).shape == (0, 32)
    assert len(provider.calls) == 1


@every
def test_shortened_vectors(provider: ModelProvider, make: Makes) -> None:
    embedder = make(provider, dimensions=8)
    assert embedder.dims == 8
    assert arun(embedder.embed(["one"], "document")).shape == (1, 8)


def test_a_revision_tells_apart_what_differs() -> None:
    base = OpenAICompatible("m", base_url="https://h.example/v1")
    same = OpenAICompatible("m", base_url="https://g.example/v1", provider="h.example", concurrency=9, max_batch=3)
    assert (same.id, same.revision) == (base.id, base.revision)
    options: list[Any] = [
        {"dimensions": 8}, {"query_prefix": "q"}, {"document_prefix": "q"}, {"normalized": False},
        {"extra": {"task": 1}}, {"revision": "2"},
    ]  # fmt: skip
    others = {OpenAICompatible("m", base_url="https://h.example/v1", **each).revision for each in options}
    assert len(others | {base.revision}) == len(options) + 1


def test_lengths(provider: ModelProvider) -> None:
    provider.next("not-normalized", "not-normalized")
    texts = ["one", "two", "three"]
    unit = arun(openai(provider).embed(texts, "document"))
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-6)
    raw = arun(openai(provider, normalized=False).embed(texts, "document"))
    np.testing.assert_allclose(np.linalg.norm(raw, axis=1), [2, 3, 4], atol=1e-5)


@pytest.mark.parametrize("url", ["", "https://[::1", "host/v1", "https://user:pass@host/v1"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(InvalidValue, match="address of a provider"):
        OpenAICompatible("m", base_url=url)


@pytest.mark.parametrize(
    ("options", "told"), [({"max_batch": 0}, "max_batch"), ({"dims": -1}, "dimension"), ({"concurrency": 0}, "conc")]
)
def test_settings_that_can_not_be(options: Any, told: str) -> None:
    with pytest.raises(InvalidValue, match=told):
        OpenAICompatible("m", base_url="https://h.example/v1", **options)


# --- What goes wrong -----------------------------------------------------------------------------------------------


OF_INDEXES: tuple[Fault, ...] = ("duplicate-index", "no-index", "far-index")
"""Only OpenAI's format has them."""
GARBLED = [(make, f) for make in (openai, voyage, cohere, ollama) for f in GARBAGE if f not in OF_INDEXES]
GARBLED += [(make, f) for make in (openai, voyage) for f in OF_INDEXES]


@pytest.mark.parametrize(("make", "fault"), GARBLED)
def test_garbage_is_noticed_and_asked_for_again(provider: ModelProvider, make: Makes, fault: Fault) -> None:
    embedder = make(provider, dims=32)
    provider.next(fault)
    found = arun(embedder.embed_batch(["one", "two"], "document"))
    assert found.retries == 1
    np.testing.assert_allclose(found.vectors, [provider.vector("one"), provider.vector("two")], atol=1e-6)

    provider.next(fault, fault, fault, fault, fault)
    with pytest.raises(ProviderError, match="tried 5 times") as caught:
        arun(embedder.embed_batch(["one", "two"], "document"))
    assert (caught.value.reason, caught.value.retryable) == ("garbage", True)


@every
def test_vectors_in_another_order_are_put_right(provider: ModelProvider, make: Makes) -> None:
    provider.next("shuffled")
    vectors = arun(make(provider).embed(["one", "two", "three"], "document"))
    np.testing.assert_allclose(vectors, [provider.vector(text) for text in ("one", "two", "three")], atol=1e-6)
    assert len(provider.calls) == 1


def test_what_is_wrong_with_a_reply_is_said(provider: ModelProvider) -> None:
    embedder = openai(provider, dims=31, limits=Limits(model_attempts=1))
    with pytest.raises(ProviderError, match="32 dimensions where 31 were expected"):
        arun(embedder.embed(["one"]))
    provider.next("short")
    with pytest.raises(ProviderError, match="1 vectors for 2 texts"):
        arun(openai(provider, limits=Limits(model_attempts=1)).embed(["one", "two"]))


@every
def test_a_refused_text_is_the_inputs_fault(provider: ModelProvider, make: Makes) -> None:
    provider.refused.add("poison")
    with pytest.raises(ProviderError) as caught:
        arun(make(provider).embed_batch(["fine", "the poison", "fine too"], "document"))
    assert (caught.value.input_refused, caught.value.retryable) == (True, False)
    provider.max_tokens_per_text = 3
    with pytest.raises(ProviderError, match="context length") as long:
        arun(make(provider).embed_batch(["one two three four"], "document"))
    assert long.value.input_refused


@every
@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_text_is_refused_here(provider: ModelProvider, make: Makes, text: str) -> None:
    with pytest.raises(ProviderError, match="text 2 of 3 is empty") as caught:
        arun(make(provider).embed_batch(["one", text, "three"], "document"))
    assert caught.value.input_refused
    assert not provider.calls


@every
def test_a_single_text_is_no_list(provider: ModelProvider, make: Makes) -> None:
    with pytest.raises(InvalidValue, match="list"):
        arun(make(provider).embed("one", "document"))


@every
def test_a_model_that_is_not_there(provider: ModelProvider, make: Makes) -> None:
    with pytest.raises(ProviderError, match="no such model") as caught:
        arun(make(provider, model="missing").embed(["one"], "document"))
    assert (caught.value.reason, caught.value.retryable) == ("missing", False)


@every
def test_a_storm_is_survived_and_no_bound_broken(provider: ModelProvider, make: Makes) -> None:
    provider.storm = Storm(seed=11, rate=0.3, faults=[f for f in Storm(seed=0).faults if f not in SLOW])
    provider.seconds = 0.002
    patient = Limits(model_first_pause_seconds=0.001, model_attempts=30)
    embedder = make(provider, max_batch=5, concurrency=3, limits=patient)
    texts = [f"text {number}" for number in range(150)]
    vectors = arun(embedder.embed(texts, "document"))
    np.testing.assert_allclose(vectors, [provider.vector(text) for text in texts], atol=1e-6)
    assert provider.most_in_flight <= 3
    assert embedder.stats.most_in_flight == 3
    assert len(provider.calls) > 30


SLOW: tuple[Fault, ...] = ("429-seconds", "429-date", "503-seconds")


def test_one_failed_batch_ends_the_call(provider: ModelProvider) -> None:
    provider.refused.add("number 57")
    provider.seconds = 0.005

    async def main() -> None:
        embedder = openai(provider, max_batch=2)
        with pytest.raises(ProviderError) as caught:
            await embedder.embed([f"number {number}" for number in range(500)], "document")
        assert caught.value.input_refused
        assert len(provider.calls) < 60
        assert embedder.stats.in_flight == embedder.stats.waiting == 0

    arun(main())


def test_a_busy_provider_is_told_of_to_the_scheduler(provider: ModelProvider) -> None:
    provider.next("429-long")
    with pytest.raises(rf.RetryAfter) as caught:
        arun(openai(provider).embed(["one"], "document"))
    assert isinstance(caught.value, ProviderBusy)


@every
def test_nothing_shows_the_key(provider: ModelProvider, make: Makes) -> None:
    embedder = make(provider, api_key="sk-somebody-elses-0001")
    with pytest.raises(ProviderError) as caught:
        arun(embedder.embed(["one"], "document"))
    for text in (repr(embedder), repr(vars(embedder)), repr(vars(embedder.endpoint)), str(caught.value), repr(caught)):
        assert "sk-somebody" not in text


@pytest.mark.parametrize(("kind", "variable"), [(Voyage, "VOYAGE_API_KEY"), (Cohere, "COHERE_API_KEY")])
def test_a_key_comes_from_the_apps_variables(
    provider: ModelProvider, kind: type[Voyage] | type[Cohere], variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(variable, raising=False)
    base = provider.url if kind is Voyage else provider.root
    embedder = kind("test", base_url=base, dims=32)
    assert embedder.needs == (variable,)
    with pytest.raises(ProviderError, match=variable):
        arun(embedder.embed(["one"]))
    ready = embedder.configured({variable: provider.key})
    assert ready.needs == ()
    assert (ready.id, ready.revision) == (embedder.id, embedder.revision)
    assert arun(ready.embed(["one"])).shape == (1, 32)


# --- Batches -------------------------------------------------------------------------------------------------------


@given(st.lists(st.text(max_size=40), max_size=60), st.integers(1, 9), st.one_of(st.none(), st.integers(1, 40)))
def test_texts_are_cut_into_batches(texts: list[str], most: int, tokens: int | None) -> None:
    embedder = OpenAICompatible("m", base_url="https://h.example/v1", max_batch=most)
    embedder.max_batch_tokens = tokens
    parts = list(cut(embedder, texts))
    assert [number for part in parts for number in part] == list(range(len(texts)))
    sizes = [[estimated_tokens(texts[number]) for number in part] for part in parts]
    assert all(0 < len(part) <= most for part in parts)
    assert tokens is None or all(sum(size) <= tokens or len(size) == 1 for size in sizes)
    # No batch could have taken the first text of the next one, too.
    for part, following in pairwise(sizes):
        assert len(part) == most or (tokens is not None and sum(part) + following[0] > tokens)


def test_any_embedder_gets_batches() -> None:
    plain = HashingEmbedder(16)
    counting = batching(plain)
    assert batching(counting) is counting
    assert (counting.id, counting.revision, counting.dims) == (plain.id, plain.revision, plain.dims)
    assert (counting.needs, counting.max_batch_tokens) == ((), None)
    assert counting.configured({"A": "b"}) is counting
    found = arun(counting.embed_batch(["one two", "three"], "document"))
    np.testing.assert_array_equal(found.vectors, arun(plain.embed(["one two", "three"], "document")))
    assert (found.tokens, found.retries) == (3, 0)


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [("", 0, 0), ("word", 1, 2), ("The quick brown fox jumps over the lazy dog", 9, 16), ("東京都の天気", 6, 6)],
)
def test_tokens_are_estimated(text: str, least: int, most: int) -> None:
    assert least <= estimated_tokens(text) <= most
    assert estimated_tokens("\ud800") == 1


# --- Replies -------------------------------------------------------------------------------------------------------


@given(st.permutations(range(6)))
def test_indexes_put_vectors_in_order(order: list[int]) -> None:
    assert in_order([f"v{index}" for index in order], order) == [f"v{index}" for index in range(6)]


@pytest.mark.parametrize("indexes", [[0, 0], [0, 2], [1, 2], [-1, 0], [0, None], [None, 0]])
def test_indexes_that_can_not_be(indexes: list[int | None]) -> None:
    with pytest.raises(Garbage, match="index"):
        in_order(["a", "b"], indexes)


def test_without_indexes_the_order_counts() -> None:
    assert in_order(["a", "b"], [None, None]) == ["a", "b"]


NUMBERS = st.one_of(st.floats(), st.floats(-3, 3), st.integers(-(10**40), 10**40))
ROWS = st.one_of(st.lists(NUMBERS, max_size=4), st.binary(max_size=16).map(lambda b: base64.b64encode(b).decode()))


@given(st.lists(st.one_of(ROWS, st.none(), st.text(max_size=5)), max_size=4), st.integers(0, 4), st.booleans())
def test_vectors_are_right_or_garbage(rows: list[Any], texts: int, normalized: bool) -> None:
    try:
        found = checked(rows, texts, 3, normalized)
    except Garbage:
        return
    assert found.shape == (texts, 3)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    if normalized and texts:
        np.testing.assert_allclose(np.linalg.norm(found.astype(np.float64), axis=1), 1, atol=1e-5)


def test_large_and_small_vectors_keep_their_direction() -> None:
    for scale in (1e-5, 1.0, 1e30):
        np.testing.assert_allclose(checked([[3 * scale, 4 * scale]], 1, 2, True), [[0.6, 0.8]], atol=1e-6)


# --- Functions -----------------------------------------------------------------------------------------------------


def halves(texts: list[str]) -> list[list[float]]:
    return [[len(text), 1.0] for text in texts]


async def halves_awaited(texts: list[str]) -> Any:
    await asyncio.sleep(0)
    return np.array(halves(texts))


@pytest.mark.parametrize("function", [halves, halves_awaited, lambda texts: halves_awaited(texts)])
def test_a_function_embeds(function: Any) -> None:
    embedder = FunctionEmbedder(function, id="mine/halves", dims=2, max_batch=3)
    typed: BatchEmbedder = embedder
    assert batching(typed) is embedder
    texts = [" " * number for number in range(10)]
    vectors = arun(embedder.embed(texts))
    np.testing.assert_allclose(vectors[:, 0] / vectors[:, 1], range(10), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    raw = FunctionEmbedder(function, id="mine/halves", dims=2, normalized=False)
    np.testing.assert_allclose(arun(raw.embed(["four"])), [[4, 1]])
    assert arun(embedder.embed([])).shape == (0, 2)


def test_a_function_for_questions() -> None:
    embedder = FunctionEmbedder(halves, query=lambda texts: [[0, 1]] * len(texts), id="mine", dims=2)
    np.testing.assert_allclose(arun(embedder.embed(["four"], "query")), [[0, 1]])
    assert arun(embedder.embed(["four"], "document"))[0][0] > 0.9


@pytest.mark.parametrize("found", [[], [[1.0, 2.0]] * 3, [[1.0]], [[0, 0]], [[float("nan"), 1]], [["a", "b"]]])
def test_a_function_that_gives_garbage(found: Any) -> None:
    embedder = FunctionEmbedder(lambda texts: found, id="mine/bad", dims=2)
    with pytest.raises(ProviderError, match="the function of mine/bad gave") as caught:
        arun(embedder.embed(["one"]))
    assert (caught.value.reason, caught.value.retryable) == ("garbage", True)


@pytest.mark.parametrize("found", [None, 3.5])
def test_a_function_that_gives_something_else(found: Any) -> None:
    with pytest.raises(EmbedderError, match="one vector per text"):
        arun(FunctionEmbedder(lambda texts: found, id="mine/bad", dims=2).embed(["one"]))


def test_a_functions_own_errors_are_its_own() -> None:
    def fails(texts: list[str]) -> Any:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        arun(FunctionEmbedder(fails, id="mine/bad", dims=2).embed(["one"]))


def test_calls_of_a_function_are_bounded_in_any_loop() -> None:
    at_once = [0, 0]

    async def counts(texts: list[str]) -> Any:
        at_once[0] += 1
        at_once[1] = max(at_once)
        await asyncio.sleep(0.001)
        at_once[0] -= 1
        return halves(texts)

    embedder = FunctionEmbedder(counts, id="mine", dims=2, concurrency=2, max_batch=1)

    async def main() -> None:
        await asyncio.gather(*(embedder.embed(["a", "b", "c"]) for _ in range(5)))

    arun(main())
    arun(main())
    assert at_once == [0, 2]


# --- The package ---------------------------------------------------------------------------------------------------


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_package_is_light() -> None:
    code = """
import sys
import reflow.rag.embedders as embedders
from reflow.rag.embedders import OpenAICompatible, FunctionEmbedder
OpenAICompatible("m", base_url="https://h.example/v1")
print([name for name in ("httpx", "onnxruntime", "openai") if name in sys.modules])
for name in embedders.__all__:
    assert getattr(embedders, name), name
try:
    embedders.nonsense
except AttributeError as error:
    print(error)
"""
    assert run_python(code) == "[]\nmodule 'reflow.rag.embedders' has no attribute 'nonsense'\n"


def test_without_the_extra_it_is_named() -> None:
    code = """
import asyncio, sys
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "httpx" else found(name, package)
from reflow.errors import MissingExtra
from reflow.rag.embedders import OpenAICompatible
try:
    asyncio.run(OpenAICompatible("m", base_url="https://h.example/v1").embed(["one"]))
except MissingExtra as error:
    print(error)
"""
    assert "reflow[remote]" in run_python(code)


def test_the_bounds_are_the_defaults() -> None:
    embedder = OpenAICompatible()
    assert (embedder.max_batch, embedder.max_batch_tokens) == (DEFAULT.model_batch_texts, DEFAULT.model_batch_tokens)
    assert embedder.concurrency == DEFAULT.model_requests
