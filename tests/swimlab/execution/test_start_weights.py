"""The hash of what a trial starts from."""

import hashlib

import pytest
import torch
from torch import nn

from swim import models
from swim.models import tiny, vision
from swim.recipe import Objective, Recipe, TinyModel
from swim.supervision.objective import SupervisedModel
from swimlab.execution import start_weights as module
from swimlab.execution.start_weights import start_weights


class Wrapped(nn.Module):
    """As `SupervisedModel` holds its model."""

    def __init__(self, **tensors):
        super().__init__()
        self.model = nn.Module()
        for name, tensor in tensors.items():
            if name.startswith("b"):
                self.model.register_buffer(name, tensor, persistent=False)
            else:
                self.model.register_parameter(name, nn.Parameter(tensor, requires_grad=False))


def test_the_bytes_are_names_types_shapes_and_values():
    w, b = torch.tensor([[1.0, 2.0]]), torch.tensor(3, dtype=torch.int64)
    whole = hashlib.sha256(b"b torch.int64 []\n" + b.numpy().tobytes())
    whole.update(b"w torch.float32 [1, 2]\n" + w.numpy().tobytes())
    assert start_weights(Wrapped(w=w, b=b)) == whole.hexdigest()


@pytest.mark.parametrize(
    "other",
    [
        {"w": torch.tensor([[1.0, 2.0]]), "b": torch.tensor(4)},
        {"w": torch.tensor([[1.0], [2.0]]), "b": torch.tensor(3)},
        {"w": torch.tensor([[1.0, 2.0]], dtype=torch.bfloat16), "b": torch.tensor(3)},
        {"v": torch.tensor([[1.0, 2.0]]), "b": torch.tensor(3)},
        {"w": torch.tensor([[1.0, 2.0]])},
    ],
)
def test_anything_else_is_another_start(other):
    assert start_weights(Wrapped(w=torch.tensor([[1.0, 2.0]]), b=torch.tensor(3))) != start_weights(Wrapped(**other))


def test_pieces_hash_like_the_whole(monkeypatch):
    tensors = {"w": torch.arange(24.0).reshape(4, 6).T, "b": torch.zeros(3, dtype=torch.bfloat16)}
    whole = start_weights(Wrapped(**tensors))
    monkeypatch.setattr(module, "CHUNK_BYTES", 5)
    assert start_weights(Wrapped(**tensors)) == whole


def test_trials_on_one_base_start_alike_and_from_what_is_stored(trained_store, tmp_path):
    records = trained_store.records().values()
    (base,) = (record for record in records if record.init_trial_id is None)
    (started,) = {record.start_weights for record in records if record.init_trial_id}
    assert started != base.start_weights
    folder = trained_store.download(base.trial_id, "checkpoint/", tmp_path / "base")
    row = next(record for record in records if record.init_trial_id)
    recipe = Recipe.model_validate(row.recipe)
    model, _ = models.build(recipe.model, folder)
    assert start_weights(SupervisedModel(model, recipe.objective)) == started


def test_a_tower_padded_for_a_gpu_is_the_same_start():
    model, _ = tiny.build(TinyModel(hidden=32, layers=1, intermediate=32, vision_hidden=48, vision_depth=1))
    model.model.visual.requires_grad_(False)
    supervised = SupervisedModel(model, Objective(layers=(0,)))
    before = start_weights(supervised)
    assert vision.pad_mlps(model.model.visual) == 1
    assert start_weights(supervised) == before
