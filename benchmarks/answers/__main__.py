"""`python -m benchmarks.answers [--watchers N] [--seconds S] [--rates 50 200]`: writes benchmarks/answers/results.md.

A model in the server says so many words in a second; all watchers, each with a socket of its own, follow one answer.
One of them loses its socket in the middle and comes back. The server's disk is as it is by default: each write of the
answer waits for it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.load import Figures, quantile, quiet_collector
from benchmarks.process import Process
from benchmarks.report import processor, short

from .watcher import Watcher

HERE = Path(__file__).parent
AWAY_SECONDS = 1.0
TITLES = {
    "words": "words",
    "different_texts": "watchers' texts that differ",
    "last_p50_ms": "from a word to the last watcher, p50 ms",
    "last_p99_ms": "p99 ms",
    "first_p50_ms": "from a word to the first watcher, p50 ms",
    "first_p99_ms": "p99 ms",
    "missed_while_away": "words that the one who left missed",
    "caught_up_ms": "until it had them, from its return, ms",
    "server_cpu_share": "server's processor time, of one core",
    "watchers_cpu_share": "all watchers' processor time, of one core",
    "bytes_per_watcher": "bytes that one watcher received",
    "bytes_of_text": "bytes of the text",
    "load": "others' load on the machine before (1 minute)",
}
_TEXT = "A directory tree is copied by copytree."


async def follow(port: int, answer: str, watchers: int, seconds: float, server: Process) -> Figures:
    """What the watchers of one answer have seen, from its first word to its last."""
    load = os.getloadavg()[0]
    audience = [Watcher(port, answer) for _ in range(watchers)]
    await asyncio.gather(*(watcher.open() for watcher in audience))
    cpu, own = server.cpu_seconds(), time.process_time()
    leaver, stayed = audience[0], audience[1:]
    await asyncio.sleep(seconds / 2)
    leaver.lose()
    await asyncio.sleep(AWAY_SECONDS)
    back = time.monotonic()
    await leaver.open()
    await asyncio.wait_for(asyncio.gather(*(watcher.ended.wait() for watcher in audience)), 60 + seconds)
    spent = server.cpu_seconds() - cpu
    said = {number: moment for watcher in audience for number, moment in watcher.said.items()}
    last = [max(watcher.seen[number] for watcher in stayed) - moment for number, moment in said.items()]
    first = [min(watcher.seen[number] for watcher in stayed) - moment for number, moment in said.items()]
    missed = [number for number, moment in said.items() if moment < back and leaver.seen[number] >= back]
    texts = {watcher.text for watcher in audience}
    for watcher in audience:
        watcher.lose()
    return {
        "words": len(said),
        "different_texts": len(texts) - 1,
        "last_p50_ms": quantile(last, 0.5) * 1e3,
        "last_p99_ms": quantile(last, 0.99) * 1e3,
        "first_p50_ms": quantile(first, 0.5) * 1e3,
        "first_p99_ms": quantile(first, 0.99) * 1e3,
        "missed_while_away": len(missed),
        "caught_up_ms": max((leaver.seen[number] - back for number in missed), default=0.0) * 1e3,
        "server_cpu_share": spent / seconds,
        "watchers_cpu_share": (time.process_time() - own) / seconds,
        "bytes_per_watcher": sum(watcher.bytes for watcher in stayed) / len(stayed),
        "bytes_of_text": len(next(iter(texts)).encode()),
        "load": load,
    }


def call(port: int, kind: str, path: str, **args: Any) -> Any:
    """The value that a function returns."""
    body = json.dumps({"path": f"docs/{path}", "args": args}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/{kind}", body, headers={"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        answer = json.loads(response.read())
    if answer["status"] != "success":
        raise RuntimeError(answer)
    return answer["value"]


def measured(rate: float, watchers: int, seconds: float) -> Figures:
    """One answer at so many words in a second, on a server of its own."""
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "benchmarks.answers.server", directory, str(rate), str(int(rate * seconds))]
        server = Process(command, Path(directory) / "log", cwd=HERE.parents[1])
        try:
            port = server.wait_for_port()
            call(port, "mutation", "sources:put", key="trees", text=_TEXT)
            answer = call(port, "mutation", "answers:ask", question="How is a directory tree copied?")
            with quiet_collector():
                return asyncio.run(follow(port, answer, watchers, seconds, server))
        finally:
            server.stop()


def report(results: dict[str, Figures], watchers: int) -> str:
    """The figures in Markdown."""
    rows = list(next(iter(results.values())))
    day = time.strftime("%Y-%m-%d", time.gmtime())
    lines = [
        "# Answers",
        "",
        f"Written by `python -m benchmarks.answers`, whose docstring says what is measured: {day},",
    ]
    lines += [f"{processor()}, {watchers} watchers.", ""]
    lines += [f"| | {' | '.join(results)} |", "|---|" + "---|" * len(results)]
    lines += [
        f"| {TITLES[row]} | {' | '.join(_shown(row, found[row]) for found in results.values())} |" for row in rows
    ]
    return "\n".join(lines) + "\n"


def _shown(name: str, value: float) -> str:
    return f"{value:.0%}" if name.endswith("share") else short(value)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--watchers", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rates", type=float, nargs="+", default=[50.0, 200.0])
    parser.add_argument("--out", type=Path, default=HERE)
    chosen = parser.parse_args(arguments)
    results = {f"{rate:g} words/s": measured(rate, chosen.watchers, chosen.seconds) for rate in chosen.rates}
    text = report(results, chosen.watchers)
    (chosen.out / "results.md").write_text(text, "utf-8")
    (chosen.out / "results.json").write_text(json.dumps(results, indent=2) + "\n", "utf-8")
    print(text)


if __name__ == "__main__":
    main()
