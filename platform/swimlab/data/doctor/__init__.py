"""Examines annotation files and videos before they are used."""
