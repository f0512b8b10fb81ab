"""Two ranks give what one gives, but for rounding, each with a copy of the model or with a share of it."""

import json
from dataclasses import replace

import pytest
import torch

from swim import models
from swim.evaluation.evaluate import evaluate
from swim.recipe import HubModel, Lora, Optim
from swim.train import Host, Trained, encoder_for, train


@pytest.fixture
def uneven(clips):
    """Between the ranks labels and maps differ in number, and one conversation has no mask at all."""
    found = [
        replace(clip, turns=clip.turns[:n], masks=clip.masks[: 2 * n])
        for clip, n in zip(clips, (1, 2, 3) * 2, strict=True)
    ]
    found[4] = replace(found[4], masks=())
    return found


@pytest.fixture
def full(nano):
    return nano.override({"optim": Optim(steps=10, batch=4, warmup_steps=2)})


@pytest.fixture
def adapted(nano, tmp_path):
    """bf16 weights, fp32 adapters, layers computed twice: what a large model is trained with."""
    models.save(*models.build(nano.model), tmp_path / "base")
    spec = HubModel(path=str(tmp_path / "base"), layers=3, cell_px=8, lora=Lora(rank=2, alpha=4))
    return nano.override({"model": spec})


def run(rank, folder, recipes, clips):
    """One of two processes; rank 0 writes curves, and what a sharded run ends with."""
    for name, recipe in recipes.items():
        told = []
        # Copies may make different numbers of forward passes.
        division = {"micro_tokens": 300} if name == "copies" else {"micro_batch": 1, "shard": True}
        host = Host(**division, on_step=lambda step, values, now, told=told: told.append(values))
        trained = train(recipe, clips, host=host)
        if rank == 0:
            (folder / f"{name}.json").write_text(json.dumps(told))
            torch.save(trained.model.state_dict(), folder / f"{name}.pt")
            (folder / f"{name}-scores.json").write_text(json.dumps(evaluate(recipe, trained, clips).metrics))
            models.save(trained.model, trained.tokenizer, folder / name)
        else:
            assert (trained.model is None) == host.shard


def test_two_ranks_of_unequal_clips_train_as_one(full, adapted, uneven, tmp_path, two_ranks):
    recipes = {"copies": full, "shares": full, "adapted": adapted}
    two_ranks(run, tmp_path, recipes, uneven)
    for name, recipe in recipes.items():
        alone = []
        trained = train(recipe, uneven, host=Host(on_step=lambda step, values, now, alone=alone: alone.append(values)))
        together = json.loads((tmp_path / f"{name}.json").read_text())
        assert len(alone) == len(together) == recipe.optim.steps
        exact = name != "adapted"  # bf16 rounds otherwise in a batch of four than in four of one
        assert together[0] == pytest.approx(alone[0], rel=1e-5 if exact else 1e-2)
        for one, two in zip(alone, together, strict=True):
            assert two["loss"] == pytest.approx(one["loss"], rel=1e-4 if exact else 1e-3)
        ours, theirs = torch.load(tmp_path / f"{name}.pt"), trained.model.state_dict()
        assert ours.keys() == theirs.keys()
        for key, weight in theirs.items():
            assert type(ours[key]) is torch.Tensor
            assert ours[key].dtype == weight.dtype
            # A bias begins at 0, and Adam makes whole steps of the rounding in its small gradients: 1.3e-4 was seen.
            assert (ours[key] - weight).norm() <= (1e-3 if key.endswith("bias") else 1e-4) * weight.norm(), key

    # What rank 0 scored is what it stored.
    model, tokenizer = models.build(full.model, tmp_path / "shares")
    stored = Trained(model.eval(), tokenizer, encoder_for(full, model, tokenizer), [])
    assert evaluate(full, stored, uneven).metrics == json.loads((tmp_path / "shares-scores.json").read_text())


def test_a_batch_that_does_not_divide_over_the_ranks_is_refused(nano, clips, monkeypatch):
    monkeypatch.setattr("swim.parallel.ranks", lambda: (0, 3))
    with pytest.raises(ValueError, match=r"optim.batch 4 does not divide over 3 workers"):
        train(nano, clips)
