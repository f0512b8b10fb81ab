"""Rows of annotation files by the keys under which models are asked about them. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable

from swim.data.annotations.samples import parse_row
from swim.data.rows.read import read_rows
from swim.data.types import DataError, ReferSample
from swim.recipe import NLReferFiles


def annotated(data: NLReferFiles, keys: Iterable[str] | None = None) -> dict[str, ReferSample]:
    """Key → row of the annotation files, of those of these keys (None: of all) that can be read."""
    wanted, samples = None if keys is None else set(keys), {}
    for file in data.annotations:
        for row, raw in read_rows(file):
            try:
                sample = parse_row(raw, file=file, row=row, formats=data.formats)
            except DataError:  # set aside when the clips were prepared: nobody was asked about it
                continue
            if wanted is None or sample.key in wanted:
                samples[sample.key] = sample
    return samples
