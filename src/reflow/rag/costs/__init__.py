"""What it costs: prices, budgets, the ledger."""
