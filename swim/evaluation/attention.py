"""What the suite `attention` measures (see `swim.evaluation.suites.attention`): maps against masks, and answers.

Dimensions as in `swim.evaluation.noun_attention`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np
import torch

from swim.data.clips import Clips
from swim.data.encode import Batch, NounRow, collate
from swim.deterministic import deterministic
from swim.evaluation import metrics
from swim.evaluation.answers import answer_scores, answers_by_object
from swim.evaluation.asked_objects import sizes_in_tokens
from swim.evaluation.attention_config import AttentionConfig
from swim.evaluation.attributes import attribute_of
from swim.evaluation.noun_attention import Masks, NounAttention, attentions, of_questions, read
from swim.feed import forward_size
from swim.outputs import Evaluated, Overlay, SampleScore
from swim.recipe import Recipe
from swim.supervision.objective import stock
from swim.train import Trained, autocast

BATCH = 25  # conversations a forward pass, where a model is small enough
_READ = ("layers", "query", "domain", "heads", "chosen_heads")  # what decides the rows that a probe holds


def score(
    config: AttentionConfig, recipe: Recipe, trained: Trained, clips: Clips, micro_batch: int | None
) -> Evaluated:
    """Score the tags of the questions, and the answers, of held-out clips, `micro_batch` at a time."""
    scores: list[SampleScore] = []
    overlays: list[Overlay] = []
    cells: dict[tuple[str, int], tuple[float, ...]] = {}
    with deterministic(recipe.seed), torch.inference_mode():
        size = forward_size(recipe, micro_batch, BATCH)
        feed = clips.read(range(len(clips.keys)))
        while chunk := list(islice(feed, size)):
            samples = [trained.encoder(clip) for clip in chunk]
            for clip in chunk:
                for turn in range(len(clip.turns)):
                    cells[clip.key, turn] = sizes_in_tokens(clip, turn, trained.encoder.family)
            device = next(trained.model.parameters()).device
            batch = collate(samples, trained.tokenizer.pad_token_id).to(device)
            with autocast(recipe, device):
                batch_scores, batch_overlays = _score_batch(
                    config, recipe, trained, batch, config.overlays - len(overlays)
                )
            scores += batch_scores
            overlays += batch_overlays
    details = answers_by_object(scores, cells)
    return Evaluated(summarise(scores) | details.metrics, [*scores, *details.rows], overlays)


def summarise(scores: list[SampleScore]) -> dict[str, float]:
    """Means over rows; slots of an answer are pooled into `answer.accuracy` and `answer.ceiling`."""
    values: dict[str, list[float]] = defaultdict(list)
    for row in scores:
        values[row.metric].append(row.value)
        if row.metric.startswith(("answer.accuracy.", "answer.ceiling.")):
            values[row.metric.rpartition(".")[0]].append(row.value)
    means = {name: float(np.mean(of_metric)) for name, of_metric in sorted(values.items())}
    means["attention.nouns"] = float(len(values.get("attention.ap", ())))
    return means


def _score_batch(
    config: AttentionConfig, recipe: Recipe, trained: Trained, batch: Batch, overlays_left: int
) -> tuple[list[SampleScore], list[Overlay]]:
    own, ruler, threshold = recipe.objective, config.readout, config.precision_threshold
    nouns = [list(of_questions(of_sample)) for of_sample in batch.nouns]
    hidden_BLD, reading = read(trained, batch, nouns, ruler)
    scores = answer_scores(batch, stock(trained.model).lm_head, hidden_BLD)
    if reading is None:
        return scores, []
    by_ruler = attentions(batch, reading, ruler.fusion, "none")
    masks = Masks()
    ruler_scores = _attention_scores(by_ruler, masks, "attention", threshold)
    scores += ruler_scores
    if config.attributes:
        scores += _attribute_scores(config, trained, batch, nouns, masks, ruler_scores)
    if own.mask_weight > 0 and recipe.optim.trains:
        same_rows = own.model_dump(include=set(_READ)) == ruler.model_dump(include=set(_READ))
        if same_rows and (own.fusion, own.normalise) == (ruler.fusion, "none"):
            scores += _renamed(ruler_scores, "attention_own")
        else:
            if not same_rows:
                _, reading = read(trained, batch, nouns, own)
                assert reading is not None  # the same nouns were read a moment ago
            by_own = attentions(batch, reading, own.fusion, own.normalise)
            scores += _attention_scores(by_own, masks, "attention_own", threshold)
    return scores, _overlays(by_ruler, masks, overlays_left)


def _renamed(rows: Iterable[SampleScore], family: str) -> list[SampleScore]:
    """The same values as those of another family."""
    return [row.model_copy(update={"metric": f"{family}.{row.metric.partition('.')[2]}"}) for row in rows]


def _attribute_scores(
    config: AttentionConfig,
    trained: Trained,
    batch: Batch,
    nouns: Sequence[Sequence[NounRow]],
    masks: Masks,
    ruler_scores: list[SampleScore],
) -> list[SampleScore]:
    """The attribute in front of a noun beside that noun, on the nouns that have one, and noun minus attribute.
    `ruler_scores` are those of all nouns."""
    ruler, threshold = config.readout, config.precision_threshold
    words = [
        [word for noun in of_sample if (word := attribute_of(noun, sample.input_ids_L, trained.tokenizer))]
        for of_sample, sample in zip(nouns, batch.samples, strict=True)
    ]
    _, reading = read(trained, batch, words, ruler)
    if reading is None:
        return []
    by_ruler = attentions(batch, reading, ruler.fusion, "none")
    attributes = _attention_scores(by_ruler, masks, "attention_attribute", threshold)
    having = {(row.key, row.tag) for row in attributes}
    of_nouns = _renamed((row for row in ruler_scores if (row.key, row.tag) in having), "attention_its_noun")
    attribute_values = {(row.key, row.tag, row.metric.partition(".")[2]): row.value for row in attributes}
    gaps = []
    for row in of_nouns:
        name = row.metric.partition(".")[2]
        if (row.key, row.tag, name) in attribute_values:
            gap = row.value - attribute_values[row.key, row.tag, name]
            gaps.append(row.model_copy(update={"metric": f"attention_gap.{name}", "value": gap}))
    return attributes + of_nouns + gaps


def _attention_scores(of_nouns: list[NounAttention], masks: Masks, family: str, threshold: float) -> list[SampleScore]:
    rows = []
    for attention in of_nouns:
        map_PHW, mask_PHW = attention.map_of_pixels(), masks.of(attention)
        if mask_PHW.all() or not mask_PHW.any():
            continue  # ranking metrics are undefined; `attention.nouns` counts what was scored
        noun = attention.noun
        where = {"key": attention.sample.clip.key, "turn": noun.turn, "tag": noun.tag, "noun": noun.noun}
        rows += [
            SampleScore(**where, metric=f"{family}.{name}", value=value)
            for name, value in metrics.scores(map_PHW.ravel(), mask_PHW.ravel(), threshold=threshold).items()
        ]
        # A product over layers may be nothing at all in every annotated patch, and then has no entropy.
        if (spread := metrics.entropy(attention.map_PHW.double().cpu().numpy().ravel())) is not None:
            rows.append(SampleScore(**where, metric=f"{family}.entropy", value=spread))
    return rows


def _overlays(of_nouns: list[NounAttention], masks: Masks, most: int) -> list[Overlay]:
    """The first noun of each of the first `most` clips."""
    first: dict[str, NounAttention] = {}
    for attention in of_nouns:
        first.setdefault(attention.sample.clip.key, attention)
    overlays = []
    for attention in list(first.values())[: max(0, most)]:
        frames_THWC = attention.sample.clip.frames_THWC
        height, width = frames_THWC.shape[1:3]
        map_THW = attention.map_of_video()
        grid = map_THW.shape
        mask_THW = np.zeros((grid[0], height, width), dtype=np.uint8)
        mask_THW[list(attention.frames)] = masks.of(attention)
        overlays.append(
            Overlay(
                key=attention.sample.clip.key,
                tag=attention.noun.tag,
                noun=attention.noun.noun,
                question=attention.noun.question,
                grid=(grid[0], grid[1], grid[2]),
                frame_size=(int(height), int(width)),
                frames=np.ascontiguousarray(frames_THWC[:: attention.sample.family.frames_per_patch]).tobytes(),
                masks=mask_THW.tobytes(),
                map=map_THW.tobytes(),
                annotated=tuple(t in attention.frames for t in range(grid[0])),
            )
        )
    return overlays
