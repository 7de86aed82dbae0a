"""Two documentations that come with packages, read and cut as the playground does, and the questions about them."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from article.corpora import Corpus, Folder, StandardLibrary

QUESTIONS = Path(__file__).with_name("questions.json")

CMAKE = "4.4.4"
"""Version of the wheel whose pages the questions are about."""


@dataclass(frozen=True)
class Passage:
    """A chunk. Chunks of one `thing`, an entry or a page, count as one answer."""

    thing: str
    text: str


@dataclass(frozen=True)
class Question:
    """A question and the things that answer it, any of which is right."""

    corpus: str
    kind: str
    text: str
    answers: frozenset[str]


def load_questions(path: Path = QUESTIONS) -> list[Question]:
    """All questions of the file, in its order."""
    entries = json.loads(path.read_text("utf-8"))["questions"]
    return [Question(item["corpus"], item["kind"], item["question"], frozenset(item["answers"])) for item in entries]


def load_passages(corpus: str) -> list[Passage]:
    """The chunks of "python" or "cmake". Raises SystemExit where the documentation is not installed."""
    source: Corpus = StandardLibrary() if corpus == "python" else Folder(_cmake_pages())
    return [
        Passage(entry.name or entry.file or text.name, entry.text) for text in source.texts() for entry in text.entries
    ]


def _cmake_pages() -> Path:
    try:
        package = distribution("cmake")
    except PackageNotFoundError:
        raise SystemExit(f"the questions about cmake need its documentation: pip install cmake=={CMAKE}") from None
    if package.version != CMAKE:
        raise SystemExit(f"the questions are about cmake {CMAKE}, not {package.version}: pip install cmake=={CMAKE}")
    for file in package.files or ():
        if file.name == "index.rst" and file.parent.name == "Help":
            return Path(str(package.locate_file(file.parent)))
    raise SystemExit("this wheel of cmake carries no documentation")


def answerable(questions: Sequence[Question], things: Collection[str]) -> list[Question]:
    """The questions with an answer among `things`: another Python documents other entries."""
    return [question for question in questions if not question.answers.isdisjoint(things)]
