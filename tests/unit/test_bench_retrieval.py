"""The questions with known answers, and how ranks become figures."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from benchmarks.retrieval.corpora import answerable, load_passages, load_questions
from benchmarks.retrieval.measure import DEPTH, FIGURES, Bootstrap, rank_of
from benchmarks.retrieval.store import WEIGHTS
from reflow.search.hybrid import DENSE_WEIGHT

KINDS = {"howto", "phrase", "identifier", "error", "typo"}


def test_at_least_300_different_questions_of_every_kind():
    questions = load_questions()
    assert len(questions) >= 300
    assert len({(question.corpus, question.text) for question in questions}) == len(questions)
    for corpus in ("python", "cmake"):
        kinds = Counter(question.kind for question in questions if question.corpus == corpus)
        assert set(kinds) <= KINDS
        assert min(kinds[kind] for kind in KINDS - {"phrase"}) >= 10


def test_every_question_about_python_has_an_answer_here():
    things = {passage.thing for passage in load_passages("python")}
    questions = [question for question in load_questions() if question.corpus == "python"]
    missing = {question.text for question in questions} - {question.text for question in answerable(questions, things)}
    assert len(missing) <= len(questions) * 0.02, missing  # another Python documents a few entries elsewhere


def test_a_rank_counts_things_not_their_chunks():
    assert rank_of({"c"}, ["a", "a", "b", "a", "c"]) == 3
    assert rank_of({"c", "b"}, ["a", "b", "c"]) == 2
    assert rank_of({"z"}, ["a", "b"]) is None
    assert rank_of({"z"}, [*map(str, range(DEPTH)), "z"]) is None


def test_figures_of_ranks():
    ranks = [1, 2, None, 10]
    means = {name: gains(ranks).mean() for name, gains in FIGURES.items()}
    assert means == pytest.approx({"R@1": 0.25, "R@10": 0.75, "MRR": (1 + 0.5 + 0.1) / 4})


def test_an_interval_holds_the_mean_and_shrinks_with_the_number_of_questions():
    few, many = (Bootstrap(size).figure(np.array([0.0, 1.0] * (size // 2))) for size in (20, 2000))
    assert few.low < few.mean < few.high
    assert many.high - many.low < (few.high - few.low) / 5


def test_the_default_weight_is_measured():
    assert DENSE_WEIGHT in WEIGHTS
