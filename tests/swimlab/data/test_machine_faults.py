"""What a machine has too little memory or time for is tried again, alone and later, before it is a row's fault."""

import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pipeline_kit import FRAMES, contents, in_process, row, videos, written

from swim.data.video.decoder import Decoder
from swim.recipe import NLReferFiles
from swimlab.data import decode_part, preparation
from swimlab.data.decode_part import DecodeJob, DecodeResult
from swimlab.data.preparation import PipelineError, load_prepared, load_quarantine, prepare
from swimlab.store.sweep_store import SweepStore

__all__ = ["videos"]


class Machine:
    """Kills or delays the decoders of some videos; `tries` counts the requests for each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *videos: str) -> None:
        self.videos, self.tries = set(videos), Counter[str]()
        monkeypatch.setattr(Decoder, "clip", self._clip(Decoder.clip))
        monkeypatch.setattr(preparation, "_decoded", in_process)
        monkeypatch.setattr(preparation, "ALONE_AFTER_S", (0.0, 0.0))

    def _clip(self, real: Any) -> Any:
        def clip(decoder: Decoder, sample: Any) -> Any:
            self.tries[sample.video] += 1
            if sample.video not in self.videos:
                return real(decoder, sample)
            with Decoder(decoder.root, decoder.policy, command=KILLED_CHILD) as killed:
                return real(killed, sample)

        return clip


# It is ready, and killed at the first request.
KILLED_CHILD = (
    sys.executable,
    "-ISc",
    """import os, struct
ready = b'{"ready": true}'
os.write(1, struct.pack(">I", len(ready)) + ready)
os.read(0, 1)
os.kill(os.getpid(), 9)""",
)


@pytest.fixture
def three(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[SweepStore, NLReferFiles]:
    """Three rows in two parts."""
    monkeypatch.setattr(preparation, "MAX_ROWS_PER_PART", 2)
    rows = [row(f"r{i}", f"{i}.mp4") for i in range(3)]
    data = NLReferFiles(annotations=(written(tmp_path, "a.jsonl", rows),), videos=str(videos), frames=FRAMES)
    return SweepStore(str(tmp_path / "store")), data


@pytest.mark.fault(
    injection="a decoder is SIGKILLed while others decode", symptom="a good row is left out for ever",
    expected="right: decoded again alone", reference="F7",
)  # fmt: skip
def test_a_killed_decoders_part_is_decoded_again_alone(
    three: tuple[SweepStore, NLReferFiles], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, data = three
    machine = Machine(monkeypatch, "1.mp4")
    together: list[int] = []

    def decoded(jobs: list[DecodeJob], *others: Any) -> Iterator[DecodeResult]:
        together.append(len(jobs))
        yield from in_process(jobs, *others)
        machine.videos.clear()

    monkeypatch.setattr(preparation, "_decoded", decoded)
    prepared = prepare(data, "f", store, tmp_path / "scratch")
    assert (prepared.rows("train"), prepared.quarantined) == (3, {})
    assert together == [2, 1]
    assert machine.tries == {"0.mp4": 2, "1.mp4": 2, "2.mp4": 1}
    calm = SweepStore(str(tmp_path / "calm"))
    assert prepare(data, "f", calm, tmp_path / "scratch") == prepared
    assert contents(calm) == contents(store)


@pytest.mark.fault(
    injection="a decoder is SIGKILLed twice, alone too", symptom="a data set without the row is committed for good",
    expected="error; the next preparation tries again", reference="F7",
)  # fmt: skip
def test_no_trial_gets_a_data_set_that_lacks_rows_for_the_machines_sake(
    three: tuple[SweepStore, NLReferFiles], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, data = three
    machine = Machine(monkeypatch, "1.mp4")
    with pytest.raises(PipelineError, match=r"1 rows could not be decoded.*a\.jsonl row 1: .*run the same") as caught:
        prepare(data, "f", store, tmp_path / "scratch")
    assert load_prepared(store, "f") is None
    quarantine = store.read(str(caught.value).partition(f"{store.uri}/")[2])
    (entry,) = pq.read_table(pa.BufferReader(quarantine)).to_pylist()
    assert (entry["row"], entry["machine"]) == (1, True)
    with pytest.raises(PipelineError, match="row 1"):  # at once again: the same machine
        prepare(data, "f", store, tmp_path / "scratch")
    machine.videos.clear()
    before = machine.tries["2.mp4"]
    prepared = prepare(data, "f", store, tmp_path / "scratch")
    assert (prepared.rows("train"), prepared.quarantine.rows) == (3, 0)
    assert machine.tries["2.mp4"] == before  # what was finished is kept


def test_a_fault_that_stays_is_the_files(
    three: tuple[SweepStore, NLReferFiles], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, data = three
    Machine(monkeypatch, "1.mp4")
    with pytest.raises(PipelineError, match="row 1"):
        prepare(data, "f", store, tmp_path / "scratch")
    later = time.time() + decode_part.SETTLED_AFTER_S + 1
    monkeypatch.setattr(decode_part.time, "time", lambda: later)
    prepared = prepare(data, "f", store, tmp_path / "scratch")
    assert (prepared.rows("train"), prepared.quarantined) == (2, {"video: the decoder was killed twice": 1})
    (entry,) = load_quarantine(store, prepared).to_pylist()
    assert (entry["row"], entry["machine"]) == (1, False)
