"""`python -m reflow.cli` is `reflow`."""

from __future__ import annotations

from reflow.cli import main

main()
