"""Citations: where an answer says which passage it has something from, found while the text comes in pieces."""

from __future__ import annotations

import re

import reflow as rf

LONGEST_MARK = 32
"""Characters of a mark; what is longer is text."""

_MARK = re.compile(r"[\[【]\^?(\d{1,3}(?:\s*[,;–-]\s*\d{1,3})*)[\]】]")
_BEGUN = re.compile(r"[\[【]\^?[\d\s,;–-]*\Z")
_SPECIAL = re.compile(r"[`\n\[【]")
_LIST = re.compile(r"(\d+)(?:\s*[–-]\s*(\d+))?")
_FENCE = 3


class Span(rf.Object, rename="camel"):
    """A piece of an answer. One with `passages` is a mark, such as "[1, 3]", that cites them.

    `first_line` and `last_line` of the source are there where the mark is about some lines of the passage only.
    """

    text: str
    passages: list[int] | None = rf.missing()
    first_line: int | None = rf.missing()
    last_line: int | None = rf.missing()


class Citations:
    """Finds the marks in a text that comes in pieces, wherever it is cut. Marks are whole, and never within code.

    Only the passages from 1 to `count` can be cited: other numbers are text. `cited` has them in the order in which
    they came.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._held = ""
        self._ticks = 0
        """How many backticks opened the code that the text is in now."""
        self.cited: list[int] = []

    def feed(self, text: str) -> list[Span]:
        """What is certain by now: all but an end that may become a mark."""
        return self._read(self._held + text, ended=False)

    def end(self) -> list[Span]:
        """What was held back."""
        return self._read(self._held, ended=True)

    def _read(self, text: str, *, ended: bool) -> list[Span]:
        spans: list[Span] = []
        plain, place = 0, 0
        while place < len(text):
            step = self._step(text, place, ended)
            if step is None:
                break
            end, passages = step
            if passages:
                if plain < place:
                    spans.append(Span(text=text[plain:place]))
                spans.append(Span(text=text[place:end], passages=passages))
                self.cited += [number for number in passages if number not in self.cited]
                plain = end
            place = end
        if plain < place:
            spans.append(Span(text=text[plain:place]))
        self._held = text[place:]
        return spans

    def _step(self, text: str, place: int, ended: bool) -> tuple[int, list[int]] | None:
        """The end of what begins here and the passages it cites; None if what follows has to be known first."""
        match text[place]:
            case "`":
                return self._run_of_ticks(text, place, ended)
            case "\n" if 0 < self._ticks < _FENCE:
                if place + 1 == len(text) and not ended:
                    return None
                if text[place + 1 : place + 2] == "\n":
                    self._ticks = 0
                return place + 1, []
            case "[" | "【" if self._ticks == 0:
                if mark := _MARK.match(text, place, place + LONGEST_MARK):
                    return mark.end(), self._passages(mark[1])
                begun = _BEGUN.match(text, place) is not None and len(text) - place < LONGEST_MARK
                return None if begun and not ended else (place + 1, [])
            case _:
                special = _SPECIAL.search(text, place + 1)
                return (special.start() if special else len(text)), []

    def _run_of_ticks(self, text: str, place: int, ended: bool) -> tuple[int, list[int]] | None:
        end, longest = place, place + LONGEST_MARK
        while end < min(len(text), longest) and text[end] == "`":
            end += 1
        if end == len(text) < longest and not ended:
            return None
        ticks = end - place
        if self._ticks == 0:
            self._ticks = ticks
        elif self._ticks == ticks:
            self._ticks = 0
        return end, []

    def _passages(self, listed: str) -> list[int]:
        """The passages of a mark; none where any of its numbers is not among them."""
        numbers: list[int] = []
        for first, last in _LIST.findall(listed):
            numbers += range(int(first), int(last or first) + 1)
        known = all(1 <= number <= self._count for number in numbers)
        return list(dict.fromkeys(numbers)) if known else []
