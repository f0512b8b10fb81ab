"""The table of features: made once whoever makes it, and read as it was made or not at all."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from clip_tables import SIZES, build

from swimlab.data import feature_table
from swimlab.data.feature_table import StoredFeatures, load_features, make_features
from swimlab.data.prepared_clips import PipelineError
from swimlab.store.sweep_store import SweepStore

NAME = "n" * 20


class Tower:
    """Four visual tokens of three numbers; counts its clips, and ends at clip number `fails_at`."""

    def __init__(self, dtype=torch.float32, fails_at=None):
        self.dtype, self.fails_at, self.calls = dtype, fails_at, 0

    def __call__(self, frames_THWC):
        self.calls += 1
        if self.calls == self.fails_at:
            raise KeyboardInterrupt
        values = torch.from_numpy(frames_THWC[0, :4, 0].astype(np.float32) / 7)
        return values.to(self.dtype)


def written(store: SweepStore) -> dict[str, bytes]:
    return {path: store.read(path) for path in store.list_files("clips") if "/features/" in path}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("held_bytes", [2**30, 0])
def test_it_answers_what_the_tower_said_and_only_of_its_clips(store, dtype, held_bytes, monkeypatch):
    monkeypatch.setattr(feature_table, "HELD_BYTES", held_bytes)
    prepared, clips = build(store, 16)
    assert load_features(store, prepared, NAME) is None
    made = make_features(store, prepared, NAME, Tower(dtype), "a")
    assert load_features(store, prepared, NAME) == made
    assert load_features(store, prepared, "another") is None
    known = StoredFeatures(store, made)
    for clip in reversed(clips):
        features_KD = known(clip.frames_THWC)
        assert features_KD.dtype == dtype
        assert torch.equal(features_KD, Tower(dtype)(clip.frames_THWC))
    assert known(clips[0].frames_THWC[::-1]) is None
    assert known(clips[0].frames_THWC[:, :8]) is None


def test_an_interrupted_table_goes_on_where_it_stood(store):
    prepared, _ = build(store, 16)
    calm = SweepStore(f"{store.uri}-calm")
    same, _ = build(calm, 16)
    make_features(calm, same, NAME, Tower(), "z")
    first = Tower(fails_at=sum(SIZES) - 1)  # within the last part of any order but one of a single clip
    with pytest.raises(KeyboardInterrupt):
        make_features(store, prepared, NAME, first, "a")
    assert load_features(store, prepared, NAME) is None
    finished = sum(int(path.endswith("-done.json")) for path in written(store))
    assert finished >= 1
    second = Tower()
    make_features(store, prepared, NAME, second, "b")
    assert second.calls < sum(SIZES)
    assert written(store) == written(calm)
    third = Tower()
    make_features(store, prepared, NAME, third, "c")
    assert third.calls == 0


def test_two_makers_side_by_side_leave_one_table(tmp_path):
    store = SweepStore(str(tmp_path / "store"))
    prepared, _ = build(store, 16)
    gate, made = threading.Barrier(2), []

    def make(order):
        gate.wait()
        made.append(make_features(store, prepared, NAME, Tower(), order))

    threads = [threading.Thread(target=make, args=(order,)) for order in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made[0] == made[1] == load_features(store, prepared, NAME)
    assert len([path for path in written(store) if path.endswith(".parquet")]) == len(SIZES)


@pytest.mark.fault(
    injection="a bit of a table of features, of its manifest or of a receipt flips",
    symptom="a trial trains on other features",
    expected="error names the folder to delete",
)
@pytest.mark.parametrize("held_bytes", [2**30, 0])
def test_damage_is_noticed(tmp_path: Path, held_bytes, monkeypatch):
    monkeypatch.setattr(feature_table, "HELD_BYTES", held_bytes)
    store = SweepStore(str(tmp_path / "store"))
    prepared, clips = build(store, 640)

    def use():
        make_features(store, prepared, NAME, Tower(), "a")
        known = StoredFeatures(store, load_features(store, prepared, NAME))
        return [known(clip.frames_THWC) for clip in clips]

    assert len(use()) == len(clips)
    for path, content in written(store).items():
        file = tmp_path / "store" / path
        file.chmod(0o644)
        flipped = bytearray(content)
        flipped[len(content) // 2] ^= 1
        file.write_bytes(bytes(flipped))
        with pytest.raises(PipelineError, match=rf"delete clips/f/features/{NAME}/"):
            use()
        file.write_bytes(content)
    assert len(use()) == len(clips)


def test_a_table_of_another_place_is_refused(store):
    prepared, _ = build(store, 16)
    made = make_features(store, prepared, NAME, Tower(), "a")
    store.put_create_only(f"{feature_table.features_folder('f')}/copy/manifest.json", made.to_json())
    with pytest.raises(PipelineError, match="it is that of"):
        load_features(store, prepared, "copy")
