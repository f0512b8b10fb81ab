"""Decodes annotation files to clips in the store, once per data set; all trials share them.

Ray Data runs the work, one task per part of an annotation file. The parts are fixed before any task starts
(rows in the order of their keys, a fixed number per part), so that the result does not depend on the number or order of
workers. The task is in `decode_part.py`, the result and how trials read it in `prepared_clips.py`.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from swim.data.rows.read import Part, split
from swim.data.types import DataError
from swim.recipe import FramePolicy, ModelConfig, NLReferFiles, ShapesWorld
from swimlab.data import decode_part, prepared_clips
from swimlab.data.context_limit import ContextLimit
from swimlab.data.decode_part import DecodeJob, DecodeResult
from swimlab.data.draw_embedded import ReportProgress, draw_embedded, quiet
from swimlab.data.prepared_clips import (
    ClipStore,
    PipelineError,
    PreparedData,
    Split,
    StoredClips,
    StoredTable,
    load_prepared,
    load_quarantine,
)
from swimlab.data.rejected_rows import RejectedRow
from swimlab.data.size_estimate import check_room, estimate
from swimlab.identity.splits import TRAINED, annotation_files

__all__ = [
    "ClipStore",
    "PipelineError",
    "PreparedData",
    "Split",
    "StoredClips",
    "load_prepared",
    "load_quarantine",
    "prepare",
]

PART_BYTES = 256 * 2**20
MAX_ROWS_PER_PART = 256
_TOP_REASONS = 5
# Before each try of what the machine had too little memory or time for; nothing else is decoded then.
ALONE_AFTER_S = (0.0, 60.0)


def prepare(
    data: ShapesWorld | NLReferFiles,
    fingerprint: str,
    store: ClipStore,
    scratch: Path,
    progress: ReportProgress = lambda stage, done, total: None,
    *,
    model: ModelConfig | None = None,
    splits: Sequence[Split] = TRAINED,
    max_quarantined_share: float = 0.5,
    store_clips: bool = True,
    max_clips_bytes: float = float("inf"),
) -> PreparedData:
    """The prepared data set of these splits: from the store, or decoded into it, for which the caller must have started
    Ray.

    `scratch` must be reachable by every worker when clips are drawn (ShapesWorld); temporary files in it are removed.
    Rows that cannot be used are quarantined with a reason; rows of files also when they are more tokens than `model`
    has positions (a drawn clip that is too long is refused by training). With `store_clips` False every row is decoded
    to check it, and no clip is stored.

    Raises PipelineError before decoding when the configuration of a hub `model` cannot be read, or the clips would
    need more than `max_clips_bytes` or the free disk space; after decoding when more than `max_quarantined_share` of
    the rows cannot be used, or a split has no row left, or rows could not be decoded for want of memory or time on the
    machine, also alone (a trial without them would have the name of one with them). Then the quarantine is in the
    store, but no manifest, and the next call tries again.
    """
    if (done := load_prepared(store, fingerprint, stored=store_clips)) is not None:
        return done
    folder = prepared_clips.folder(fingerprint, stored=store_clips)
    scratch.mkdir(parents=True, exist_ok=True)
    workspace = Path(tempfile.mkdtemp(prefix="clips-", dir=scratch)).absolute()
    try:
        files = draw_embedded(data, workspace, progress, splits) if isinstance(data, ShapesWorld) else data
        context = _context(model) if model and isinstance(data, NLReferFiles) else None
        jobs = decode_jobs(files, folder, progress, splits, store_clips=store_clips, context=context)
        if store_clips:
            check_room(estimate(jobs, progress), store.uri, max_clips_bytes)
        results = sorted(_tried_alone(jobs, list(_decoded(jobs, store, progress)), store, progress), key=_position)
    finally:
        shutil.rmtree(workspace, ignore_errors=True)
    parts = {(job.split, job.number): job.part for job in jobs}
    total = sum(part.rows for part in parts.values())
    # A user's files may have no held-out rows: the training rows are scored then.
    present = [split for split in splits if split != "held_out" or annotation_files(files, split)]
    prepared = _prepared_manifest(results, parts, fingerprint, store, present, store_clips)
    _none_set_aside(results, prepared, store)
    _enough(prepared, total, max_quarantined_share, store)
    manifest = f"{folder}/manifest.json"
    if not store.put_create_only(manifest, prepared.to_json()):
        # Another driver was first, unless somebody has deleted its data set again.
        return load_prepared(store, fingerprint, stored=store_clips) or prepared
    return prepared


def _context(model: ModelConfig) -> ContextLimit:
    try:
        return ContextLimit.of(model)
    except (OSError, ValueError) as error:
        raise PipelineError(f"the model, whose positions limit the rows, cannot be read: {error}") from error


def decode_jobs(
    files: NLReferFiles,
    folder: str,
    progress: ReportProgress,
    splits: Sequence[Split] = TRAINED,
    *,
    store_clips: bool,
    context: ContextLimit | None = None,
) -> list[DecodeJob]:
    """The parts of all files of these splits. Raises PipelineError for a file that cannot be read, two of one name, and
    no row."""
    jobs = [
        DecodeJob(
            split=name,
            number=number,
            part=part,
            videos=absolute(files.videos),
            formats=files.formats,
            placeholders=files.placeholders,
            frames=files.frames,
            folder=folder,
            store_clips=store_clips,
            context=context,
        )
        for name in splits
        for number, part in enumerate(_parts(annotation_files(files, name), _rows_per_part(files.frames), progress))
    ]
    if not jobs:
        raise PipelineError("the annotation files hold no row")
    return jobs


def in_order(files: Iterable[str]) -> list[str]:
    """Annotation files in the order of their samples' keys. Raises PipelineError when two would share keys."""
    stems = Counter(PurePosixPath(file).stem for file in files)
    if twice := [stem for stem, count in stems.items() if count > 1]:
        raise PipelineError(f"two annotation files are called {twice[0]!r}: sample keys would collide; rename one")
    return sorted(files, key=lambda file: f"{PurePosixPath(file).stem}:")


