"""The first gradient of a step, on one Train worker and on two."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

import nano
from swim.recipe import Recipe
from swimlab.data import preparation
from swimlab.store.sweep_store import SweepStore

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]


def _first_gradient(config: dict[str, Any]) -> list[float] | None:
    """In a Train worker: one step, then the (clipped) gradient of every trained weight."""
    import torch

    from swim.train import train
    from swimlab.data.prepared_clips import StoredClips, load_prepared

    store = SweepStore(config["store"])
    prepared = load_prepared(store, config["clips"])
    assert prepared is not None
    trained = train(Recipe.model_validate_json(config["recipe"]), StoredClips(store, prepared, "train"))
    gradients = [p.grad.flatten() for p in trained.model.parameters() if p.grad is not None]
    return torch.cat(gradients).tolist()


def test_the_first_gradient_of_two_workers_is_that_of_one(two_cpus: None, tmp_path: Path) -> None:
    recipe = nano.recipe(steps=1, base=False, **{"optim.clip_norm": 1e9})
    store = SweepStore(str(tmp_path / "store"))
    preparation.prepare(recipe.data, "first", store, tmp_path / "scratch")
    config = {"store": store.uri, "clips": "first", "recipe": recipe.model_dump_json()}
    one = np.array(_first_gradient(config))
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    result = TorchTrainer(
        _first_gradient,
        train_loop_config=config,
        scaling_config=ScalingConfig(num_workers=2),
        run_config=RunConfig(name="gradient", storage_path=str(tmp_path / "ray")),
    ).fit()
    two = np.array(result.return_value)
    assert one.size > 10_000
    assert np.linalg.norm(two - one) <= 1e-5 * np.linalg.norm(one)
