"""How what was added gets its vectors: batches, tries, the cache, another model."""
