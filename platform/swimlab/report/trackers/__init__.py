"""Stored trials for other people's trackers, a file each."""
