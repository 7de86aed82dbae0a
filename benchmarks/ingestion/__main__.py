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
    """Runs the parts in a directory; `pending` is for how long a run without kills took."""

    def __init__(self, chunks: int, seed: int, directory: Path) -> None:
        self.chunks = chunks
        self.seed = seed
        self.directory = directory
        self.whole: Contents | None = None
        self.seconds: float | None = None

    def local(self) -> Figures:
        """The local embedder, undisturbed."""
        figures = self._finish("local")
        self.whole, self.seconds = self._contents("local"), figures["wall_s"]
        figures["chunks_per_s"] = figures["chunks"] / figures["wall_s"]
        figures["outside_model_share"] = 1 - figures["model_cpu_s"] / figures["cpu_s"]
        figures["not_ready"] = figures["sources"] - self.whole.states.get("ready", 0)
        return figures

    def kills(self) -> Figures:
        """The local embedder, killed on the way."""
        if self.whole is None or self.seconds is None:
            self.local()
        assert self.whole is not None
        assert self.seconds is not None
        draw = random.Random(self.seed)
        again_stored, kills = 0, 0
        for _ in range(KILLS):
            before = self._embedded("kills")
            stored = set(self._contents("kills").embedded) if kills else set[str]()
            if not self._killed("kills", draw.uniform(0.5, 1.5) * self.seconds / (KILLS + 1)):
                break
            kills += 1
            again_stored += sum((self._embedded("kills") - before)[hash] for hash in stored)
        before, stored = self._embedded("kills"), set(self._contents("kills").embedded)
        last = self._finish("kills")
        embedded = self._embedded("kills")
        again_stored += sum((embedded - before)[hash] for hash in stored)
        contents = self._contents("kills")
        return {
            "kills": kills,
            "identical": float(contents.digest == self.whole.digest and contents.states == self.whole.states),
            "stored_and_embedded_again": again_stored,
            "under_way_and_embedded_again": embedded.total() - len(embedded) - again_stored,
            "texts_embedded": embedded.total(),
            "chunks": contents.chunks,
            "last_round_s": last["wall_s"],
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

    def _killed(self, part: str, seconds: float) -> bool:
        """Runs a worker for so long; False if it was done before."""
        with subprocess.Popen(self._command(part, ()), stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(seconds)
            child.kill()
            child.stdout.read()
        return child.returncode == -signal.SIGKILL

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
