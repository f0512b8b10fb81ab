"""How searches run and are reported."""
