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
from swim.recipe import FramePolicy, HubModel
from swimlab.data.decode_part import DecodeJob
from swimlab.data.draw_embedded import ReportProgress
from swimlab.data.prepared_clips import PipelineError, PreparedData

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


@dataclass(frozen=True)
class FeatureSizeEstimate:
    """`total_bytes` of what the vision tower makes of `rows` clips."""

    rows: int
    total_bytes: float

    @property
    def text(self) -> str:
        """The estimate as a sentence."""
        return f"the vision tower makes about {self.total_bytes / _GB:.3g} GB of {self.rows} clips"


def estimate_features(prepared: PreparedData, model: HubModel) -> FeatureSizeEstimate:
    """Estimate from the bytes of the stored frames, of which two share their visual tokens. Raises PipelineError for a
    model whose features are not kept, OSError or ValueError where its configuration cannot be read."""
    # These take seconds to import, which data sets without such a table do without.
    from transformers import AutoConfig

    from swim.supervision.frozen_tower import ONE_VECTOR_A_TOKEN

    config = AutoConfig.from_pretrained(model.path, revision=model.revision)
    if config.model_type not in ONE_VECTOR_A_TOKEN:
        raise PipelineError(
            f"--features keeps the output of the vision towers of {' and '.join(ONE_VECTOR_A_TOKEN)}, and {model.path} "
            f"is {config.model_type}: leave it out"
        )
    vector_bytes = config.get_text_config().hidden_size * (2 if model.dtype == "bfloat16" else 4)
    frame_bytes = sum(map(prepared.memory_bytes, prepared.splits))
    rows = sum(map(prepared.rows, prepared.splits))
    return FeatureSizeEstimate(rows, frame_bytes / (2 * 3 * model.cell_px**2) * vector_bytes)


STREAM = (
    "use a part of the data, fewer or smaller frames (data.frames), or --clips stream with --decode-cpus, which "
    "decodes while training and keeps nothing"
)
RECOMPUTE = "use a part of the data, or leave out --features: each trial then runs the tower itself"


def check_room(
    expected: ClipSizeEstimate | FeatureSizeEstimate, store_uri: str, max_bytes: float, way_out: str = STREAM
) -> None:
    """Raises PipelineError, which names the `way_out`, when the estimate is more than `max_bytes`, or more than the
    free disk space of a local store."""
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
