"""Looks at a user's own files before they are prepared, without Ray and without decoding: what `plan` can refuse.

Every row is read as preparation reads it, and videos are opened, so that rows are refused for the same reasons. What
only decoding shows (a video that is damaged later on), and rows that are too long for the model, are left to
preparation.
"""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from swim.data.annotations.samples import parse_row, require_marked
from swim.data.rows.documents import document_of
from swim.data.rows.read import read_part, size_bytes
from swim.data.types import DataError, MachineError, ReferSample
from swim.data.video.decoder import Decoder
from swim.data.video.frame_choice import FrameNeeds, frame_needs, plan_frames
from swim.recipe import NLReferFiles
from swimlab.data.decode_part import DecodeJob
from swimlab.data.doctor.tally import place_of
from swimlab.data.preparation import PipelineError, absolute, by_reason, decode_jobs, too_few
from swimlab.data.prepared_clips import Split
from swimlab.data.rejected_rows import RejectedRow
from swimlab.data.size_estimate import check_room, estimate

MOST_BYTES = 64_000_000  # of annotations, which take some seconds to read
MOST_VIDEOS = 200  # opened


def check_data(
    data: NLReferFiles, store_uri: str, *, max_quarantined_share: float, store_clips: bool, max_clips_bytes: float
) -> str:
    """Reads all rows and opens some videos, chosen by the hashes of their names; a row whose video is not opened counts
    as usable, so that nothing is refused which `run` accepts.

    Args:
        data: the files.
        store_uri: where clips would go.
        max_quarantined_share, store_clips, max_clips_bytes: as of `preparation.prepare`.

    Returns:
        What was looked at and the result, in a sentence.

    Raises:
        PipelineError: as `preparation.prepare`, where it would refuse the data.
        OSError: where S3 cannot be reached.
    """
    doctor = f"swimlab doctor {shlex.join([*data.annotations, *data.held_out_annotations])}"
    doctor += f" --videos {shlex.quote(data.videos)}"
    if (size := _size(data)) > MOST_BYTES:
        return f"data not looked at: {size / 1e6:.0f} MB of annotations, plan reads {MOST_BYTES / 1e6:.0f}; {doctor}"
    jobs = decode_jobs(data, "", lambda *_: None, store_clips=store_clips)
    if store_clips:
        check_room(estimate(jobs, lambda *_: None), store_uri, max_clips_bytes)
    left: dict[Split, int] = {"train": 0}
    if data.held_out_annotations:
        left["held_out"] = 0
    rejected: list[RejectedRow] = []
    needs: dict[str, list[tuple[Split, FrameNeeds]]] = defaultdict(list)
    for job in jobs:
        for result in _samples(job):
            if isinstance(result, DataError):
                rejected.append(RejectedRow.of(result))
                continue
            left[job.split] += 1
            needs[result.video].append((job.split, frame_needs(result)))
    opened = sorted(needs, key=place_of)[:MOST_VIDEOS]
    with Decoder(absolute(data.videos), data.frames) as decoder:
        for video in opened:
            for split, error in _misfits(video, needs[video], decoder):
                left[split] -= 1
                rejected.append(RejectedRow.of(error))
    total = sum(job.part.rows for job in jobs)
    if refusal := too_few(left, len(rejected), total, max_quarantined_share, by_reason(rejected)):
        raise PipelineError(f"{refusal}. Each row with what to do: {doctor}")
    videos = f"all {len(needs)} videos" if len(opened) == len(needs) else f"{len(opened)} of {len(needs)} videos"
    text = f"data: all {total} rows read, {videos} opened, nothing decoded: {len(rejected)} rows cannot be used"
    return f"{text}; {doctor}" if rejected else text


def _size(data: NLReferFiles) -> int:
    size = 0
    for name in (*data.annotations, *data.held_out_annotations):
        try:
            document = document_of(absolute(name))
            size += size_bytes(absolute(name)) + sum(map(_bytes_below, document.files if document else ()))
        except DataError as error:
            raise PipelineError(str(error)) from error
    return size


def _bytes_below(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _samples(job: DecodeJob) -> Iterator[ReferSample | DataError]:
    """The rows of a part, or why preparation would leave them out."""
    for row, raw in read_part(job.part):
        try:
            yield require_marked(parse_row(raw, file=job.part.file, row=row, formats=job.formats))
        except DataError as error:
            yield error
        except Exception as unexpected:
            yield DataError(f"{type(unexpected).__name__}: {unexpected}", field="row", hint="", row=row)


def _misfits(video: str, rows: list[tuple[Split, FrameNeeds]], decoder: Decoder) -> Iterator[tuple[Split, DataError]]:
    """The rows of a video that do not fit it: all of them where it cannot be opened."""
    try:
        info = decoder.probe(video)
    except MachineError:
        return
    except DataError as error:
        yield from ((split, error) for split, _ in rows)
        return
    for split, needs in rows:
        try:
            plan_frames(info, needs, decoder.policy)
        except DataError as error:
            yield split, error
