"""What every package may use: a screen that prints any text, a machine's cache files, hints for misspelt names."""
