"""Evaluation that decides the numbers: attention of plain-text nouns against masks, and teacher-forced answers.

Prompts carry no tags here either: tags only say which token to read. Dimensions as in `swim.supervision.objective`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from swim.data.encode import Batch, Encoded, NounRow, collate
from swim.data.types import Clip
from swim.evaluation import metrics
from swim.evaluation.types import Overlay, SampleScore
from swim.hermetic import hermetic
from swim.recipe import Domain, Query, Recipe
from swim.supervision.attention import AttentionProbe
from swim.supervision.objective import PatchMap, fused_maps, plan_probe, stock, upsample
from swim.train import Trained, autocast, forward_size

BATCH = 25  # conversations a forward pass, where a model is small enough


@dataclass
class Evaluated:
    """Final numbers, one row per noun and metric, and maps for pictures."""

    metrics: dict[str, float]
    scores: list[SampleScore]
    overlays: list[Overlay]


def evaluate(
    recipe: Recipe,
    trained: Trained,
    clips: Sequence[Clip],
    micro_batch: int | None = None,
) -> Evaluated:
    """Score the tags of the questions, and the answers, of held-out clips, `micro_batch` at a time.

    `attention.*` reads every arm by one ruler (`evaluation.readout_*`), `attention_own.*` by the arm's own fusion and
    normalisation. `answer.accuracy` counts slot words (where rows have slots), `answer.ceiling` is what answering with
    the clip's commonest value per slot would score, `answer.token_accuracy` counts every answer token.
    """
    scores: list[SampleScore] = []
    overlays: list[Overlay] = []
    with hermetic(recipe.seed), torch.inference_mode():
        size = forward_size(recipe, micro_batch, BATCH)
        for start in range(0, len(clips), size):
            samples = [trained.encoder(clip) for clip in clips[start : start + size]]
            device = next(trained.model.parameters()).device
            batch = collate(samples, trained.tokenizer.pad_token_id).to(device)
            room = recipe.evaluation.overlays - len(overlays)
            with autocast(recipe, device):
                scores_now, overlays_now = _score_batch(recipe, trained, batch, room)
            scores += scores_now
            overlays += overlays_now
    return Evaluated(summarise(scores), scores, overlays)


def _score_batch(recipe: Recipe, trained: Trained, batch: Batch, room: int) -> tuple[list[SampleScore], list[Overlay]]:
    own, fixed = recipe.objective, recipe.evaluation
    model = stock(trained.model)

    def read(query: Query, domain: Domain) -> tuple[torch.Tensor, AttentionProbe | None]:
        probe = plan_probe(batch, own.layers, query, domain, batch.labels_BL.device)
        return model.model(**batch.inputs, use_cache=False, probe=probe).last_hidden_state, probe

    hidden_BLD, probe = read(fixed.readout_query, fixed.readout_domain)
    scores = _answers(batch, model.lm_head, hidden_BLD)
    if probe is None:
        return scores, []
    # Questions only: the tag inside an answer is supervised, but at inference the answer is the model's own.
    asked = [[noun for noun in s.nouns if not noun.in_answer] for s in batch.samples]
    maps = fused_maps(batch, probe.stacked_SBRK(), fixed.readout_fusion, "none", asked)
    scores += _attention(batch, maps, "attention", fixed.precision_threshold)
    if own.mask_weight > 0:
        if (own.query, own.domain) != (fixed.readout_query, fixed.readout_domain):
            _, probe = read(own.query, own.domain)
            assert probe is not None  # the same batch had tags a moment ago
        own_maps = fused_maps(batch, probe.stacked_SBRK(), own.fusion, own.normalise, asked)
        scores += _attention(batch, own_maps, "attention_own", fixed.precision_threshold)
    return scores, _overlays(batch, maps, asked, room)


def _group(maps: list[PatchMap]) -> dict[tuple[int, int], list[PatchMap]]:
    groups: dict[tuple[int, int], list[PatchMap]] = defaultdict(list)
    for item in maps:
        groups[item.sample, item.noun.tag].append(item)
    return groups


def _attention(batch: Batch, maps: list[PatchMap], family: str, threshold: float) -> list[SampleScore]:
    rows = []
    for (b, tag), items in _group(maps).items():
        sample = batch.samples[b]
        size = sample.clip.frames_THWC.shape[1:3]
        mask_THW, annotated_T = sample.patch_masks(tag, size, union=True)
        mask_N = (mask_THW[annotated_T] >= 0.5).ravel()
        if mask_N.all() or not mask_N.any():
            continue  # ranking metrics are undefined; `attention.nouns` counts what was scored
        map_N = upsample(torch.stack([i.map_HW for i in items]), size).double().cpu().numpy().ravel()
        noun = items[0].noun
        rows += [
            SampleScore(
                key=sample.clip.key, turn=noun.turn, tag=tag, noun=noun.noun, metric=f"{family}.{name}", value=value
            )
            for name, value in metrics.scores(map_N, mask_N, threshold=threshold).items()
        ]
    return rows


def _answers(batch: Batch, lm_head: torch.nn.Module, hidden_BLD: torch.Tensor) -> list[SampleScore]:
    rows = []
    for b, sample in enumerate(batch.samples):
        labelled = (sample.labels_L[1:] >= 0).nonzero()[:, 0]
        logits_NV = lm_head(hidden_BLD[b, labelled.to(hidden_BLD.device)]).float()
        target_N = sample.labels_L[1:][labelled].to(logits_NV.device)
        right_N = (logits_NV.argmax(-1) == target_N).cpu().numpy()
        loss = float(torch.nn.functional.cross_entropy(logits_NV, target_N))
        right_at = dict(zip((labelled + 1).tolist(), right_N, strict=True))
        where = {"key": sample.clip.key, "tag": -1, "noun": ""}
        rows += [
            SampleScore(**where, turn=-1, metric="answer.token_accuracy", value=float(right_N.mean())),
            SampleScore(**where, turn=-1, metric="answer.loss", value=loss),
        ]
        guess = _commonest(sample)
        for turn, slot, positions in sample.slots:
            hit = float(all(right_at[p] for p in positions))
            rows.append(SampleScore(**where, turn=turn, metric=f"answer.accuracy.{slot.name}", value=hit))
            said = _words(sample, positions)
            rows.append(
                SampleScore(
                    **where, turn=turn, metric=f"answer.ceiling.{slot.name}", value=float(said == guess[slot.name])
                )
            )
    return rows


def _words(sample: Encoded, positions: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(sample.input_ids_L[p]) for p in positions)


def _commonest(sample: Encoded) -> dict[str, tuple[int, ...]]:
    """The clip's most frequent value of each slot: the best answer of a model that cannot tell its objects apart."""
    values: dict[str, list[tuple[int, ...]]] = defaultdict(list)
    for _, slot, positions in sample.slots:
        values[slot.name].append(_words(sample, positions))
    return {name: max(sorted(set(said)), key=said.count) for name, said in values.items()}


