"""The core: transactions, commits, live queries, scheduled work. Clock, randomness and storage are handed in."""
