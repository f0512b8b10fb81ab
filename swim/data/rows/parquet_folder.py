"""A folder of Parquet files as one file of rows, as Ray Data, Spark and Hugging Face write data sets."""

from __future__ import annotations

from pathlib import Path

from swim.data.types import DataError


def is_folder(name: str) -> bool:
    """Whether an annotation file is a folder on local disk. Raises DataError for one on S3."""
    if name.startswith("s3://"):
        if name.endswith("/"):
            hint = "give each of its files: s3://bucket/path/part-0.parquet"
            raise DataError("folders on S3 are not read", field="file", hint=hint, file=name)
        return False
    return Path(name).is_dir()


def members(name: str) -> list[str]:
    """The paths of a folder's Parquet files, in the order of their names.

    Names that begin with "_" or "." are left out, as every reader of such folders does: `_SUCCESS` and the like are no
    data. Raises DataError for a folder without Parquet files, or with others, since their rows would be missing.
    """
    paths = sorted(path for path in Path(name).iterdir() if path.name[0] not in "._")
    if other := next((path for path in paths if path.is_dir() or path.suffix != ".parquet"), None):
        what = "a folder in it" if other.is_dir() else "not only Parquet files"
        hint = f"{other.name!r:.100}: give folders of .parquet files alone, and each .json or .jsonl file by itself"
        raise DataError(f"a folder with {what}" if other.is_dir() else what, field="file", hint=hint, file=name)
    if not paths:
        hint = "give a folder of .parquet files, or a .json, .jsonl or .parquet file"
        raise DataError("a folder without Parquet files", field="file", hint=hint, file=name)
    return [str(path) for path in paths]
