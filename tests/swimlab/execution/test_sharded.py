"""`--shard`: a trial's workers hold shares of the model; its name, its numbers and what is stored stay the same."""

import json
from pathlib import Path

import pytest

import nano
from swim import models
from swim.evaluation.evaluate import evaluate
from swim.supervision.objective import SupervisedModel
from swim.train import Trained, encoder_for, train
from swimlab import Arm
from swimlab.cli import experiment_file
from swimlab.data.prepared_clips import StoredClips, load_prepared
from swimlab.execution.start_weights import start_weights
from swimlab.experiment.run_settings import Settings
from swimlab.identity import naming
from swimlab.store import arrow_tables
from swimlab.store.sweep_store import SweepStore


def test_the_flag_and_the_variable(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert not experiment_file.settings(Settings, []).shard
    assert experiment_file.settings(Settings, ["--workers", "2", "--shard"]).shard
    monkeypatch.setenv("SWIMLAB_SHARD", "true")
    assert experiment_file.settings(Settings, ["--workers", "1"]).shard
    with pytest.raises(SystemExit, match="2"):
        experiment_file.settings(Settings, [])
    assert capsys.readouterr().err.startswith("--shard: Value error, a model is sharded over a trial's workers")


def run(settings: Settings) -> int:
    with pytest.raises(SystemExit) as ended:
        experiment_file.run(
            [nano.ablation(seeds=(0,), arms=(Arm("a"),))], settings, lambda: nano.recipe(steps=12, base=False)
        )
    return int(ended.value.code or 0)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(300)
def test_shares_change_only_rounding_and_the_whole_is_stored(two_cpus: None, tmp_path: Path) -> None:
    recipe, store, cache = nano.recipe(steps=12, base=False), SweepStore(str(tmp_path / "store")), tmp_path / "cache"
    assert run(Settings(store=store.uri, cache=cache, workers=2, shard=True)) == 0
    ((trial_id, record),) = store.records().items()
    assert trial_id == naming.trial_id(recipe, cache)
    assert record.provenance.numerics["world_size"] == 2
    # Gathered from shares, the start hashes as one that is whole.
    whole = SupervisedModel(models.build(recipe.model)[0], recipe.objective)
    assert record.start_weights == start_weights(whole)
    prepared = load_prepared(store, naming.clips_fingerprint(recipe.data, record.data_fingerprint, recipe.model))
    assert prepared is not None
    alone = {(p.step, p.name): p.value for p in train(recipe, StoredClips(store, prepared, "train")).curve}
    table = arrow_tables.from_parquet(store.open_file(trial_id, "metrics.parquet"))
    shared = {(p.step, p.name): p.value for p in arrow_tables.metrics_from_table(table)}
    assert shared[1, "grad_norm"] == pytest.approx(alone[1, "grad_norm"], rel=1e-5)
    for step in range(1, 11):
        assert shared[step, "loss"] == pytest.approx(alone[step, "loss"], rel=1e-4)

    # The group's checkpoint scored here gives the samples that its rank 0 stored.
    model, tokenizer = models.build(recipe.model, store.download(trial_id, "checkpoint/", tmp_path / "checkpoint"))
    trained = Trained(model.eval(), tokenizer, encoder_for(recipe, model, tokenizer), [])
    scores = evaluate(recipe, trained, StoredClips(store, prepared, "held_out")).scores
    assert arrow_tables.to_parquet(arrow_tables.samples_table(scores)) == store.open_file(trial_id, "samples.parquet")


@pytest.mark.ray
def test_the_flag_reaches_the_training(two_cpus: None, tmp_path: Path) -> None:
    """Copies and shares give the same numbers; without workers a sharded training cannot even begin."""
    unchecked = Settings.model_construct(store=str(tmp_path / "store"), cache=tmp_path / "cache", workers=0, shard=True)
    assert run(unchecked) == 1
    (failure,) = (tmp_path / "store/attempts").rglob("failure.json")
    assert "sharded over a process group, and there is none" in json.loads(failure.read_text())["error"]
