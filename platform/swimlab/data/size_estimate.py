"""Estimates the size of the decoded clips before decoding, and compares it with the free space."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from swim.data.annotations.samples import parse_row
from swim.data.rows.read import read_part
from swim.data.types import DataError
from swim.data.video.decode import smart_resize
from swim.data.video.decoder import shared_decoder
from swim.recipe import FramePolicy
from swimlab.data.decode_part import DecodeJob
from swimlab.data.draw_embedded import ReportProgress
from swimlab.data.prepared_clips import PipelineError

SAMPLED_PARTS = 16
ROWS_TRIED = 4
# Below this the upper bound that the frame policy gives is precise enough.
SMALL_BYTES = 2**30
_GB = 1e9


@dataclass(frozen=True)
class ClipSizeEstimate:
    """`total_bytes` of raw frames, from the videos of `sampled` rows; 0 means the policy's upper bound was small."""

    rows: int
    sampled: int
    total_bytes: float

    @property
    def text(self) -> str:
        """The estimate as a sentence."""
        basis = f"estimated from {self.sampled} of them" if self.sampled else "at most"
        return f"{self.rows} rows decode to about {self.total_bytes / _GB:.3g} GB of clips ({basis})"


def estimate(jobs: Sequence[DecodeJob], progress: ReportProgress) -> ClipSizeEstimate:
    """Estimate from the videos of some rows, spread over all parts; unusable rows are skipped."""
    frames, rows = jobs[0].frames, sum(job.part.rows for job in jobs)
    most = float(rows * frames.max_frames * frames.max_pixels * 3)
    if most <= SMALL_BYTES:
        return ClipSizeEstimate(rows, 0, most)
    sampled = jobs[:: max(1, len(jobs) // SAMPLED_PARTS)][:SAMPLED_PARTS]
    sizes = []
    for done, job in enumerate(sampled, start=1):
        sizes += _clip_bytes(job)
        progress("estimate size", done, len(sampled))
    return ClipSizeEstimate(rows, len(sizes), statistics.fmean(sizes) * rows if sizes else 0.0)


def clip_bytes(frames: int, height: int, width: int, policy: FramePolicy) -> int:
    """Bytes of a decoded clip of a video of that many frames and that size in pixels."""
    used_frames = min(policy.max_frames, frames + frames % 2)
    resized = smart_resize(height, width, policy)
    return used_frames * resized[0] * resized[1] * 3


def check_room(expected: ClipSizeEstimate, store_uri: str, max_bytes: float) -> None:
    """Raises PipelineError when the clips would need more than `max_bytes`, or more than the free disk space of a local
    store."""
    way_out = (
        "use a part of the data, fewer or smaller frames (data.frames), or --clips stream with --decode-cpus, which "
        "decodes while training and keeps nothing"
    )
    if expected.total_bytes > max_bytes:
        raise PipelineError(f"{expected.text}, more than --max-clips-gb {max_bytes / _GB:g}: raise it, or {way_out}")
    if "://" not in store_uri:
        place = Path(store_uri)
        while not place.exists():
            place = place.parent
        free = shutil.disk_usage(place).free
        if expected.total_bytes > free:
            raise PipelineError(
                f"{expected.text}, and the disk of {store_uri} has {free / _GB:.3g} GB free: choose another --store, "
                f"or {way_out}"
            )


def _clip_bytes(job: DecodeJob) -> list[int]:
    sizes: list[int] = []
    for row, raw in islice(read_part(job.part), ROWS_TRIED):
        try:
            sample = parse_row(raw, file=job.part.file, row=row, formats=job.formats)
            info = shared_decoder(job.videos, job.frames).probe(sample.video)
            sizes.append(clip_bytes(info.frames, info.height, info.width, job.frames))
        except DataError:  # quarantined with its reason when its turn comes
            continue
    return sizes
