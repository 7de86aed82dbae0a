"""Figures of reflow under load, beside PocketBase and bare sockets, measured in one run: `python -m benchmarks`."""
