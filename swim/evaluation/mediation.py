"""What the suite `mediation` measures (see `swim.evaluation.suites.mediation`): the same answers, with some rows blind.

Dimensions as in `swim.supervision.objective`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch

from swim.data.clips import Clips
from swim.data.documents import documents
from swim.data.encode import Batch, collate
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
from swim.supervision.targets import area_share, patch_frames
from swim.supervision.unsupported import softmax_layers
from swim.train import Trained, autocast

BATCH = 25  # conversations a forward pass, where a model is small enough


@dataclass(frozen=True)
class _Contested:
    """One contested slot: whether it is answered rightly and by what margin (nats), and the size of the object asked
    about (visual tokens)."""

    row: SampleScore
    margin: float
    tokens: float

    def scored(self, metric: str, value: float) -> SampleScore:
        """A metric of this slot."""
        slot = self.row.metric.rpartition(".")[2]
        return self.row.model_copy(update={"metric": f"mediation.{metric}.{slot}", "value": value})


def score(
    queries: Mapping[str, str],
    token_edges: Sequence[int],
    recipe: Recipe,
    trained: Trained,
    clips: Clips,
    micro_batch: int | None,
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
                scores += _score_batch(queries, token_edges, trained, batch)
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


def _score_batch(
    queries: Mapping[str, str], token_edges: Sequence[int], trained: Trained, batch: Batch
) -> list[SampleScore]:
    seeing = _contested_slots(trained, batch, None)
    scores = [slot.scored("accuracy", slot.row.value) for slot in seeing]
    scores += [slot.scored("margin", slot.margin) for slot in seeing]
    if token_edges:
        scores += [slot.scored(f"accuracy_{_bin(slot.tokens, token_edges)}", slot.row.value) for slot in seeing]
    for name, query in queries.items():
        blind = _contested_slots(trained, batch, blind_rows(trained, batch, query))
        scores += [
            slot.scored(name, slot.row.value - other.row.value) for slot, other in zip(seeing, blind, strict=True)
        ]
    return scores


def _bin(tokens: float, edges: Sequence[int]) -> str:
    """ "under_4", or "from_4" up to the next edge."""
    passed = [edge for edge in edges if tokens >= edge]
    return f"from_{passed[-1]}" if passed else f"under_{edges[0]}"


def _contested_slots(trained: Trained, batch: Batch, blind: BlindRows | None) -> list[_Contested]:
    """Each contested slot in the answer of a turn about one tagged object, in order. Of other turns nothing says which
    rows should carry the answer."""
    model = stock(trained.model)
    hidden_BLD = last_hidden(model, batch.inputs, None, blind)
    rows = answer_scores(batch, model.lm_head, hidden_BLD)
    of_slots = [row for row in rows if row.metric.startswith("answer.accuracy.")]
    margins = slot_margins(batch, model.lm_head, hidden_BLD)
    sizes = [
        of_turns.get(turn) if flag else None
        for sample, of_turns in zip(batch.samples, _object_tokens(trained, batch), strict=True)
        for flag, (turn, _, _) in zip(contested(sample.clip.turns), sample.slots, strict=True)
    ]
    return [
        _Contested(row, margin, tokens)
        for row, margin, tokens in zip(of_slots, margins, sizes, strict=True)
        if tokens is not None
    ]


def _object_tokens(trained: Trained, batch: Batch) -> list[dict[int, float]]:
    """For each sample: turn → the size of the one object it is about, in visual tokens of a temporal patch (mean over
    those in which it is annotated)."""
    of_samples = []
    for sample, document in zip(batch.samples, documents(stock(trained.model).config, batch.inputs), strict=True):
        sizes: dict[int, float] = {}
        for noun in sample.nouns:
            if noun.known_answer.tokens and document.visual is not None:
                _, height, width = document.visual.grid
                shares = [*map(area_share, patch_frames(noun.masks, document.visual.frames_per_patch).values())]
                sizes[noun.turn] = height * width * sum(shares) / max(1, len(shares))
        of_samples.append(sizes)
    return of_samples


def _means(scores: Sequence[SampleScore]) -> dict[str, float]:
    """Means of each slot name and over all slots, and their number."""
    values: dict[str, list[float]] = defaultdict(list)
    for row in scores:
        for metric in (row.metric, row.metric.rpartition(".")[0]):
            values[metric].append(row.value)
    means = {metric: sum(of_metric) / len(of_metric) for metric, of_metric in sorted(values.items())}
    return means | {"mediation.slots": float(len(values["mediation.accuracy"]))}
