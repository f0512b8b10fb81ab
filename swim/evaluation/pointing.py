"""Whether the nouns of prompts look at their objects: the attention of the very questions that a model answers.

It is read from the pass over the prompts that begins the answers, by one readout for every model (`READOUT`, as in the
suite `attention`), so that base and tuned model compare.
"""

from __future__ import annotations

from typing import Any

from swim.data.documents import documents
from swim.data.encode import Batch
from swim.evaluation import metrics
from swim.evaluation.noun_attention import attentions, of_questions
from swim.recipe import Readout
from swim.supervision.maps import Reading, plan_reading

READOUT = Readout(layers="all")


def plan_pointing(batch: Batch, model: Any) -> Reading | None:
    """What is to be read of a batch of prompts; None where no noun has masks."""
    if not any(batch.nouns):
        return None
    nouns = [list(of_questions(of_prompt)) for of_prompt in batch.nouns]
    return plan_reading(documents(model.config, batch.inputs), nouns, READOUT, model, batch.labels_BL.device)


def pointing(batch: Batch, reading: Reading | None) -> list[tuple[float, ...]]:
    """Of each noun of each prompt whether its map is highest on the object, 1 or 0, ties shared; from a reading whose
    probe has seen the prompts. Nouns whose masks cover nothing or everything are left out."""
    peaks: dict[int, list[float]] = {id(sample): [] for sample in batch.samples}
    for attention in attentions(batch, reading, READOUT.fusion, "none") if reading else ():
        mask_PHW = attention.rendered(attention.frames.values())
        if mask_PHW.any() and not mask_PHW.all():
            levels = metrics.Levels.of(attention.map_of_pixels().ravel(), mask_PHW.ravel())
            peaks[id(attention.sample)].append(metrics.pointing(levels))
    return [tuple(peaks[id(sample)]) for sample in batch.samples]