def absolute(place: str) -> str:
    """An absolute path, for workers that run in another folder; a URL stays as it is."""
    return place if "://" in place else str(Path(place).absolute())


def _parts(files: Sequence[str], rows: int, progress: ReportProgress) -> Iterator[Part]:
    rows_found = 0
    try:
        for file in in_order(files):
            for part in split(absolute(file), rows):
                rows_found += part.rows
                progress("find rows", rows_found, 0)
                yield part
    except DataError as error:
        raise PipelineError(str(error)) from error


def _rows_per_part(frames: FramePolicy) -> int:
    clip_bytes = frames.max_frames * frames.max_pixels * 3
    return min(max(PART_BYTES // clip_bytes, 1), MAX_ROWS_PER_PART)


def _decoded(jobs: Sequence[DecodeJob], store: ClipStore, progress: ReportProgress) -> Iterator[DecodeResult]:
    """One result per part, in any order."""
    import ray.data

    total, done = sum(job.part.rows for job in jobs), 0
    with quiet():
        items = [{"job": job.model_dump_json()} for job in jobs]
        dataset = ray.data.from_items(items, override_num_blocks=len(items)).map(_run, num_cpus=1, fn_args=(store,))
        for row in dataset.iter_rows():
            result = DecodeResult.model_validate_json(row["done"])
            done += len(result.usable) + len(result.left_out)
            progress("decode clips", done, total)
            yield result


def _tried_alone(
    jobs: Sequence[DecodeJob], results: list[DecodeResult], store: ClipStore, progress: ReportProgress
) -> list[DecodeResult]:
    """Parts that the machine had too little memory or time for are decoded again, one at a time."""
    by_position = {_position(job): job for job in jobs}
    by_result = {_position(result): result for result in results}
    for number, wait_s in enumerate(ALONE_AFTER_S, start=1):
        incomplete = [position for position, result in by_result.items() if not result.complete]
        if incomplete:
            time.sleep(wait_s)
        for done, position in enumerate(incomplete):
            progress("decode again, one part at a time", done, len(incomplete))
            again = by_position[position].model_copy(update={"last_try": number == len(ALONE_AFTER_S)})
            (by_result[position],) = _decoded([again], store, lambda *_: None)
    return list(by_result.values())


def _position(part: DecodeJob | DecodeResult) -> tuple[str, int]:
    return part.split, part.number


def _run(row: dict[str, Any], store: ClipStore) -> dict[str, Any]:
    return {"done": decode_part.run(DecodeJob.model_validate_json(row["job"]), store).model_dump_json()}


def _prepared_manifest(
    results: list[DecodeResult],
    parts: dict[tuple[Split, int], Part],
    fingerprint: str,
    store: ClipStore,
    names: Sequence[Split],
    stored: bool,
) -> PreparedData:
    """Write index and quarantine, and return the manifest of the data set, which has the splits `names`."""
    folder = prepared_clips.folder(fingerprint, stored=stored)

    def put(rows: list[dict[str, Any]], schema: pa.Schema, stem: str) -> StoredTable:
        table, content = prepared_clips.encode_table(pa.Table.from_pylist(rows, schema=schema), stem)
        store.put_create_only(f"{folder}/{table.name}", content)
        return table

    index: dict[Split, list[dict[str, Any]]] = {name: [] for name in names}
    for result in results:
        part = parts[result.split, result.number]
        location = part.model_dump() | {"file": PurePosixPath(part.file).name}
        index[result.split] += [{"key": key, "row": row} | location for key, row in result.usable]
    left_out = [entry for result in results for entry in result.left_out]
    return PreparedData(
        fingerprint=fingerprint,
        stored=stored,
        splits={n: tuple(r.table for r in results if r.split == n and r.table) for n in names if stored},
        index={name: put(rows, prepared_clips.INDEX_SCHEMA, f"{name}-index") for name, rows in index.items()},
        held_out=names[-1],
        quarantine=put([entry.model_dump() for entry in left_out], prepared_clips.QUARANTINE_SCHEMA, "quarantine"),
        quarantined=by_reason(left_out),
    )


def by_reason(left_out: Iterable[RejectedRow]) -> dict[str, int]:
    """Number of rows by reason, most frequent first; reasons that differ only in numbers or quoted names are one."""
    reasons = Counter(entry.group for entry in left_out)
    return dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0])))


