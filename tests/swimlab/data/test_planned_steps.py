"""Steps of epochs, counted from prepared clips where there are any."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

import nano
from swim import recipes
from swim.data.clips import subset
from swim.recipe import NLReferFiles, Recipe, ShapesWorld, Source
from swimlab.data import prepared_clips
from swimlab.data.planned_steps import PlannedSteps
from swimlab.data.prepared_clips import PreparedData
from swimlab.experiment.trial_spec import TrialSpec
from swimlab.store.sweep_store import SweepStore


def spec(recipe: Recipe) -> TrialSpec:
    names = dict.fromkeys(("trial_id", "arm", "code_fingerprint", "data_fingerprint", "clips_fingerprint"), "f")
    return TrialSpec(**names, seed=0, recipe=recipe, init_trial_id=None)


def prepare(store: SweepStore, keys: list[str], stored: bool) -> None:
    folder = prepared_clips.folder("f", stored=stored)

    def put(rows, schema, stem):
        table, content = prepared_clips.encode_table(pa.Table.from_pylist(rows, schema=schema), stem)
        store.put_create_only(f"{folder}/{table.name}", content)
        return table

    where = {"file": "a.json", "row": 0, "first": 0, "rows": 9, "start": 0, "end": 9, "encoding": "utf-8"}
    prepared = PreparedData(
        fingerprint="f",
        stored=stored,
        splits={},
        index={"train": put([{"key": key} | where for key in keys], prepared_clips.INDEX_SCHEMA, "train-index")},
        held_out="train",
        quarantine=put([], prepared_clips.QUARANTINE_SCHEMA, "quarantine"),
        quarantined={},
    )
    store.put_create_only(f"{folder}/manifest.json", prepared.to_json())


@pytest.fixture
def own(tmp_path: Path) -> Recipe:
    """Three epochs, four a step, of 20 rows in a file and a quarter of 40 in another."""
    for name, rows in (("a.json", 20), ("b.jsonl", 40)):
        lines = [json.dumps({"id": str(i)}) for i in range(rows)]
        (tmp_path / name).write_text(f"[{','.join(lines)}]" if name == "a.json" else "\n".join(lines))
    data = NLReferFiles(
        annotations=(str(tmp_path / "a.json"), str(tmp_path / "b.jsonl")),
        videos=".",
        sources=(Source(file="b.jsonl", weight=0.25),),
        frames=recipes.tiny_files().data.frames,
    )
    return nano.recipe(base=False, data=data, **{"optim.epochs": 3})


@pytest.mark.parametrize("stored", [True, False])
def test_rows_are_counted_in_files_until_the_clips_are_there(own: Recipe, tmp_path: Path, stored: bool) -> None:
    store = SweepStore(str(tmp_path / "store"))
    count = PlannedSteps(store, tmp_path / "cache").of(spec(own))
    assert (count.recipe.optim.steps, count.text, count.exact) == (23, "≈ 23", False)  # 3 · (20 + 10) ÷ 4 = 22.5
    assert count.reason == "23: 3 epochs of 30 rows, 4 a step, counted before any row is set aside"
    half = PlannedSteps(store, tmp_path / "cache").of(spec(own.override({"data.fraction": 0.5})))
    assert half.recipe.optim.steps == 12

    # Five rows of the first file cannot be used.
    keys = [f"a:{i:08d}:{i}" for i in range(5, 20)] + [f"b:{i:08d}:{i}" for i in range(40)]
    prepare(store, keys, stored)
    counting = PlannedSteps(store, tmp_path / "cache")
    count = counting.of(spec(own))
    assert (count.text, count.exact) == ("19", True)  # 3 · (15 + 10) ÷ 4 = 18.75
    part = counting.of(spec(own.override({"data.fraction": 0.5, "data.sources": ()})))
    assert part.reason == f"{part.text}: 3 epochs of {len(subset(keys, 0.5))} rows, 4 a step"


def test_steps_that_are_given_are_not_counted(tmp_path: Path) -> None:
    counting = PlannedSteps(SweepStore(str(tmp_path / "store")), tmp_path / "cache")
    missing = NLReferFiles(annotations=("no.json",), videos=".", frames=recipes.tiny_files().data.frames)
    count = counting.of(spec(nano.recipe(base=False, data=missing)))
    assert (count.text, count.reason) == ("4", "")
    drawn = nano.recipe(base=False, data=ShapesWorld(clips=12, held_out=4), **{"optim.epochs": 1})
    assert counting.of(spec(drawn)).text == "3"
    assert counting.of(spec(drawn.override({"data.fraction": 0.5}))).text == "≈ 2"


def test_a_file_is_counted_again_when_it_changes(own: Recipe, tmp_path: Path) -> None:
    counting = PlannedSteps(SweepStore(str(tmp_path / "store")), tmp_path / "cache")
    assert counting.of(spec(own)).text == "≈ 23"
    (tmp_path / "a.json").write_text(json.dumps([{"id": "only"}]))
    assert counting.of(spec(own)).text == "≈ 9"  # 3 · (1 + 10) ÷ 4 = 8.25
