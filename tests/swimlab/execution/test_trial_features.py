"""Trials with the output of their vision tower out of the store: one table for all, and the same numbers."""

import io
import shutil
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest
import trained
from clip_tables import build
from rich.console import Console
from transformers import LlavaOnevisionConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLModel

import nano
from swim.data.synthetic.tokenizer import build_tokenizer
from swim.models import tiny
from swim.recipe import HubModel
from swimlab import Arm
from swimlab.data.feature_table import features_folder
from swimlab.data.prepared_clips import PipelineError
from swimlab.data.size_estimate import estimate_features
from swimlab.execution import trial, trial_features, workers
from swimlab.execution.session import RunSession
from swimlab.experiment.plan import make_plan
from swimlab.experiment.run_settings import Settings
from swimlab.experiment.stored_results import is_complete, stored_results
from swimlab.identity import naming
from swimlab.identity.source_closure import SOURCE_ROOT
from swimlab.store.sweep_store import SweepStore


def tables(store):
    return [path for path in store.list_files("clips") if path.endswith("manifest.json") and "/features/" in path]


def weights(record):
    return {name: file.sha256 for name, file in record.files.items() if name.startswith("checkpoint/")}


def test_one_table_a_data_set_serves_all_trials_and_changes_no_number(trained_store, tmp_path, monkeypatch):
    data_sets = {record.data_fingerprint for record in trained_store.records().values()}
    assert len(tables(trained_store)) == len(data_sets) == 2
    plain = SweepStore(str(tmp_path / "plain"))
    monkeypatch.setattr(trained, "SLOTS", replace(trained.SLOTS, features=False))
    monkeypatch.setattr(trained, "ARMS", trained.ARMS[:1])
    trained.run(plain, tmp_path / "cache")
    assert tables(plain) == []
    with_table, without = trained_store.records(), plain.records()
    assert len(without) == 2
    for trial_id, record in without.items():
        assert with_table[trial_id].metrics == record.metrics
        assert weights(with_table[trial_id]) == weights(record) != {}
    scores = [store.evaluations() for store in (trained_store, plain)]
    assert len(scores[1]) == 2
    for evaluation_id, evaluation in scores[1].items():
        assert scores[0][evaluation_id].metrics == evaluation.metrics


def test_where_there_is_a_table_no_trial_evaluation_or_film_runs_the_tower(trained_store, tmp_path, monkeypatch):
    shutil.copytree(trained_store.uri, tmp_path / "store")
    store = SweepStore(str(tmp_path / "store"))

    def refuse(*_, **__):
        raise AssertionError("the vision tower ran")

    monkeypatch.setattr(Qwen2_5_VLModel, "get_video_features", refuse)
    monkeypatch.setattr(workers, "TorchTrainer", trained.InProcess)
    settings = Settings(store=store.uri, cache=tmp_path / "cache")
    heavier = {"objective.mask_weight": 0.5}
    stricter = {"evaluation.attention.precision_threshold": 0.75}
    for arm, changes in ((Arm("heavier", heavier), {}), (trained.ARMS[0], stricter)):
        plan = make_plan(nano.ablation(seeds=(0,), arms=(arm,)), nano.recipe(**changes), settings)
        (spec,) = (spec for _, spec in plan.arms)
        trial.run_trial(spec, store.uri, trained.SLOTS, None, lambda values: None)
        assert is_complete(spec, stored_results(store, [spec]))
    assert len(store.records()) == len(trained_store.records()) + 1
    assert len(store.evaluations()) == len(trained_store.evaluations()) + 2


def test_the_code_that_runs_a_tower_names_its_tables(tmp_path):
    shutil.copytree(SOURCE_ROOT / "swim", tmp_path / "swim", ignore=shutil.ignore_patterns("__pycache__"))
    name = naming.tower_code_fingerprint(tmp_path)
    assert name == naming.tower_code_fingerprint()

    def edited(file):
        path = tmp_path / "swim" / file
        path.write_text(path.read_text() + "\nADDED = 1\n")
        return naming.tower_code_fingerprint(tmp_path)

    assert edited("supervision/losses/bce.py") == name
    assert edited("evaluation/metrics.py") == name
    assert edited("models/vision.py") != name


def test_tables_are_for_tiny_models_unless_asked_for():
    recipe = nano.recipe(base=False)
    hub = recipe.model_copy(update={"model": HubModel()})
    assert [trial_features.wanted(each, None) for each in (recipe, hub)] == [True, False]
    assert [trial_features.wanted(hub, asked) for asked in (True, False)] == [True, False]


def test_a_hub_models_table_is_estimated_and_refused_before_it_is_made(tmp_path):
    tiny.config(nano.SHAPE, build_tokenizer()).save_pretrained(tmp_path / "model")
    model = HubModel(path=str(tmp_path / "model"), dtype="float32", layers=3, cell_px=8)
    store = SweepStore(str(tmp_path / "store"))
    prepared, clips = build(store, 64)
    tokens = len(clips) * (64 // 8) ** 2  # of two frames each
    expected = estimate_features(prepared, model)
    assert expected.total_bytes == pytest.approx(tokens * nano.SHAPE.hidden * 4, rel=0.05)
    printed = io.StringIO()
    progress = SimpleNamespace(console=Console(file=printed))
    for limit_gb, outcome in ((1.0, nullcontext()), (1e-6, pytest.raises(PipelineError, match="leave out --features"))):
        settings = Settings(store=store.uri, cache=tmp_path / "cache", features=True, max_clips_gb=limit_gb)
        with outcome:
            RunSession(store, settings, trained.SLOTS, progress)._announce_features(prepared, model)
    assert printed.getvalue().count(f"features: {expected.text}") == 2
    # Nothing more is said, or refused, once the table has been begun.
    store.put_create_only(f"{features_folder(prepared.fingerprint)}/begun", b"")
    RunSession(store, settings, trained.SLOTS, progress)._announce_features(prepared, model)
    assert printed.getvalue().count("features:") == 2


def test_a_tower_whose_output_is_not_kept_is_refused_where_it_was_asked_for(tmp_path):
    LlavaOnevisionConfig().save_pretrained(tmp_path / "model")
    prepared, _ = build(SweepStore(str(tmp_path / "store")), 8)
    with pytest.raises(PipelineError, match="is llava_onevision: leave it out"):
        estimate_features(prepared, HubModel(path=str(tmp_path / "model")))
