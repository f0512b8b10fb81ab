"""Clips → the micro-batches of each step, in memory that a device can copy from without waiting.

Which conversations share a forward pass changes rounding only: every loss is a sum over the batch ÷ its count.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import torch

from swim.data.encode import Batch, Encoded, Encoder, collate
from swim.data.positions import with_positions
from swim.data.types import Clip
from swim.recipe import HubModel, Recipe
from swim.supervision.forward_plan import plan_forward


def forward_size(recipe: Recipe, micro_batch: int | None, default: int) -> int:
    """Conversations a forward pass: as asked; else one of a hub model's (up to 12,288 visual tokens), or `default`."""
    return micro_batch or (1 if isinstance(recipe.model, HubModel) else default)


def within_budget(samples: list[Encoded], tokens: int) -> list[list[Encoded]]:
    """The samples in forward passes of at most `tokens` tokens, padding included, or of a single sample that is longer.

    Neighbours in the order of length share a pass, so that the tokens computed, plus `tokens` ÷ 8 for each pass, are
    fewest: 7B on an H200 takes 86 µs a token and 0.107 s, or 1,245 tokens, a pass (2,048 to 8,192 tokens). The longest
    come first: a lack of memory shows at once.
    """
    ordered = sorted(samples, key=lambda sample: len(sample.input_ids_L), reverse=True)
    # best[n]: (cost of the first n samples, where their last pass begins).
    best = [(0.0, 0)]
    for end in range(1, len(ordered) + 1):
        options = []
        for begin in range(end - 1, -1, -1):
            computed = len(ordered[begin].input_ids_L) * (end - begin)
            if computed > tokens and end - begin > 1:
                break
            options.append((best[begin][0] + computed + tokens / 8, begin))
        best.append(min(options))
    groups: list[list[Encoded]] = []
    end = len(ordered)
    while end:
        begin = best[end][1]
        groups.insert(0, ordered[begin:end])
        end = begin
    return groups


def step_batches(
    recipe: Recipe,
    clips: Iterator[Clip],
    encoder: Encoder,
    model: Any,
    *,
    steps: int,
    share: int,
    micro_batch: int | None = None,
    micro_tokens: int | None = None,
    device: torch.device | None = None,
) -> Generator[list[Batch]]:
    """The micro-batches of `steps` steps, `share` clips each, planned and (for a GPU) pinned. Of `model` only the
    config is read. Raises RuntimeError when the clips end early, and whatever reading and encoding raise."""
    on_gpu = device is not None and device.type == "cuda"
    if on_gpu and device is not None and device.index is not None:
        torch.cuda.set_device(device)  # of this thread: pinned memory is registered with one device
    for _ in range(steps):
        taken = list(islice(clips, share))
        if len(taken) < share:
            raise RuntimeError(f"the clips ended {share - len(taken)} short of the plan")
        samples = [encoder(clip) for clip in taken]
        if micro_tokens:
            groups = within_budget(samples, micro_tokens)
        else:
            size = forward_size(recipe, micro_batch, len(samples))
            groups = [samples[i : i + size] for i in range(0, len(samples), size)]
        batches = []
        for group in groups:
            batch = collate(group, encoder.tokenizer.pad_token_id)
            batch = replace(batch, tokens=with_positions(model.config, batch.tokens))
            plan = plan_forward(model, recipe.objective, batch.tokens, batch.labels_BL, batch.nouns)
            batch = replace(batch, plan=plan)
            batches.append(batch.pin_memory() if on_gpu else batch)
        yield batches
