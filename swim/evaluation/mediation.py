"""What the suite `mediation` measures (see `swim.evaluation.suites.mediation`): the same answers, with some rows blind.

Dimensions as in `swim.supervision.objective`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import compress, islice
from typing import Any

import torch

from swim.data.clips import Clips
from swim.data.documents import documents
from swim.data.encode import Batch, Encoded, collate
from swim.deterministic import deterministic
from swim.evaluation.answer_ceiling import contested
from swim.evaluation.answers import answer_scores, slot_margins
from swim.feed import forward_size
from swim.outputs import Evaluated, SampleScore
from swim.recipe import Readout, Recipe
from swim.supervision.blinding import BlindRows
from swim.supervision.forward import last_hidden
from swim.supervision.maps import plan_reading
from swim.supervision.objective import stock
from swim.supervision.unsupported import softmax_layers
from swim.train import Trained, autocast

BATCH = 25  # conversations a forward pass, where a model is small enough


def score(
    queries: Mapping[str, str], recipe: Recipe, trained: Trained, clips: Clips, micro_batch: int | None
) -> Evaluated:
    """Contested slots of held-out clips, of turns about one tagged object: answered as the model is, and with the rows
    of each of the `queries` (name of the metric → entry of `swim.supervision.query`) blind to the video.

    Raises ValueError for a model with layers that mix tokens without attention, where no row can be made blind.
    """
    require_softmax(stock(trained.model).config)
    scores: list[SampleScore] = []
    with deterministic(recipe.seed), torch.inference_mode():
        size = forward_size(recipe, micro_batch, BATCH)
        feed = clips.read(range(len(clips.keys)))
        while chunk := list(islice(feed, size)):
            samples = [sample for sample in map(trained.encoder, chunk) if sample.nouns]
            if not samples:
                continue
            device = next(trained.model.parameters()).device
            batch = collate(samples, trained.tokenizer.pad_token_id).to(device)
            with autocast(recipe, device):
                scores += _score_batch(queries, trained, batch)
    return Evaluated(_means(scores), scores, [])


def require_softmax(config: Any) -> None:
    """Raises ValueError for a model some of whose layers have no attention over tokens."""
    text = config.get_text_config()
    if without := sorted({*range(text.num_hidden_layers)} - {*softmax_layers(text)}):
        raise ValueError(
            f"layers {without} mix tokens without softmax attention, so that no row can be made blind there: leave the "
            "suite `mediation` out for this model"
        )


def blind_rows(trained: Trained, batch: Batch, query: str) -> BlindRows | None:
    """The rows that a query reads for all nouns of a batch, those of answers included; None where it reads none."""
    model = stock(trained.model)
    readout = Readout(layers="all", query=query)
    reading = plan_reading(documents(model.config, batch.inputs), batch.nouns, readout, model, batch.labels_BL.device)
    return reading.probe.blind_rows() if reading else None


def _score_batch(queries: Mapping[str, str], trained: Trained, batch: Batch) -> list[SampleScore]:
    seeing, margins = _contested_slots(trained, batch, None)
    scores = [_renamed(row, "accuracy", row.value) for row in seeing]
    scores += [_renamed(row, "margin", margin) for row, margin in zip(seeing, margins, strict=True)]
    for name, query in queries.items():
        blind, _ = _contested_slots(trained, batch, blind_rows(trained, batch, query))
        scores += [_renamed(row, name, row.value - other.value) for row, other in zip(seeing, blind, strict=True)]
    return scores


def _contested_slots(trained: Trained, batch: Batch, blind: BlindRows | None) -> tuple[list[SampleScore], list[float]]:
    """Whether each contested slot is right, in order, and by what margin."""
    model = stock(trained.model)
    hidden_BLD = last_hidden(model, batch.inputs, None, blind)
    rows = answer_scores(batch, model.lm_head, hidden_BLD)
    of_slots = [row for row in rows if row.metric.startswith("answer.accuracy.")]
    counted = [flag for sample in batch.samples for flag in _counted(sample)]
    margins = slot_margins(batch, model.lm_head, hidden_BLD)
    return list(compress(of_slots, counted)), list(compress(margins, counted))


def _counted(sample: Encoded) -> list[bool]:
    """Of each slot: is it contested, and in the answer of a turn about one tagged object? Of other turns nothing says
    which rows should carry the answer."""
    turns = {noun.turn for noun in sample.nouns if noun.known_answer.tokens}
    flags = contested(sample.clip.turns)
    return [flag and turn in turns for flag, (turn, _, _) in zip(flags, sample.slots, strict=True)]


def _renamed(row: SampleScore, metric: str, value: float) -> SampleScore:
    """A metric of the slot of an accuracy."""
    slot = row.metric.rpartition(".")[2]
    return row.model_copy(update={"metric": f"mediation.{metric}.{slot}", "value": value})


def _means(scores: Sequence[SampleScore]) -> dict[str, float]:
    """Means of each slot name and over all slots, and their number."""
    values: dict[str, list[float]] = defaultdict(list)
    for row in scores:
        for metric in (row.metric, row.metric.rpartition(".")[0]):
            values[metric].append(row.value)
    means = {metric: sum(of_metric) / len(of_metric) for metric, of_metric in sorted(values.items())}
    return means | {"mediation.slots": float(len(values["mediation.accuracy"]))}
