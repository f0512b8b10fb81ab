"""Trains a recipe again and writes down its curve: a script that `execution.replay` runs with `swim` as it was then.

The first `swim` on the path is the source that the trial ran, unpacked from the store. That archive holds what the
trial needed and nothing else, so this file imports no swimlab (today's would look for today's swim), and it asks of the
archived `swim` only what it offers. Curve lines go to a descriptor of their own: libraries print where they like.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

OPEN_FILES = 16
_KEPT_GROUPS = 4


class PartClips:
    """The clips of a split out of their Parquet parts, by number. Raises SystemExit for a part that was altered."""

    def __init__(self, parts: list[dict[str, Any]], keys: list[str], *, hold: bool) -> None:
        self.keys = keys
        self._parts, self._hold = parts, hold
        self._ends = list(accumulate(part["rows"] for part in parts))
        self._file = lru_cache(None if hold else OPEN_FILES)(self._opened)
        self._group = lru_cache(None if hold else _KEPT_GROUPS)(self._read_group)

    def read(self, order: Iterable[int]) -> Iterator[Any]:
        """The clips of these numbers, one after another."""
        return (self._clip(number) for number in order)

    def _clip(self, number: int) -> Any:
        from swim.data.types import Clip

        part = next(i for i, end in enumerate(self._ends) if number < end)
        row = number - (self._ends[part] - self._parts[part]["rows"])
        file = self._file(part)
        group = 0
        while row >= (rows := file.metadata.row_group(group).num_rows):
            row, group = row - rows, group + 1
        clip_row = self._group(part, group).slice(row, 1)
        plain = clip_row.drop_columns(["frames"]).to_pylist()[0]
        return Clip.from_row(plain | {"frames": clip_row["frames"][0].as_buffer()})

    def _read_group(self, part: int, group: int) -> pa.Table:
        return self._file(part).read_row_group(group)

    def _opened(self, part: int) -> pq.ParquetFile:
        described = self._parts[part]
        if not self._hold:
            return pq.ParquetFile(fsspec.open(described["uri"], "rb").open(), page_checksum_verification=True)
        with fsspec.open(described["uri"], "rb") as file:
            content = file.read()
        if hashlib.sha256(content).hexdigest() != described["sha256"]:
            raise SystemExit(f"{described['uri']} is not what was committed; delete its folder and run the trial again")
        return pq.ParquetFile(pa.BufferReader(content))


def main(job: dict[str, Any]) -> None:
    """Writes one JSON line for the machine, then one a step: {"step", "values"}; ends after `steps`."""
    import torch

    import swim
    from swim.recipe import Recipe
    from swim.train import Host, train

    if not Path(swim.__file__).resolve().is_relative_to(Path(job["source"]).resolve()):
        raise SystemExit(f"swim comes from {swim.__file__}, not from the stored source: unset what puts it first")
    hooks = {field.name for field in dataclasses.fields(Host)}
    if "on_step" not in hooks:
        raise SystemExit("the stored source offers no look at single steps (Host.on_step): it cannot be replayed")
    cuda = job["device"] != "cpu" and torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    with os.fdopen(job["descriptor"], "w") as out:

        def say(line: dict[str, Any]) -> None:
            out.write(json.dumps(line) + "\n")
            out.flush()

        def on_step(step: int, values: dict[str, float], *_: Any) -> None:
            say({"step": step, "values": values})
            if step >= job["steps"]:
                raise SystemExit(0)

        say({"device": torch.cuda.get_device_name(device) if cuda else "cpu"})
        offered = {"device": device, "micro_batch": job["micro_batch"], "on_step": on_step}
        train(
            Recipe.model_validate(job["recipe"]),
            PartClips(job["parts"], job["keys"], hold=job["hold"]),
            init_dir=Path(job["init_dir"]) if job["init_dir"] else None,
            host=Host(**{name: hook for name, hook in offered.items() if name in hooks}),
        )


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
