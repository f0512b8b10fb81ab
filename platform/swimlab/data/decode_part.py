"""The task of a worker: decodes the rows of one part of an annotation file to clips, or to reasons why not.

A finished part leaves a receipt in the store. When a worker or a whole run is killed, only unfinished parts are lost:
the next run skips the parts that have a receipt.
"""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from swim.data.decoder import shared_decoder
from swim.data.rows import Part, read_part
from swim.data.samples import parse_row, require_marked, sample_key
from swim.data.types import Clip, DataError
from swim.recipe import FramePolicy, Frozen
from swimlab.data import prepared_clips
from swimlab.data.prepared_clips import Split, Store, StoredTable
from swimlab.data.rejected_rows import QuarantinedRow


class DecodeJob(Frozen):
    """One part of one split, and the folder of its result. With `store_clips` False only the usable rows are
    determined."""

    split: Split
    number: int
    part: Part
    videos: str
    formats: tuple[str, ...]
    frames: FramePolicy
    folder: str
    store_clips: bool

    @property
    def receipt(self) -> str:
        """The path of this part's receipt. It does not depend on the folder of the annotation file."""
        identity = self.part.model_dump_json(exclude={"file"}) + PurePosixPath(self.part.file).name
        digest = hashlib.sha256(identity.encode()).hexdigest()[:12]
        return f"{self.folder}/{self.split}/done-{self.number:06d}-{digest}.json"


class DecodeResult(Frozen):
    """A part's result: the key and number of each usable row, the rejected rows, and the
    file of the clips if any were stored."""

    split: Split
    number: int
    usable: tuple[tuple[str, int], ...]
    left_out: tuple[QuarantinedRow, ...]
    table: StoredTable | None


def run(job: DecodeJob, store: Store) -> DecodeResult:
    """Task: decode a part, or read its receipt if there is one."""
    if store.exists(job.receipt):
        return DecodeResult.model_validate_json(store.read(job.receipt))
    decoded: list[dict[str, Any]] = []
    usable: list[tuple[str, int]] = []
    left_out: list[QuarantinedRow] = []
    for row, raw in read_part(job.part):
        try:
            clip = decode_row(raw, row, job)
        except DataError as error:
            key = sample_key(raw, file=job.part.file, row=row)
            left_out.append(QuarantinedRow.of(error, file=job.part.file, row=row, key=key, split=job.split))
            continue
        usable.append((clip.key, row))
        if job.store_clips:
            decoded.append(clip.to_row())
    table = None
    if decoded:
        table, content = prepared_clips.encode_table(
            pa.Table.from_pylist(decoded, schema=prepared_clips.CLIP_SCHEMA), f"{job.split}/part-{job.number:06d}"
        )
        store.put_create_only(f"{job.folder}/{table.name}", content)
    done = DecodeResult(split=job.split, number=job.number, usable=tuple(usable), left_out=tuple(left_out), table=table)
    store.put_create_only(job.receipt, done.model_dump_json().encode())
    return done


def decode_row(raw: Any, row: int, job: DecodeJob) -> Clip:
    """One row's clip, decoded in a process that may hang or die. Raises DataError for a problem of the row;
    MemoryError and OSError for a problem of the machine (S3 cannot be reached, no process can be started)."""
    try:
        sample = require_marked(parse_row(raw, file=job.part.file, row=row, formats=job.formats))
        return shared_decoder(job.videos, job.frames).clip(sample)
    except (DataError, MemoryError, OSError):
        raise
    except Exception as unexpected:
        hint = "unexpected: try the row alone with swim.data.video.decode_sample, and please report it"
        raise DataError(f"{type(unexpected).__name__}: {unexpected}", field="row", hint=hint) from unexpected
