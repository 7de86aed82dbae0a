"""From figures to the report; a file keeps what each part showed last."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TypedDict

from benchmarks.load import Figures
from benchmarks.report import Aim, Sign, percent, short, whole

AIMS = {
    "local": (
        Aim("processor time outside the model", "outside_model_share", Sign.AT_MOST, 0.1),
        Aim("sources that are not ready", "not_ready", Sign.EXACTLY, 0),
    ),
    "kills": (
        Aim("sources, chunks and vectors are those of the undisturbed run (1: yes)", "identical", Sign.EXACTLY, 1),
        Aim("texts embedded again though their vector was stored", "stored_and_embedded_again", Sign.EXACTLY, 0),
    ),
    "storm": (
        Aim("sources neither ready nor failed with a reason", "neither", Sign.EXACTLY, 0),
        Aim("requests in flight at once, at most", "most_in_flight", Sign.AT_MOST, 4),
        Aim("texts embedded again though their vector had arrived", "delivered_twice", Sign.EXACTLY, 0),
    ),
}
TITLES = {
    "local": "The local embedder",
    "kills": "The local embedder, killed on the way (kill -9)",
    "storm": "A provider that speaks OpenAI's wire format, with random faults",
}


class Part(TypedDict):
    """What one part showed."""

    figures: Figures
    day: str
    processor: str


class Report:
    """The last figures of each part."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._parts: dict[str, Part] = json.loads(path.read_text("utf-8")) if path.exists() else {}

    def note(self, part: str, figures: Figures, processor: str) -> None:
        """Keeps the figures of a part in place of the former ones."""
        self._parts[part] = Part(figures=figures, day=time.strftime("%Y-%m-%d", time.gmtime()), processor=processor)
        self._path.write_text(json.dumps(self._parts, indent=2) + "\n", "utf-8")

    def text(self) -> str:
        """The report in Markdown."""
        lines = ["# Ingestion", "", "Written by `python -m benchmarks.ingestion`; its docstrings say what is measured."]
        for name, part in self._parts.items():
            figures = part["figures"]
            lines += ["", f"## {TITLES[name]}", "", f"{part['day']}, {part['processor']}.", ""]
            lines += ["| aim | bound | shown | |", "|---|---|---|---|"]
            for aim in AIMS[name]:
                value = figures[aim.figure]
                shown, bound = (percent(one) if "share" in aim.figure else whole(one) for one in (value, aim.bound))
                mark = "reached" if aim.reached(value) else "missed"
                lines.append(f"| {aim.text} | {aim.sign.value} {bound} | {shown} | {mark} |")
            lines += ["", "| figure | |", "|---|---|"]
            lines += [f"| {figure} | {short(value)} |" for figure, value in figures.items() if "share" not in figure]
        return "\n".join(lines) + "\n"
