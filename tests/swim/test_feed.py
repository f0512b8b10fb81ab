"""The micro-batches of a step: whatever the division, the step is the same but for rounding; and nothing in it makes
the host wait for the device."""

import sys
import threading
from dataclasses import replace
from itertools import combinations, pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from swim.feed import step_batches, within_budget
from swim.optimizer import build_optimizer
from swim.recipe import Optim
from swim.supervision.objective import SupervisedModel
from swim.train import Host, optimiser_step, train

ATEN = torch.ops.aten


def sample(length):
    return SimpleNamespace(input_ids_L=torch.zeros(length))


def lengths(groups):
    return [[len(sample.input_ids_L) for sample in group] for group in groups]


def test_a_budget_counts_padding_and_longer_samples_go_alone():
    samples = [sample(n) for n in (3, 90, 10, 9, 4, 5)]
    assert lengths(within_budget(samples, 20)) == [[90], [10, 9], [5, 4, 3]]
    assert lengths(within_budget(samples, 1)) == [[n] for n in (90, 10, 9, 5, 4, 3)]
    # Nothing is padded to a length that costs more than a pass of its own, though it would fit.
    assert lengths(within_budget(samples, 8000)) == [[90, 10, 9, 5, 4, 3]]
    assert lengths(within_budget(samples, 1000)) == [[90], [10, 9, 5, 4, 3]]
    assert within_budget([], 10) == []


def test_passes_are_divided_at_the_least_cost():
    rng = np.random.default_rng(0)
    for _ in range(30):
        drawn = rng.integers(1, 40, 7).tolist()
        ordered, budget = sorted(drawn, reverse=True), int(rng.integers(20, 120))

        def cost(groups, budget=budget):
            return sum(group[0] * len(group) + budget / 8 for group in groups)

        cuts = (sorted(cut) for n in range(7) for cut in combinations(range(1, 7), n))
        divisions = [[ordered[a:b] for a, b in pairwise([0, *cut, 7])] for cut in cuts]
        allowed = [d for d in divisions if all(len(g) == 1 or g[0] * len(g) <= budget for g in d)]
        ours = lengths(within_budget([sample(n) for n in drawn], budget))
        assert ours in allowed
        assert cost(ours) == min(map(cost, allowed))


def longer(clips):
    """Conversations of one or two turns."""
    return [
        clip if i % 2 else replace(clip, turns=clip.turns[:1], masks=clip.masks[:2]) for i, clip in enumerate(clips)
    ]


def losses(trained):
    return [point.value for point in trained.curve if point.name == "loss"]


def test_micro_batches_by_tokens_change_rounding_only(nano, clips):
    clips = longer(clips)
    whole = train(nano, clips)
    split = train(nano, clips, host=Host(micro_tokens=400))
    assert losses(split) == pytest.approx(losses(whole), rel=1e-4)


@pytest.mark.parametrize("options", [{"micro_batch": 2}, {"shard": True}])
def test_a_budget_excludes_the_other_divisions(nano, clips, options):
    with pytest.raises(ValueError, match="micro_tokens goes with neither micro_batch"):
        train(nano, clips, host=Host(micro_tokens=400, **options))


def test_clips_that_end_early_or_break_stop_the_run_and_its_thread(nano, clips):
    class Short:
        keys = tuple(clip.key for clip in clips)

        def read(self, order):
            yield from clips[:5]

    class Broken(Short):
        def read(self, order):
            yield clips[0]
            raise OSError("unreadable")

    recipe = nano.override({"optim": Optim(steps=3, batch=4)})
    with pytest.raises(RuntimeError, match="the clips ended 3 short of the plan"):
        train(recipe, Short())
    with pytest.raises(OSError, match="unreadable"):
        train(recipe, Broken())
    assert "prefetch" not in [thread.name for thread in threading.enumerate()]


class _Waits(TorchDispatchMode):
    """What would wait for a GPU: values asked for by Python, and shapes that depend on values; asked by our code."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        masked = func is ATEN.index.Tensor and any(i is not None and i.dtype == torch.bool for i in args[1])
        if masked or func in (ATEN._local_scalar_dense.default, ATEN.nonzero.default):
            frame = sys._getframe()
            while frame and any(part in frame.f_code.co_filename for part in ("/torch/", "test_feed")):
                frame = frame.f_back
            if frame and "transformers" not in frame.f_code.co_filename:
                self.seen.append(f"{func} in {frame.f_code.co_filename}:{frame.f_lineno}")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("changes", [{}, {"objective.domain": "all-causal"}, {"objective.resize": "mask-to-grid"}])
def test_a_planned_step_asks_the_device_for_nothing_until_its_end(nano, model, clips, encoder, changes):
    recipe = nano.override(changes)
    module = SupervisedModel(model, recipe.objective).train()
    optimizer = build_optimizer(module.parameters(), recipe.optim)
    (batches,) = step_batches(recipe, iter(clips), encoder, model, steps=1, share=4, micro_batch=2)
    forward = module.forward
    with _Waits() as waits:
        losses = [forward(b.inputs, b.labels_BL, b.nouns, b.plan) for b in batches]
        sum(part.text_sum + part.mask_sum for part in losses).backward()
    assert waits.seen == []
    with _Waits() as unplanned:
        forward(batches[0].inputs, batches[0].labels_BL, batches[0].nouns)
    assert unplanned.seen
    again = [forward(b.inputs, b.labels_BL, b.nouns, b.plan) for b in batches]
    assert [part.mask_sum.item() for part in again] == [part.mask_sum.item() for part in losses]
    values = optimiser_step(module, optimizer, batches, recipe, 1.0)
    assert values["mask_loss"] > 0
