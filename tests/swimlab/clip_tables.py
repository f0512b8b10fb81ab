"""A small committed data set, made without decoding: nine clips in three files."""

import numpy as np
import pyarrow as pa

from swim.data.types import Clip, Rle, Turn
from swimlab.data import prepared_clips
from swimlab.data.prepared_clips import PreparedData
from swimlab.store.sweep_store import SweepStore

SIZES = (3, 1, 5)


def clip(i: int, side: int) -> Clip:
    frames_THWC = np.random.default_rng(i).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    turn = Turn(human=f"The <ins>dog</ins> {i}?", gpt="Runs.")
    return Clip(f"a:{i:08d}:x", (turn,), frames_THWC, (i, i + 1), 4.0, ({0: Rle(height=4, width=4, counts="05;")},))


def build(store: SweepStore, side: int) -> tuple[PreparedData, list[Clip]]:
    made = [clip(i, side) for i in range(sum(SIZES))]

    def put(rows, schema, stem):
        table, content = prepared_clips.encode_table(pa.Table.from_pylist(rows, schema=schema), stem)
        store.put_create_only(f"{prepared_clips.folder('f')}/{table.name}", content)
        return table

    ends = np.cumsum(SIZES)
    tables = tuple(
        put([c.to_row() for c in made[end - n : end]], prepared_clips.CLIP_SCHEMA, f"train/part-{i}")
        for i, (end, n) in enumerate(zip(ends, SIZES, strict=True))
    )
    where = {"file": "a.json", "row": 0, "first": 0, "rows": 9, "start": 0, "end": 9, "encoding": "utf-8"}
    index = put([{"key": c.key} | where for c in made], prepared_clips.INDEX_SCHEMA, "train-index")
    prepared = PreparedData(
        fingerprint="f",
        stored=True,
        splits={"train": tables},
        index={"train": index},
        held_out="train",
        quarantine=put([], prepared_clips.QUARANTINE_SCHEMA, "quarantine"),
        quarantined={},
    )
    return prepared, made
