"""From annotation files to decoded clips in the store: once per data set, shared by every trial.

Ray Data runs the work, one task per shard. What a shard holds is decided before any task starts (rows sorted by sample
key, a fixed number to a shard), so that neither the workers' number nor their order can change a byte. What results,
and how trials read it: `clips.py`.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from swim.data.rows import read_rows
from swim.data.samples import parse_row, sample_key
from swim.data.types import DataError
from swim.data.video import decode_sample
from swim.recipe import FramePolicy, NLReferFiles, ShapesWorld
from swimlab import clips
from swimlab.clips import PipelineError, PreparedData, Split, Store, load_clips, load_prepared, load_quarantine

__all__ = [
    "PipelineError",
    "PreparedData",
    "Split",
    "Store",
    "load_clips",
    "load_prepared",
    "load_quarantine",
    "prepare",
]

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""

SHARD_BYTES = 256 * 2**20
MAX_ROWS_PER_SHARD = 256
_DRAWN_PER_TASK = 64
_TOP_REASONS = 5


def prepare(
    data: ShapesWorld | NLReferFiles,
    fingerprint: str,
    store: Store,
    scratch: Path,
    progress: Progress = lambda stage, done, total: None,
    *,
    max_quarantined_share: float = 0.5,
) -> PreparedData:
    """Decodes a data set into the store, or finds it there. Needs a Ray that the caller started, unless it is there.

    `scratch` must be visible to every worker when clips are drawn (ShapesWorld); it is left as it was. Rows that cannot
    be used are quarantined with a reason. Raises PipelineError when more than `max_quarantined_share` of the rows are,
    or when a split has no row left; the quarantine is in the store then, the manifest is not.
    """
    if (done := load_prepared(store, fingerprint)) is not None:
        return done
    scratch.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="clips-", dir=scratch)).absolute()
    try:
        files = _drawn(data, folder, progress) if isinstance(data, ShapesWorld) else data
        rows = {"train": _rows(files.annotations), "held_out": _rows(files.held_out_annotations)}
        total = sum(len(split) for split in rows.values())
        shards = list(_shards(rows, _rows_per_shard(data.frames)))
        results = list(_decoded(shards, files, fingerprint, store, progress))
    finally:
        shutil.rmtree(folder, ignore_errors=True)

    results.sort(key=lambda result: (result["split"], result["part"]))
    left_out = [entry for result in results for entry in json.loads(result["quarantine"])]
    quarantine, content = clips.written(pa.Table.from_pylist(left_out, schema=clips.QUARANTINE_SCHEMA), "quarantine")
    store.put_create_only(f"{clips.folder(fingerprint)}/{quarantine.name}", content)
    splits: dict[Split, tuple[clips.StoredTable, ...]] = {"train": ()}
    if files.held_out_annotations:
        splits["held_out"] = ()
    for result in results:
        if result["table"]:
            splits[result["split"]] += (clips.StoredTable.model_validate_json(result["table"]),)
    prepared = PreparedData(
        fingerprint=fingerprint,
        splits=splits,
        held_out="held_out" if files.held_out_annotations else "train",
        quarantine=quarantine,
        quarantined=_by_reason(left_out),
    )
    _enough(prepared, total, max_quarantined_share, store)
    manifest = f"{clips.folder(fingerprint)}/manifest.json"
    if not store.put_create_only(manifest, prepared.model_dump_json(indent=1).encode()):
        return PreparedData.model_validate_json(store.read(manifest))  # another driver was first: its word counts
    return prepared


def _rows(annotations: Sequence[str]) -> list[str]:
    """[file, row number, row] of all files, sorted by sample key. As JSON: parsed rows take 2 to 6 times as much."""
    stems = Counter(Path(file).stem for file in annotations)
    if twice := [stem for stem, count in stems.items() if count > 1]:
        raise PipelineError(f"two annotation files are called {twice[0]!r}: sample keys would collide; rename one")
    try:
        rows = [
            (sample_key(raw, file=file, row=row), json.dumps([file, row, raw]))
            for file in annotations
            for row, raw in read_rows(file)
        ]
    except DataError as error:
        raise PipelineError(str(error)) from error
    rows.sort(key=itemgetter(0))
    return [text for _, text in rows]


def _rows_per_shard(frames: FramePolicy) -> int:
    clip_bytes = frames.max_frames * frames.max_pixels * 3
    return min(max(SHARD_BYTES // clip_bytes, 1), MAX_ROWS_PER_SHARD)


def _shards(rows: dict[str, list[str]], size: int) -> Iterator[dict[str, Any]]:
    for split, entries in rows.items():
        for part, start in enumerate(range(0, len(entries), size)):
            yield {"split": split, "part": part, "rows": f"[{', '.join(entries[start : start + size])}]"}


def _drawn(config: ShapesWorld, folder: Path, progress: Progress) -> NLReferFiles:
    """Draws the embedded data set into `folder`, as files of the kind a user would bring."""
    import ray.data

    total = config.clips + config.held_out
    drawn: list[tuple[int, Any]] = []
    with _quiet():
        numbers = ray.data.range(total, override_num_blocks=math.ceil(total / _DRAWN_PER_TASK))
        dataset = numbers.map_batches(
            _draw, batch_size=None, batch_format="numpy", num_cpus=1, fn_args=(config, str(folder))
        )
        for batch in dataset.iter_batches(batch_size=None, batch_format="numpy"):
            drawn += zip(batch["id"].tolist(), map(json.loads, batch["row"]), strict=True)
            progress("draw clips", len(drawn), total)
    rows = [row for _, row in sorted(drawn, key=lambda entry: entry[0])]
    for name, part in (("train", rows[: config.clips]), ("held_out", rows[config.clips :])):
        (folder / f"{name}.json").write_text(json.dumps(part))
    return NLReferFiles(
        annotations=(str(folder / "train.json"),),
        held_out_annotations=(str(folder / "held_out.json"),),
        videos=str(folder),
        frames=config.frames,
    )


def _draw(batch: dict[str, Any], config: ShapesWorld, folder: str) -> dict[str, Any]:
    """Task: clips numbered from 0, the held-out ones after those for training."""
    from swim.data import shapes_world

    numbers = batch["id"].tolist()
    train = [n for n in numbers if n < config.clips]
    held_out = [n - config.clips for n in numbers if n >= config.clips]
    rows = shapes_world.write(config, "train", train, Path(folder))
    rows += shapes_world.write(config, "held_out", held_out, Path(folder))
    in_order = [n for n in numbers if n < config.clips] + [n for n in numbers if n >= config.clips]
    return {"id": np.asarray(in_order), "row": np.asarray([json.dumps(row) for row in rows], dtype=object)}


def _decoded(
    shards: list[dict[str, Any]], files: NLReferFiles, fingerprint: str, store: Store, progress: Progress
) -> Iterator[dict[str, Any]]:
    """One result per shard, in any order (Ray Data promises none)."""
    if not shards:
        raise PipelineError("the annotation files hold no row")
    import ray.data

    videos = str(Path(files.videos).absolute())  # workers may run in another folder
    with _quiet():
        dataset = ray.data.from_items(shards, override_num_blocks=len(shards)).map(
            _decode_shard,
            num_cpus=1,
            fn_args=(videos, files.frames, clips.folder(fingerprint), store),
        )
        for done, result in enumerate(dataset.iter_rows(), start=1):
            progress("decode clips", done, len(shards))
            yield result


def _decode_shard(shard: dict[str, Any], videos: str, frames: FramePolicy, folder: str, store: Store) -> dict[str, Any]:
    """Task: rows → quarantine or clip → one Parquet file in the store."""
    decoded: list[dict[str, Any]] = []
    left_out: list[dict[str, Any]] = []
    for file, row, raw in json.loads(shard["rows"]):
        try:
            decoded.append(decode_sample(parse_row(raw, file=file, row=row), Path(videos), frames).to_row())
            continue
        except DataError as known:
            error = known
        except MemoryError:
            raise  # the machine's fault, not the row's
        except Exception as unexpected:
            hint = "unexpected: try the row alone with swim.data.video.decode_sample, and please report it"
            error = DataError(f"{type(unexpected).__name__}: {unexpected}", field="row", hint=hint)
        text = {"field": error.field, "reason": error.reason, "hint": error.hint, "file": file}
        key = sample_key(raw, file=file, row=row)
        left_out.append({"split": shard["split"], "row": row, "key": key} | {k: _plain(v) for k, v in text.items()})
    result = {"split": shard["split"], "part": shard["part"], "table": "", "quarantine": json.dumps(left_out)}
    if decoded:
        table, content = clips.written(
            pa.Table.from_pylist(decoded, schema=clips.CLIP_SCHEMA), f"{shard['split']}/part-{shard['part']:05d}"
        )
        store.put_create_only(f"{folder}/{table.name}", content)
        result["table"] = table.model_dump_json()
    return result


def _by_reason(left_out: list[dict[str, Any]]) -> dict[str, int]:
    """Reasons that differ only in numbers or quoted names count as one; most frequent first."""
    plain = (f"{entry['field']}: {entry['reason']}" for entry in left_out)
    reasons = Counter(re.sub(r"\d+", "N", re.sub(r"'[^']*'", "'…'", reason)) for reason in plain)
    return dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0])))


def _enough(prepared: PreparedData, total: int, max_share: float, store: Store) -> None:
    out = prepared.quarantine.rows
    empty = [split for split in prepared.splits if not prepared.rows(split)]
    if not empty and out <= max_share * total:
        return
    top = "; ".join(f"{count} × {reason}" for reason, count in list(prepared.quarantined.items())[:_TOP_REASONS])
    why = f"no row of {empty[0]!r} is left" if empty else f"more than {max_share:.0%} of the rows"
    where = f"{store.uri}/{clips.folder(prepared.fingerprint)}/{prepared.quarantine.name}"
    raise PipelineError(f"{out} of {total} rows cannot be used, {why}: {top}. Each row with what to do: {where}")


def _plain(text: str) -> str:
    """Valid UTF-8, which Parquet insists on."""
    return text.encode("utf-8", "backslashreplace").decode()


@contextmanager
def _quiet() -> Iterator[None]:
    """Ray Data draws no progress bars of its own inside; the caller's setting comes back."""
    from ray.data import DataContext

    context = DataContext.get_current()
    before = context.enable_progress_bars
    context.enable_progress_bars = False
    try:
        yield
    finally:
        context.enable_progress_bars = before
