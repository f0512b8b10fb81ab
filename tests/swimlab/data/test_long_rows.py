"""Rows of more tokens than the model has positions: set aside with the reason, counted, and refused before training.

The case is of hiyouga/LlamaFactory#7376, modelscope/ms-swift#5292 and KD-TAO/OmniZip#1: an answer of 30,000 words,
150,955 tokens on a model of 4,096 positions, trained on without a word.
"""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pipeline_kit import FRAMES, contents, in_process, read, row, videos, written

import nano
from swim.recipe import HubModel, NLReferFiles, TinyModel
from swimlab import Arm
from swimlab.__main__ import main
from swimlab.cli import experiment_file
from swimlab.data import preparation
from swimlab.data.preparation import PipelineError, load_prepared, load_quarantine, prepare
from swimlab.experiment.run_settings import Settings
from swimlab.identity import naming
from swimlab.store.sweep_store import SweepStore

__all__ = ["videos"]

GOOD = [row(f"r{i}", f"{i % 3}.mp4") for i in range(4)]


def long_row(words: int) -> dict[str, Any]:
    return row("long", "0.mp4") | {
        "conversations": [{"from": "human", "value": "The <ins>dog</ins>?"}, {"from": "gpt", "value": "zq " * words}]
    }


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparation, "_decoded", in_process)


def files(videos: Path, folder: Path, rows: list[Any]) -> NLReferFiles:
    return NLReferFiles(annotations=(written(folder, "a.jsonl", rows),), videos=str(videos), frames=FRAMES)


@pytest.mark.usefixtures("without_ray")
def test_a_row_that_is_too_long_is_set_aside_with_the_reason(videos: Path, tmp_path: Path) -> None:
    data = files(videos, tmp_path, [*GOOD, long_row(2500)])
    store = SweepStore(str(tmp_path / "store"))
    prepared = prepare(data, "f", store, tmp_path / "scratch", model=TinyModel())
    assert [clip.key for clip in read(store, prepared, "train")] == [f"a:{i:08d}:r{i}" for i in range(4)]
    (rejected,) = load_quarantine(store, prepared).to_pylist()
    assert (Path(rejected["file"]).name, rejected["row"], rejected["field"]) == ("a.jsonl", 4, "conversations")
    assert rejected["reason"].endswith("of the text and 128 of the video: more than the model's 4096 positions")
    assert "split the turns" in rejected["hint"]
    assert not rejected["machine"]
    assert list(prepared.quarantined.values()) == [1]


@pytest.mark.usefixtures("without_ray")
def test_rows_that_fit_are_the_same_bytes_with_and_without_a_limit(videos: Path, tmp_path: Path) -> None:
    """Also rows that are long enough to be counted, and fit."""
    data = files(videos, tmp_path, [*GOOD, long_row(1300)])
    stores = [SweepStore(str(tmp_path / name)) for name in ("without", "with")]
    for store, model in zip(stores, (None, TinyModel()), strict=True):
        assert prepare(data, "f", store, tmp_path / "scratch", model=model).rows("train") == 5
    assert contents(stores[0]) == contents(stores[1])


@pytest.mark.usefixtures("without_ray")
def test_the_limit_is_that_of_a_checkpoint(videos: Path, tmp_path: Path) -> None:
    from swim import models

    model, tokenizer = models.build(TinyModel())
    model.config.get_text_config().max_position_embeddings = 200
    models.save(model, tokenizer, tmp_path / "checkpoint")
    hub = HubModel(path=str(tmp_path / "checkpoint"), layers=4, cell_px=8)
    data = files(videos, tmp_path, [*GOOD, long_row(100)])
    store = SweepStore(str(tmp_path / "store"))
    prepared = prepare(data, "f", store, tmp_path / "scratch", model=hub)
    (rejected,) = load_quarantine(store, prepared).to_pylist()
    assert rejected["row"] == 4
    assert "200 positions" in rejected["reason"]


@pytest.mark.usefixtures("without_ray")
def test_no_row_is_set_aside_for_a_tokenizer_that_cannot_be_read(videos: Path, tmp_path: Path) -> None:
    config = {"model_type": "qwen2_5_vl", "text_config": {"max_position_embeddings": 200, "num_hidden_layers": 28}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(OSError, match="tokenizer"):
        prepare(
            files(videos, tmp_path, [*GOOD, long_row(100)]),
            "f",
            SweepStore(str(tmp_path / "store")),
            tmp_path / "scratch",
            model=HubModel(path=str(tmp_path)),
        )


@pytest.mark.usefixtures("without_ray")
def test_a_checkpoint_that_cannot_be_read_ends_preparation(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(PipelineError, match="the model, whose positions limit the rows, cannot be read"):
        prepare(
            files(videos, tmp_path, GOOD),
            "f",
            SweepStore(str(tmp_path / "store")),
            tmp_path / "scratch",
            model=HubModel(path=str(tmp_path / "empty")),
        )


def test_clips_are_named_by_the_model_whose_limit_they_keep(videos: Path, tmp_path: Path) -> None:
    data = files(videos, tmp_path, GOOD)
    tiny, first, second = TinyModel(), HubModel(path="a"), HubModel(path="a", revision="1")
    names = [naming.clips_fingerprint(data, "d", model) for model in (tiny, first, second)]
    assert len(set(names)) == 3
    assert naming.clips_fingerprint(data, "d", TinyModel(seed=1)) == names[0]
    assert naming.clips_fingerprint(data, "d", json.loads(first.model_dump_json())) == names[1]
    changed = first.model_copy(update={"dtype": "float32"})
    assert naming.clips_fingerprint(data, "d", changed) == names[1]


@pytest.mark.ray
@pytest.mark.timeout(120)
def test_the_doctor_and_a_run_set_the_row_aside(two_cpus: None, videos: Path, tmp_path: Path) -> None:
    data = files(videos, tmp_path, [*GOOD, long_row(2500)])
    store, cache = SweepStore(str(tmp_path / "store")), tmp_path / "cache"
    places = [f"--videos={videos}", f"--store={store.uri}", f"--cache={cache}"]
    with pytest.raises(SystemExit) as ended:
        main(["doctor", *data.annotations, *places, "--recipe=tiny-files", "--name=long", "--decode=0"])
    assert ended.value.code == 0
    report = tmp_path / "store/reports/doctor/long"
    (broken,) = [entry for part in report.glob("broken-*.parquet") for entry in pq.read_table(part).to_pylist()]
    summary = json.loads((report / "summary.json").read_text())
    assert summary["totals"]["text tokens"] > 0
    assert summary["positions"] == 4096

    recipe = nano.recipe(steps=2, base=False).override({"data": data})
    settings = Settings(store=store.uri, cache=cache)
    with pytest.raises(SystemExit) as ended:
        experiment_file.run([nano.ablation(seeds=(0,), arms=(Arm("a"),))], settings, lambda: recipe)
    assert ended.value.code == 0
    ((_, record),) = store.records().items()
    assert record.metrics["train.clips"] == 4
    name = naming.Identifier(cache).identify(recipe).clips_fingerprint
    prepared = load_prepared(store, name)
    assert prepared is not None
    (rejected,) = load_quarantine(store, prepared).to_pylist()
    assert (broken["row"], broken["field"]) == (rejected["row"], rejected["field"]) == (4, "conversations")
    for listed in (broken, rejected):
        assert "more than the model's 4096 positions" in listed["reason"]
