"""How a search runs: its proposals, its pruning, its results."""
