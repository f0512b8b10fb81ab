"""What a frozen vision tower makes of a data set's clips: a table beside them in the store, made once for all trials.

    clips/<fingerprint>/features/<name>/manifest.json         create-only, names all files; writing it is the commit
    clips/<fingerprint>/features/<name>/<part>-<sha>.parquet  for each file of clips: hash of the frames, and features
    clips/<fingerprint>/features/<name>/<part>-done.json      receipt of a finished part, which is not made again

`name` says which tower made them, in which precision, on what kind of machine and by which code: under one name all
bits are equal. The trials themselves make the table, each in the process and on the device where its tower is. They
take parts in orders of their own, so that trials that run side by side share the work, and none waits for another.
"""

from __future__ import annotations

import random
from itertools import chain
from pathlib import PurePosixPath
from typing import Literal

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from swim.models.vision_features import FrozenTower, frames_digest
from swimlab.data.prepared_clips import PreparedData
from swimlab.data.stored_tables import ClipStore, PipelineError, StoredRows, StoredTable, encode_table, read_table
from swimlab.store.sealed_json import SealedModel

SCHEMA = pa.schema([("frames", pa.binary(32)), ("features", pa.large_binary())])
HELD_BYTES = 2 * 2**30


class FeaturePart(SealedModel):
    """The features of one file of clips: vectors of `width` numbers of type `dtype`, one a visual token."""

    schema_version: Literal[1] = 1
    table: StoredTable
    width: int
    dtype: Literal["float32", "bfloat16", "float16"]


class FeatureTable(SealedModel):
    """The manifest of a committed table."""

    schema_version: Literal[1] = 1
    fingerprint: str
    name: str
    parts: tuple[FeaturePart, ...]

    @property
    def folder(self) -> str:
        """Its folder in the store."""
        return f"{features_folder(self.fingerprint)}/{self.name}"

    @property
    def memory_bytes(self) -> int:
        """Its size in memory."""
        return sum(part.table.memory_bytes for part in self.parts)


def features_folder(fingerprint: str) -> str:
    """The folder of all tables of a data set in the store."""
    return f"clips/{fingerprint}/features"


def load_features(store: ClipStore, prepared: PreparedData, name: str) -> FeatureTable | None:
    """The committed table of this name, None where there is none. Raises PipelineError for a damaged manifest."""
    folder = f"{features_folder(prepared.fingerprint)}/{name}"
    path = f"{folder}/manifest.json"
    if not store.exists(path):
        return None
    try:
        table = FeatureTable.from_json(store.read(path))
    except ValueError as error:
        raise _damaged(store, folder, path, error) from error
    if table.folder != folder:
        raise _damaged(store, folder, path, f"it is that of {table.folder}")
    return table


def make_features(store: ClipStore, prepared: PreparedData, name: str, tower: FrozenTower, order: str) -> FeatureTable:
    """Makes the parts that are not in the store, in an order drawn from the text `order`, and commits the table. Raises
    PipelineError for clips or a receipt that are damaged."""
    folder = f"{features_folder(prepared.fingerprint)}/{name}"
    clips = [table for tables in prepared.splits.values() for table in tables]
    parts: dict[str, FeaturePart] = {}
    for table in random.Random(order).sample(clips, len(clips)):
        stem = PurePosixPath(table.name).with_suffix("").as_posix()
        receipt = f"{folder}/{stem}-done.json"
        if store.exists(receipt):
            try:
                parts[table.name] = FeaturePart.from_json(store.read(receipt))
            except ValueError as error:
                raise _damaged(store, folder, receipt, error) from error
        else:
            parts[table.name] = _make_part(store, prepared, table, tower, folder, stem)
            store.put_create_only(receipt, parts[table.name].to_json())
    made = FeatureTable(fingerprint=prepared.fingerprint, name=name, parts=tuple(parts[table.name] for table in clips))
    store.put_create_only(f"{folder}/manifest.json", made.to_json())
    return made


def _make_part(
    store: ClipStore, prepared: PreparedData, table: StoredTable, tower: FrozenTower, folder: str, stem: str
) -> FeaturePart:
    clips = read_table(store, prepared.folder, table)
    rows, width, dtype = [], 0, ""
    for frames, shape in zip(clips["frames"], clips["shape"].to_pylist(), strict=True):
        frames_THWC = np.frombuffer(frames.as_buffer(), dtype=np.uint8).reshape(shape)
        features_KD = tower(frames_THWC)
        width, dtype = features_KD.shape[1], str(features_KD.dtype).removeprefix("torch.")
        content = features_KD.reshape(-1).view(torch.uint8).numpy().tobytes()
        rows.append({"frames": frames_digest(frames_THWC), "features": content})
    described, encoded = encode_table(pa.Table.from_pylist(rows, schema=SCHEMA), stem)
    store.put_create_only(f"{folder}/{described.name}", encoded)
    return FeaturePart.model_validate({"table": described, "width": width, "dtype": dtype})


def _damaged(store: ClipStore, folder: str, path: str, reason: object) -> PipelineError:
    return PipelineError(f"{path} is damaged ({reason}): delete {folder}/ in {store.uri} and run again")


class StoredFeatures:
    """The features of clips by their frames (`swim.models.vision_features.Features`): in memory if all fit into
    `HELD_BYTES`, else read when they are asked for. Raises PipelineError when a file is not what was committed."""

    def __init__(self, store: ClipStore, table: FeatureTable) -> None:
        first = table.parts[0]  # one tower made them all
        self._width, self._dtype = first.width, getattr(torch, first.dtype)
        self._rows = StoredRows(store, table.folder, [part.table for part in table.parts], HELD_BYTES)
        digests = chain.from_iterable(self._rows.column(at, "frames").to_pylist() for at in range(len(table.parts)))
        self._numbers = {digest: number for number, digest in enumerate(digests)}

    def __call__(self, frames_THWC: NDArray[np.uint8]) -> Tensor | None:
        """The features of a clip, [K, D]; None for frames that are not those of a clip of the table."""
        number = self._numbers.get(frames_digest(frames_THWC))
        if number is None:
            return None
        content = self._rows.row(number)["features"][0].as_buffer()
        # Copied: what torch holds must be writable.
        return torch.frombuffer(bytearray(content), dtype=self._dtype).reshape(-1, self._width)
