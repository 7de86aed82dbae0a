"""How a corpus is looked at as a whole: evaluation, maps, status."""
