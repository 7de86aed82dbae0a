"""For tests of applications, and of reflow: schedules, faults and clocks that follow a seed."""

from __future__ import annotations

from reflow.testing.clock import SeededEntropy, VirtualClock
from reflow.testing.embedder import HashingEmbedder
from reflow.testing.faults import FaultPlan, FaultyStorage
from reflow.testing.interleave import InterleavingStorage
from reflow.testing.simulation import Simulation, simulate
from reflow.testing.tokens import TokenIssuer

__all__ = [
    "FaultPlan",
    "FaultyStorage",
    "HashingEmbedder",
    "InterleavingStorage",
    "SeededEntropy",
    "Simulation",
    "TokenIssuer",
    "VirtualClock",
    "simulate",
]
