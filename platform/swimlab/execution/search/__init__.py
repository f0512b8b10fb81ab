"""How a search runs: what it proposes, what it prunes, what came of it."""