def _overlays(batch: Batch, maps: list[PatchMap], asked: list[list[NounRow]], room: int) -> list[Overlay]:
    groups = _group(maps)
    chosen = [(b, nouns[0]) for b, nouns in enumerate(asked) if nouns and (b, nouns[0].tag) in groups][: max(0, room)]
    made = []
    for b, noun in chosen:
        sample = batch.samples[b]
        T, H, W = sample.token_grid
        size = sample.clip.frames_THWC.shape[1:3]
        mask_THW, annotated_T = sample.patch_masks(noun.tag, size, union=True)
        map_THW = np.zeros((T, H, W), dtype=np.float32)
        for item in groups[b, noun.tag]:
            map_THW[item.patch] = item.map_HW.cpu().numpy()
        made.append(
            Overlay(
                key=sample.clip.key,
                tag=noun.tag,
                noun=noun.noun,
                question=noun.question,
                grid=(T, H, W),
                frame_size=(int(size[0]), int(size[1])),
                frames=np.ascontiguousarray(sample.clip.frames_THWC[::2]).tobytes(),
                masks=(mask_THW >= 0.5).astype(np.uint8).tobytes(),
                map=map_THW.tobytes(),
                annotated=tuple(bool(a) for a in annotated_T),
            )
        )
    return made


def summarise(scores: list[SampleScore]) -> dict[str, float]:
    """Means over rows; slots of an answer are pooled into `answer.accuracy` and `answer.ceiling`."""
    values: dict[str, list[float]] = defaultdict(list)
    for row in scores:
        values[row.metric].append(row.value)
        if row.metric.startswith(("answer.accuracy.", "answer.ceiling.")):
            values[row.metric.rpartition(".")[0]].append(row.value)
    means = {name: float(np.mean(found)) for name, found in sorted(values.items())}
    means["attention.nouns"] = float(len(values.get("attention.ap", ())))
    return means
