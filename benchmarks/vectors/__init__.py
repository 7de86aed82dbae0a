"""Vector search measured: recall, CPU, memory and durability beside four embedded engines, on the same data."""
