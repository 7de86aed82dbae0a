"""Where the benchmarks keep what is dear to make: data, true answers, the peers and their built indexes."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

CACHE = ROOT / ".cache" / "bench"
"""Not in git; may be removed at any time."""
