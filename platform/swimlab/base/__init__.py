"""Used by every package: console output of any text, JSON cache files, hints for misspelt names."""
