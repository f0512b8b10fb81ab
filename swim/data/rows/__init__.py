"""Rows of annotation files: JSON, JSON lines and Parquet, of any size."""
