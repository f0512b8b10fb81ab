"""Whether the nouns of a prompt look at their objects: the attention of the very question that a model answers.

One reading for every model (`READOUT`, as in the suite `attention`), so that base and tuned model compare.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from swim.data.encode import Encoded, collate
from swim.evaluation import metrics
from swim.evaluation.noun_attention import attentions, of_questions, read
from swim.recipe import Readout
from swim.train import Trained

READOUT = Readout(layers="all")


def pointing(trained: Trained, prompts: Sequence[Encoded], device: torch.device) -> list[tuple[float, ...]]:
    """Of each tagged noun of each prompt whether its map is highest on the object, 1 or 0, ties shared. Nouns whose
    masks cover nothing or everything are left out. One forward pass over the prompts that have nouns with masks."""
    peaks: dict[int, list[float]] = {id(prompt): [] for prompt in prompts}
    if with_nouns := [prompt for prompt in prompts if prompt.nouns]:
        batch = collate(with_nouns, trained.tokenizer.pad_token_id).to(device)
        _, reading = read(trained, batch, [list(of_questions(nouns)) for nouns in batch.nouns], READOUT)
        for attention in attentions(batch, reading, READOUT.fusion, "none") if reading else ():
            mask_PHW = attention.rendered(attention.frames.values())
            if mask_PHW.any() and not mask_PHW.all():
                levels = metrics.Levels.of(attention.map_of_pixels().ravel(), mask_PHW.ravel())
                peaks[id(attention.sample)].append(metrics.pointing(levels))
    return [tuple(peaks[id(prompt)]) for prompt in prompts]
