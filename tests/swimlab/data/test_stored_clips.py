"""Stored clips: the same clip whatever the way it is read, and no damaged one ever."""

from pathlib import Path

import pytest
from clip_tables import build

from swim import recipes
from swimlab.data import prepared_clips
from swimlab.data.prepared_clips import PipelineError, StoredClips, load_index
from swimlab.data.row_tokens import row_tokens
from swimlab.experiment.training_forecast import policy_tokens
from swimlab.store.sweep_store import SweepStore


def test_the_tokens_of_a_row_are_measured_on_prepared_clips(tmp_path: Path) -> None:
    store = SweepStore(str(tmp_path))
    recipe = recipes.qwen2_5_vl_3b_lora()
    assert row_tokens(store, recipe, "f") == policy_tokens(recipe)
    prepared, made = build(store, 56)
    store.put_create_only(f"{prepared_clips.folder('f')}/manifest.json", prepared.to_json())
    rows = row_tokens(store, recipe, "f")
    assert (rows.visual, rows.longest_visual) == (4, 4)  # two frames of 56 × 56 px, 28 px a token
    turn = made[0].turns[0]
    assert rows.longest_text == len(turn.human) // 4 + len(turn.gpt) // 4 + 30
    assert rows.answer == len(turn.gpt) // 4
    assert rows.basis.startswith("of 9 prepared clips")


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> SweepStore:
    return SweepStore(str(tmp_path / "store") if request.param == "folder" else request.getfixturevalue("s3_store_uri"))


@pytest.mark.parametrize("side", [8, 640])  # several clips in a row group; one clip a row group
def test_in_memory_or_from_the_store_it_is_the_same_clip(
    store: SweepStore, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared, made = build(store, side)
    order = [8, 0, 3, 3, 1, 7, 2, 8]
    held = list(StoredClips(store, prepared, "train").read(order))
    monkeypatch.setattr(StoredClips, "HELD_BYTES", 1)
    lazy = StoredClips(store, prepared, "held_out")
    for reading in (held, list(lazy.read(order)), list(lazy.read(iter(order)))):
        assert [c.to_row() for c in reading] == [made[i].to_row() for i in order]
    assert lazy.keys == [c.key for c in made]
    assert prepared.rows("held_out") == load_index(store, prepared, "held_out").num_rows == len(made)
    with pytest.raises(IndexError):
        list(lazy.read([9]))


def test_a_reader_that_stops_early_leaves_no_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    store = SweepStore(str(tmp_path / "store"))
    prepared, made = build(store, 8)
    monkeypatch.setattr(StoredClips, "HELD_BYTES", 1)
    reading = StoredClips(store, prepared, "train").read(range(9))
    assert next(reading).key == made[0].key
    reading.close()
    assert [t.name for t in threading.enumerate() if t.name.startswith("clips")] == []


@pytest.mark.fault(
    injection="a bit, the end or the whole of a shard is lost while trials read it",
    symptom="a trial trains on other pixels",
    expected="error names the folder to delete",
)
@pytest.mark.parametrize("held_bytes", [0, 2**30])
def test_damage_is_noticed_however_clips_are_read(
    tmp_path: Path, held_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SweepStore(str(tmp_path / "store"))
    prepared, made = build(store, 640)
    monkeypatch.setattr(StoredClips, "HELD_BYTES", held_bytes)
    path = tmp_path / "store" / "clips" / "f" / prepared.splits["train"][2].name
    good = path.read_bytes()
    path.chmod(0o644)
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 1  # inside the pixels of the third of five clips
    renamed = bytearray(good)
    renamed[good.rindex(b"turns")] ^= 1  # a column's name, which no page's checksum covers
    for bad in (bytes(flipped), bytes(renamed), good[:-1], good + b"x"):
        path.write_bytes(bad)
        with pytest.raises(PipelineError, match=r"not what was committed: delete clips/f/"):
            list(StoredClips(store, prepared, "train").read(range(9)))
    path.unlink()
    with pytest.raises((PipelineError, FileNotFoundError)):
        list(StoredClips(store, prepared, "train").read(range(9)))
    path.write_bytes(good)
    assert [c.key for c in StoredClips(store, prepared, "train").read([8])] == [made[8].key]
