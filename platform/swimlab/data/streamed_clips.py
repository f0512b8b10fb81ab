"""Clips decoded while a trial trains, for data too large to store: by Ray Data, on CPUs reserved in the plan.

Every rank reads its own rows in the order of its batch plan, so it gets bit for bit the same clips as from the store.
Ray Data decodes ahead as far as its object store allows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from swim.data.rows.read import Part, read_part
from swim.data.types import Clip
from swim.data.video.decoder import patiently
from swim.recipe import NLReferFiles
from swimlab.data import prepared_clips
from swimlab.data.decode_part import DecodeJob, decode_row
from swimlab.data.preparation import absolute
from swimlab.data.prepared_clips import ClipStore, PipelineError, PreparedData, Split, load_index
from swimlab.identity.splits import annotation_files

_TASK_BYTES = 64 * 2**20
_PARTS_HELD = 8


class StreamedClips:
    """The usable rows of a split (`swim.data.clips.Clips`), decoded by at most `cpus` tasks at a time.

    Raises PipelineError when a row that could be used when the data was checked no longer can.
    """

    def __init__(self, store: ClipStore, prepared: PreparedData, split: Split, data: NLReferFiles, cpus: float) -> None:
        self._index = load_index(store, prepared, split)
        self.keys: list[str] = self._index["key"].to_pylist()
        files = annotation_files(data, prepared.source(split))
        places = {PurePosixPath(file).name: absolute(file) for file in files}
        self._template = DecodeJob(
            split=prepared.source(split),
            number=0,
            part=Part(file="", first=0, rows=0, start=0, end=0),
            videos=absolute(data.videos),
            formats=data.formats,
            placeholders=data.placeholders,
            frames=data.frames,
            folder=prepared.folder,
            store_clips=False,
        )
        self._places, self._cpus = places, cpus

    def read(self, order: Iterable[int]) -> Iterator[Clip]:
        """See `swim.data.clips.Clips`."""
        import ray
        import ray.data
        from ray.data import ExecutionOptions, ExecutionResources

        numbers = np.fromiter(order, dtype=np.int64)
        if not len(numbers):
            return
        plan = ray.put(self._index.take(pa.array(numbers)))
        frames = self._template.frames
        per_task = max(1, _TASK_BYTES // (frames.max_frames * frames.max_pixels * 3))
        dataset = ray.data.range(len(numbers), override_num_blocks=math.ceil(len(numbers) / per_task)).map_batches(
            _decode,
            batch_size=None,
            batch_format="numpy",
            num_cpus=1,
            zero_copy_batch=True,
            fn_args=([plan], self._template.model_dump_json(), self._places),
        )
        dataset.context.enable_progress_bars = False
        dataset.context.execution_options = ExecutionOptions(
            preserve_order=True, resource_limits=ExecutionResources.for_limits(cpu=self._cpus)
        )
        expected = 0
        for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1):
            rows = batch.drop_columns(["frames", "problem"]).to_pylist()
            for row, pixels, problem in zip(rows, _buffers(batch["frames"]), batch["problem"].to_pylist(), strict=True):
                if problem:
                    raise PipelineError(f"{problem}; it could be used when the data was checked: has a file changed?")
                if row["at"] != expected:
                    raise RuntimeError(f"clip {row['at']} of the plan arrived in place of clip {expected}")
                expected += 1
                yield Clip.from_row(row | {"frames": pixels})


_FRAMES: pa.Field = prepared_clips.CLIP_SCHEMA.field("frames")
_SCHEMA = prepared_clips.CLIP_SCHEMA.append(pa.field("at", pa.int64())).append(pa.field("problem", pa.string()))


def _decode(batch: dict[str, Any], plan: list[Any], template: str, places: dict[str, str]) -> pa.Table:
    """Task: positions in the plan → clips."""
    import ray

    job, planned = DecodeJob.model_validate_json(template), ray.get(plan[0])
    rows, pixels = [], []
    for at in batch["id"].tolist():
        place = {name: column[0] for name, column in planned.slice(at, 1).to_pydict().items()}
        part = Part.model_validate({name: place[name] for name in Part.model_fields} | {"file": places[place["file"]]})
        raw = _part_rows(part)[place["row"] - part.first]
        try:
            in_part = job.model_copy(update={"part": part})
            clip = patiently(partial(decode_row, raw, place["row"], in_part))
            pixels.append(_uncopied(clip.frames_THWC))
            bare = replace(clip, frames_THWC=clip.frames_THWC[:0])
            rows.append(bare.to_row() | {"shape": list(clip.frames_THWC.shape), "at": at, "problem": ""})
        except Exception as error:
            pixels.append(pa.nulls(1, _FRAMES.type))
            rows.append({"at": at, "problem": f"{place['key']}: {error}"})
    table = pa.Table.from_pylist(rows, schema=_SCHEMA)
    return table.set_column(_SCHEMA.get_field_index(_FRAMES.name), _FRAMES, pa.chunked_array(pixels))


def _buffers(column: pa.ChunkedArray) -> Iterator[pa.Buffer]:
    """Large binary values without a copy (a pyarrow scalar is a copy); empty for null."""
    for chunk in column.chunks:
        _, offsets, data = chunk.buffers()
        ends = np.frombuffer(offsets, dtype=np.int64)[chunk.offset : chunk.offset + len(chunk) + 1]
        for start, end in pairwise(ends.tolist()):
            yield data.slice(start, end - start) if end > start else pa.py_buffer(b"")


def _uncopied(frames_THWC: NDArray[np.uint8]) -> pa.Array:
    """Frames as a binary value on the array's own memory: a clip of 54 MB is copied once, into the object store. (As
    bytes and then as an Arrow value it was copied three times, a quarter of what decoding costs.)"""
    offsets = np.array([0, frames_THWC.nbytes], dtype=np.int64)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(frames_THWC))]
    return pa.Array.from_buffers(pa.large_binary(), 1, buffers).cast(_FRAMES.type)


@lru_cache(maxsize=_PARTS_HELD)
def _part_rows(part: Part) -> list[Any]:
    return [raw for _, raw in read_part(part)]
