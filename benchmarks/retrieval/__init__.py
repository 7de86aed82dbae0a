"""How well search finds known answers in real documentation: `python -m benchmarks.retrieval`."""
