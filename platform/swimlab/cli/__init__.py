"""Command lines: experiment files, and the swimlab command."""
