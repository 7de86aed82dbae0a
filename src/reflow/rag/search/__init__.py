"""How a corpus is searched: questions, results, and what makes them better."""
