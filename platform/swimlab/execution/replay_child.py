"""Trains a recipe again and writes down its curve: a script that `execution.replay` runs with `swim` as it was then.

The first `swim` on the path is the source that the trial ran, unpacked from the store. That archive holds what the
trial needed and nothing else, so this file imports no swimlab (today's would look for today's swim), and it asks of the
archived `swim` only what it offers. Lines go to a descriptor of their own (libraries print where they like), and clips
come through another one: this process has no access to the store.
"""

from __future__ import annotations

import dataclasses
import json
import os
import struct
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import pyarrow as pa


class Channel:
    """Lines to the process that started this one, and its answers. Threads may share it."""

    def __init__(self, lines: TextIO, answers: BinaryIO) -> None:
        self._lines, self._answers = lines, answers
        self._lock = threading.Lock()

    def say(self, line: dict[str, Any]) -> None:
        """Writes a line."""
        with self._lock:
            self._write(line)

    def ask(self, line: dict[str, Any]) -> bytes:
        """Writes a line that is answered, and returns the answer."""
        with self._lock:
            self._write(line)
            (size,) = struct.unpack(">Q", self._answers.read(8))
            return self._answers.read(size)

    def _write(self, line: dict[str, Any]) -> None:
        self._lines.write(json.dumps(line) + "\n")
        self._lines.flush()


class AskedClips:
    """The clips of a split, by number: `swim.data.clips.Clips` of then and of now."""

    def __init__(self, channel: Channel, keys: list[str]) -> None:
        self.keys = keys
        self._channel = channel

    def read(self, order: Iterable[int]) -> Iterator[Any]:
        """The clips of these numbers, one after another."""
        return (self._clip(number) for number in order)

    def _clip(self, number: int) -> Any:
        from swim.data.types import Clip  # of the archive, which is on the path when this runs

        row = pa.ipc.open_stream(self._channel.ask({"clip": int(number)})).read_all()
        plain = row.drop_columns(["frames"]).to_pylist()[0]
        return Clip.from_row(plain | {"frames": row["frames"][0].as_buffer()})


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
    with os.fdopen(job["lines"], "w") as lines, os.fdopen(job["clips"], "rb") as answers:
        channel = Channel(lines, answers)

        def on_step(step: int, values: dict[str, float], *_: Any) -> None:
            channel.say({"step": step, "values": values})
            if step >= job["steps"]:
                raise SystemExit(0)

        channel.say({"device": torch.cuda.get_device_name(device) if cuda else "cpu"})
        offered = {"device": device, "micro_batch": job["micro_batch"], "on_step": on_step}
        train(
            Recipe.model_validate(job["recipe"]),
            AskedClips(channel, job["keys"]),
            init_dir=Path(job["init_dir"]) if job["init_dir"] else None,
            host=Host(**{name: hook for name, hook in offered.items() if name in hooks}),
        )


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
