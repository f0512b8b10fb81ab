"""Checks videos: each distinct video is probed once, and every row that names it is checked against it. Some rows are
decoded to estimate the cost of all."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from itertools import groupby, pairwise
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from swim.data.annotations.samples import parse_row
from swim.data.rows.read import Part, read_part
from swim.data.types import DataError
from swim.data.video.frame_choice import FrameNeeds, VideoInfo, plan_frames
from swim.recipe import FramePolicy, Frozen
from swimlab.data.context_limit import ContextLimit
from swimlab.data.doctor.cautions import KEYS_UNCLEAR, RowNotes, note_sizes
from swimlab.data.doctor.row_checks import CLAIM_SCHEMA, TRAINED_ON, Inspection, note_broken, note_cautions, picked
from swimlab.data.doctor.row_counts import add_clip
from swimlab.data.doctor.tally import Pick, Tally

if TYPE_CHECKING:
    from swim.data.video.decoder import Decoder

_BUCKETS = 64
_BUFFERED_ROWS = 100_000
_CHUNK_VIDEOS = 64
_MISSING = ("no such file", "no such object")


class VideoRequirements:
    """The requirements of rows on their videos: kept on disk until all rows are read, then given video by video.

    The rows of a video are in one bucket, by the hash of its name; one bucket at a time is in memory.
    """

    def __init__(self, scratch: Path) -> None:
        scratch.mkdir(parents=True, exist_ok=True)
        self._folder = tempfile.TemporaryDirectory(prefix="doctor-", dir=scratch, ignore_cleanup_errors=True)
        self._writers = [self._writer(bucket) for bucket in range(_BUCKETS)]
        self._buffer: list[pa.Table] = []
        self._buffered = 0
        self.rows = 0

    def __enter__(self) -> VideoRequirements:
        return self

    def __exit__(self, *_: object) -> None:
        for writer in self._writers:
            writer.close()
        self._folder.cleanup()

    def add(self, claims: pa.Table) -> None:
        """Add a table of CLAIM_SCHEMA."""
        self._buffer.append(claims)
        self._buffered += claims.num_rows
        self.rows += claims.num_rows
        if self._buffered >= _BUFFERED_ROWS:
            self._flush()

    def chunks(self) -> Iterator[pa.Table]:
        """All claims, sorted by video and then by row, in chunks of whole videos."""
        self._flush()
        for writer in self._writers:
            writer.close()
        for bucket in range(_BUCKETS):
            with pa.OSFile(str(self._path(bucket)), "rb") as file:
                claims = pa.ipc.open_stream(file).read_all()
            order = [("place", "ascending"), ("video", "ascending"), ("file", "ascending"), ("row", "ascending")]
            yield from _by_videos(claims.sort_by(order))

    def _flush(self) -> None:
        if not self._buffer:
            return
        claims = pa.concat_tables(self._buffer)
        self._buffer, self._buffered = [], 0
        # The highest bits: each bucket is a range of hashes, so that videos come in the order of their hashes.
        bucket_of = pa.compute.shift_right(claims["place"], pa.scalar(64 - _BUCKETS.bit_length() + 1, pa.uint64()))
        for bucket, writer in enumerate(self._writers):
            if (selected := claims.filter(pa.compute.equal(bucket_of, bucket))).num_rows:
                writer.write_table(selected)

    def _path(self, bucket: int) -> Path:
        return Path(self._folder.name) / f"{bucket:03d}.arrow"

    def _writer(self, bucket: int) -> Any:
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        return pa.ipc.new_stream(str(self._path(bucket)), CLAIM_SCHEMA, options=options)


def _by_videos(claims: pa.Table) -> Iterator[pa.Table]:
    names = claims["video"].to_pylist()
    starts = [i for i, name in enumerate(names) if i == 0 or name != names[i - 1]]
    cuts = [*starts[::_CHUNK_VIDEOS], len(names)]
    for start, end in pairwise(cuts):
        if end > start:
            yield claims.slice(start, end - start)


def check_videos(
    claims: pa.Table, decoder: Decoder, policy: FramePolicy, picks: int, context: ContextLimit | None = None
) -> Inspection:
    """Probe the videos of a chunk, once each, and check their rows against them. `picks` rows are offered for timed
    decoding. `context`: the limit of the model, where longer rows are to be found."""
    inspection = Inspection(tally=Tally(picks))
    for video, rows in groupby(claims.to_pylist(), key=itemgetter("video")):
        info = _probe(video, decoder, inspection.tally)
        for claim in rows:
            _check_claim(claim, info, policy, context, inspection)
    return inspection


def _probe(video: str, decoder: Decoder, tally: Tally) -> VideoInfo | DataError:
    try:
        info: VideoInfo = decoder.probe(video)
    except DataError as error:
        tally.count("video", "missing" if error.reason in _MISSING else "unreadable")
        return error
    tally.count("video", "readable")
    tally.count("access", "by seeking" if info.seekable else "from the start only")
    tally.count("frame rate", f"{info.fps:.4g}")
    tally.count("video size", f"{info.height} × {info.width}")
    tally.bin("frames a video", info.frames)
    tally.bin("seconds a video", int(info.frames / info.fps))
    tally.add("video milliseconds", round(1000 * info.frames / info.fps))
    tally.add("video frames", info.frames)
    return info


def _check_claim(
    requirement: dict[str, Any],
    info: VideoInfo | DataError,
    policy: FramePolicy,
    context: ContextLimit | None,
    inspection: Inspection,
) -> None:
    tally = inspection.tally
    location = {name: requirement[name] for name in ("file", "row", "key", "part")}
    sizes = tuple(zip(requirement["sizes"][::2], requirement["sizes"][1::2], strict=True))
    try:
        if isinstance(info, DataError):
            raise info
        needs = FrameNeeds(tuple(requirement["frames"]), sizes, requirement["numbering"])
        indices, (height, width) = plan_frames(info, needs, policy)
        if context and requirement["state"] in TRAINED_ON:
            seconds_T = [index / info.fps for index in indices]
            context.check_counted(requirement["text_tokens"], (len(indices), height, width), seconds_T, policy.cell_px)
    except DataError as error:
        # The row was counted by its state without the video.
        tally.count(requirement["state"], requirement["kind"], -1)
        tally.count("broken", requirement["kind"])
        note_broken(inspection, error, kind=requirement["kind"], **location)
        return
    notes = RowNotes()
    note_sizes(set(sizes), (info.height, info.width), needs.frames, notes)
    if info.numbers and needs.frames and not (needs.numbering or policy.numbering):
        notes(KEYS_UNCLEAR, 0, needs.frames, "numbers in the names of the pictures are not their positions")
    if notes.worst:
        note_cautions(tally, notes, **location)
    add_clip(len(indices), height, width, policy, tally, context)
    tally.pick(picked(requirement))


class DecodeTrial(Frozen):
    """One row's clip, decoded alone on one core. `bytes_stored` is its size compressed as the store compresses it."""

    key: str
    frames: int = 0
    seconds: float = 0.0
    bytes_raw: int = 0
    bytes_stored: int = 0
    error: str = ""


def try_row(pick: Pick, decoder: Decoder) -> DecodeTrial:
    """Decode one row's clip and measure the time, including the download of its video."""
    part = Part.model_validate_json(pick.part)
    try:
        raw = next(raw for row, raw in read_part(part) if row == pick.row)
        sample = parse_row(raw, file=part.file, row=pick.row)
        started_s = time.perf_counter()
        clip = decoder.clip(sample)
        seconds = time.perf_counter() - started_s
    except DataError as error:
        return DecodeTrial(key=pick.key, error=str(error))
    frames = clip.frames_THWC
    return DecodeTrial(
        key=pick.key,
        frames=len(frames),
        seconds=seconds,
        bytes_raw=frames.nbytes,
        bytes_stored=len(pa.Codec("zstd").compress(frames.tobytes(), asbytes=True)),
    )
