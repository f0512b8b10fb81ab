"""Partial checkpointing: which layers run twice, and that gradients do not depend on it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from swim import models
from swim.models import tiny
from swim.recipe import HubModel, TinyModel
from swim.recipes import named


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint")
    models.save(*tiny.build(TinyModel()), path)
    return path


def spec(folder: Path, **fields: Any) -> HubModel:
    return HubModel(path=str(folder), dtype="float32", layers=4, cell_px=8, **fields)


def step(model: Any) -> tuple[list[int], list[torch.Tensor]]:
    """(forward passes of each layer, gradients) of one training step."""
    runs = [0] * 4

    def count(layer: int) -> None:
        runs[layer] += 1

    for number, layer in enumerate(model.get_decoder().layers):
        layer.self_attn.register_forward_pre_hook(lambda *_, number=number: count(number))
    model.train()(input_ids=torch.arange(10, 30)[None]).logits.square().sum().backward()
    return runs, [p.grad for p in model.parameters() if p.requires_grad and p.grad is not None]


def test_the_last_layers_keep_their_activations(folder: Path) -> None:
    runs, gradients = step(models.build(spec(folder))[0])
    assert runs == [2, 2, 2, 2]
    partial_runs, partial_gradients = step(models.build(spec(folder, unchecked_layers=3))[0])
    assert partial_runs == [2, 1, 1, 1]
    assert len(gradients) > 40
    assert all(torch.equal(a, b) for a, b in zip(gradients, partial_gradients, strict=True))
    assert step(models.build(spec(folder, unchecked_layers=4))[0])[0] == [1, 1, 1, 1]


def test_more_layers_than_are_checkpointed_are_refused(folder: Path) -> None:
    with pytest.raises(ValidationError, match="at most the 4 layers"):
        spec(folder, unchecked_layers=5)
    with pytest.raises(ValidationError, match=r"only with model\.gradient_checkpointing"):
        spec(folder, unchecked_layers=1, gradient_checkpointing=False)


def test_a_base_may_have_kept_other_activations() -> None:
    base = named("qwen2.5-vl-7b")
    assert base.override({"init": base, "model.unchecked_layers": 8}).model.unchecked_layers == 8