def _enough(prepared: PreparedData, total: int, max_share: float, store: ClipStore) -> None:
    left = {split: prepared.rows(split) for split in prepared.index}
    location = f"{store.uri}/{prepared.folder}/{prepared.quarantine.name}"
    if reason := too_few(left, prepared.quarantine.rows, total, max_share, prepared.quarantined):
        raise PipelineError(f"{reason}. Each row with what to do: {location}")


def too_few(left: Mapping[Split, int], out: int, total: int, max_share: float, reasons: Mapping[str, int]) -> str:
    """Why a data set is refused, "" where it is not.

    Args:
        left: usable rows of each split.
        out, total: unusable rows and all rows.
        max_share: of the rows, that may be unusable.
        reasons: unusable rows by reason, most frequent first.
    """
    empty = [split for split, rows in left.items() if not rows]
    if not empty and out <= max_share * total:
        return ""
    top = "; ".join(f"{count} × {reason}" for reason, count in list(reasons.items())[:_TOP_REASONS])
    why = f"no row of {empty[0]!r} is left" if empty else f"more than {max_share:.0%} of the rows"
    return f"{out} of {total} rows cannot be used, {why}: {top}"


def _none_set_aside(results: Sequence[DecodeResult], prepared: PreparedData, store: ClipStore) -> None:
    rows = [row for result in results for row in result.left_out if row.machine]
    if not rows:
        return
    first = "; ".join(f"{row.file} row {row.row}: {row.reason}" for row in rows[:_TOP_REASONS])
    raise PipelineError(
        f"{len(rows)} rows could not be decoded on this machine, also alone; no trial may run without them: {first}. "
        "When it has more memory and time, run the same command again: finished parts are kept, these rows are tried "
        f"again, and what fails {decode_part.SETTLED_AFTER_S / 60:.0f} minutes from now too is left out as unusable. "
        f"Each such row has machine = true in {store.uri}/{prepared.folder}/{prepared.quarantine.name}"
    )
