"""A model of another family goes through the platform as any other: prepared, trained, evaluated, stored."""

from pathlib import Path

import pytest
from family_checkpoints import checkpoint
from transformers import AutoModelForImageTextToText, SmolVLMForConditionalGeneration

import nano
from swimlab import Arm
from swimlab.cli import experiment_file
from swimlab.experiment.run_settings import Settings
from swimlab.store.sweep_store import SweepStore


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(180)
def test_smolvlm_is_trained_evaluated_and_stored(two_cpus: None, tmp_path: Path) -> None:
    model = checkpoint("smolvlm", tmp_path / "base")
    recipe = nano.recipe(steps=2, base=False, model=model, **{"data.frames.cell_px": model.cell_px})
    store = SweepStore(str(tmp_path / "store"))
    settings = Settings(store=store.uri, cache=tmp_path / "cache", keep_checkpoints="all")
    with pytest.raises(SystemExit) as ended:
        experiment_file.run([nano.ablation(seeds=(0,), arms=(Arm("a"),))], settings, lambda: recipe)
    assert ended.value.code == 0
    ((trial_id, record),) = store.records().items()
    assert record.metrics["train.clips"] == 12
    (evaluation,) = store.evaluations().values()
    assert evaluation.metrics["attention_own.ap"] > 0
    folder = store.download(trial_id, "checkpoint/", tmp_path / "checkpoint")
    assert isinstance(AutoModelForImageTextToText.from_pretrained(folder), SmolVLMForConditionalGeneration)
