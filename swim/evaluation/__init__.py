"""Attention and answer metrics."""
