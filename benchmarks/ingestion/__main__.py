"""`python -m benchmarks.ingestion [--chunks N] [--only local kills storm]`: writes benchmarks/ingestion/results.md.

local: the local embedder, undisturbed. kills: the same with kill -9 on the way; what comes out is compared with the
undisturbed run. storm: through a provider that speaks OpenAI's wire format, with random faults.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.load import Figures
from benchmarks.report import processor
from reflow.rag.embedders.local import LocalEmbedder
from reflow.rag.embedders.openai import OpenAICompatible
from tests.support.model_provider import Storm, model_provider

from .report import Report
from .stored import Contents, Inspected, Silent, corpus_of
from .worker import DIMS

HERE = Path(__file__).parent
PARTS = ("local", "kills", "storm")
KILLS = 5
CONCURRENCY = 4
REFUSED = "BooleanOptionalAction"
"""Texts with this in them are refused by the provider."""


class Bench:
    """Runs the parts in a directory."""

    def __init__(self, chunks: int, seed: int, directory: Path) -> None:
        self.chunks = chunks
        self.seed = seed
        self.directory = directory
        self._found: dict[str, Contents] = {}

    def local(self) -> Figures:
        """The local embedder, undisturbed."""
        figures = self._finish("local")
        whole = self._found["local"] = self._contents("local")
        figures["chunks_per_s"] = figures["chunks"] / figures["wall_s"]
        figures["outside_model_share"] = 1 - figures["model_cpu_s"] / figures["cpu_s"]
        figures["not_ready"] = figures["sources"] - whole.states.get("ready", 0)
        return figures

    def kills(self) -> Figures:
        """The local embedder, killed on the way."""
        draw = random.Random(self.seed)
        again, kills = 0, 0
        stored: set[str] = set()
        embedded: Counter[str] = Counter()
        while True:
            more = None if kills == KILLS else round(draw.uniform(0.5, 1.4) * self.chunks / (KILLS + 1))
            ended = self._killed("kills", more)
            before, embedded = embedded, self._embedded("kills")
            again += sum((embedded - before)[hash] for hash in stored)
            contents = self._contents("kills")
            stored = set(contents.embedded)
            if ended:
                break
            kills += 1
        self._found["kills"] = contents
        if "local" not in self._found:
            self.local()
        whole = self._found["local"]
        return {
            "kills": kills,
            "identical": float(contents.digest == whole.digest and contents.states == whole.states),
            "stored_and_embedded_again": again,
            "under_way_and_embedded_again": embedded.total() - len(embedded) - again,
            "texts_embedded": embedded.total(),
            "chunks": contents.chunks,
        }

    def storm(self) -> Figures:
        """A provider's storm."""
        storm = Storm(seed=self.seed, rate=0.3)
        with model_provider(dims=DIMS, storm=storm, wait_seconds=0.05, seconds=0.05) as provider:
            provider.refused.add(REFUSED)
            arguments = (provider.url, provider.key, str(CONCURRENCY))
            figures = self._finish("storm", arguments)
            contents = self._contents("storm", arguments)
            faults = Counter(call.fault for call in provider.calls if call.fault is not None)
            return figures | {
                "requests": len(provider.calls),
                "faults": faults.total(),
                "fault_kinds": len(faults),
                "most_in_flight": provider.most_in_flight,
                "concurrency": CONCURRENCY,
                "ready": contents.states.get("ready", 0),
                "failed_with_reason": len(contents.reasons),
                "neither": figures["sources"] - contents.states.get("ready", 0) - len(contents.reasons),
                "vectors": len(contents.embedded),
                "delivered_twice": sum(count - 1 for count in provider.delivered.values()),
            }

    # Processes

    def _command(self, part: str, arguments: Sequence[str]) -> list[str]:
        module = [sys.executable, "-m", "benchmarks.ingestion.worker"]
        return [*module, str(self.directory / part), str(self.chunks), str(self._log(part)), *arguments]

    def _finish(self, part: str, arguments: Sequence[str] = ()) -> dict[str, Any]:
        done = subprocess.run(self._command(part, arguments), stdout=subprocess.PIPE, text=True, check=True)
        return json.loads(done.stdout.splitlines()[-1])

    def _killed(self, part: str, more: int | None) -> bool:
        """Runs a worker until it has embedded so many texts more, or to its end: then True."""
        until = None if more is None else self._embedded(part).total() + more
        with subprocess.Popen(self._command(part, ()), stdout=subprocess.DEVNULL) as child:
            while child.poll() is None:
                time.sleep(0.05)
                if until is not None and self._embedded(part).total() >= until:
                    child.kill()
                    break
        assert child.returncode in (0, -signal.SIGKILL)
        return child.returncode == 0

    def _log(self, part: str) -> Path:
        return self.directory / f"{part}.log"

    def _embedded(self, part: str) -> Counter[str]:
        """How often each text was embedded, by its hash."""
        log = self._log(part)
        return Counter(log.read_text().split()) if log.exists() else Counter()

    def _contents(self, part: str, arguments: Sequence[str] = ()) -> Contents:
        if arguments:
            url, key, _ = arguments
            silent = Silent(OpenAICompatible("test-embed", base_url=url, api_key=key, dims=DIMS))
        else:
            local = LocalEmbedder()
            silent = Silent(local)
            local.close()
        return asyncio.run(Inspected(corpus_of(silent)).read(self.directory / part))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ingestion", description=__doc__)
    parser.add_argument("--chunks", type=int, default=10_000)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    report = Report(HERE / "results.json")
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(options.chunks, options.seed, Path(directory))
        for part in options.only:
            figures: Figures = getattr(bench, part)()
            report.note(part, figures, processor())
            print(part, json.dumps(figures, indent=2), flush=True)
    (HERE / "results.md").write_text(report.text(), "utf-8")


if __name__ == "__main__":
    main()
