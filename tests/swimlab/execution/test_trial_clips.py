"""A reused process keeps the clips of its last data set, and of no other."""

from types import SimpleNamespace

import pytest
from clip_tables import build

from swimlab.execution import trial_clips
from swimlab.execution.trial_clips import reader
from swimlab.store.sweep_store import SweepStore


def prepared_store(folder):
    store = SweepStore(str(folder))
    prepared, clips = build(store, 8)
    store.put_create_only("clips/f/manifest.json", prepared.to_json())
    one = SimpleNamespace(clips_fingerprint="f")
    spec = SimpleNamespace(clips_fingerprint="f", clips=lambda split: one, recipe=SimpleNamespace(data=None))
    return store, spec, clips


def test_the_next_trial_finds_the_clips_parsed(tmp_path):
    store, spec, clips = prepared_store(tmp_path / "a")
    first = list(reader(spec, store, 0)("train").read(range(9)))
    assert [clip.to_row() for clip in first] == [clip.to_row() for clip in clips]
    again = list(reader(spec, SweepStore(store.uri), 0)("train").read(range(9)))
    assert all(a is b for a, b in zip(first, again, strict=True))
    other, spec, _ = prepared_store(tmp_path / "b")
    for split in ("held_out", "train"):
        assert next(reader(spec, other, 0)(split).read([0])) is not first[0]
    assert next(reader(spec, store, 0)("train").read([0])) is not first[0]


def test_a_large_data_set_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(trial_clips, "KEPT_BYTES", 1)
    store, spec, _ = prepared_store(tmp_path / "a")
    readings = [reader(spec, store, 0)("train") for _ in range(2)]
    assert readings[0] is not readings[1]
    clips = reader(spec, store, 0)
    assert next(clips("held_out").read([0])) is next(clips("held_out").read([0]))  # nor read again for the next suite
    with pytest.raises(FileNotFoundError, match="prepare it first"):
        reader(spec, SweepStore(str(tmp_path / "empty")), 0)
