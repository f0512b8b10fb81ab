"""Evaluation that decides the numbers: attention of plain-text nouns against masks, and teacher-forced answers.

Prompts carry no tags here either: tags only say which token to read. Dimensions as in `swim.supervision.objective`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from swim.data.clips import Clips, as_clips
from swim.data.encode import Batch, Encoded, NounRow, collate
from swim.data.non_selective import guesses
from swim.data.types import Clip, Rle
from swim.evaluation import metrics
from swim.evaluation.attributes import attribute_of
from swim.evaluation.types import FilmFrame, Overlay, SampleScore
from swim.hermetic import hermetic
from swim.recipe import Readout, Recipe
from swim.supervision.documents import Noun, documents
from swim.supervision.maps import NounMap, Reading, noun_maps, plan_reading, upsample
from swim.supervision.objective import stock
from swim.supervision.targets import render
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
    clips: Clips | Sequence[Clip],
    micro_batch: int | None = None,
) -> Evaluated:
    """Score the tags of the questions, and the answers, of held-out clips, `micro_batch` at a time.

    `attention.*` reads every arm by one ruler (`evaluation.readout`), `attention_own.*` by the arm's own layers, query,
    domain, heads, fusion and normalisation; both on every patch with a mask. With `evaluation.attributes`,
    `attention_attribute.*` reads the word in front of a noun ("the small lemon"), `attention_its_noun.*` the nouns that
    have one, and `attention_gap.*` is noun minus attribute. `answer.accuracy` counts slot words (where rows have
    slots), `answer.ceiling` is what answering with the commonest value of all the clip's objects would score,
    `answer.token_accuracy` counts every answer token.
    """
    scores: list[SampleScore] = []
    overlays: list[Overlay] = []
    with hermetic(recipe.seed), torch.inference_mode():
        size = forward_size(recipe, micro_batch, BATCH)
        source = as_clips(clips)
        feed = source.read(range(len(source.keys)))
        while some := list(islice(feed, size)):
            samples = [trained.encoder(clip) for clip in some]
            device = next(trained.model.parameters()).device
            batch = collate(samples, trained.tokenizer.pad_token_id).to(device)
            room = recipe.evaluation.overlays - len(overlays)
            with autocast(recipe, device):
                scores_now, overlays_now = _score_batch(recipe, trained, batch, room)
            scores += scores_now
            overlays += overlays_now
    return Evaluated(summarise(scores), scores, overlays)


@dataclass(frozen=True)
class _Seen:
    """Where one noun looks, on the temporal patches where it is annotated."""

    sample: Encoded
    noun: NounRow
    frames: dict[int, tuple[Rle, ...]]
    map_PHW: torch.Tensor

    def pixels(self) -> tuple[np.ndarray, np.ndarray]:
        """(map, mask) [P, H, W] at the frames' size; a pixel is inside where any frame's mask covers half of it."""
        height, width = self.sample.clip.frames_THWC.shape[1:3]
        mask_PHW = np.stack([render(rles, (height, width), union=True) >= 0.5 for rles in self.frames.values()])
        return upsample(self.map_PHW, (height, width)).double().cpu().numpy(), mask_PHW

    def map_of_video(self) -> NDArray[np.float32]:
        """[T', H', W'], zero where the noun is not annotated."""
        map_THW = np.zeros((len(self.sample.clip.frames_THWC) // 2, *self.map_PHW.shape[1:]), dtype=np.float32)
        map_THW[list(self.frames)] = self.map_PHW.float().cpu().numpy()
        return map_THW


def film(recipe: Recipe, trained: Trained, clips: Sequence[Clip], step: int) -> list[FilmFrame]:
    """Where the first noun of each clip looks now, by the ruler: one frame a clip of a film over training."""
    with torch.inference_mode():
        samples = [trained.encoder(clip) for clip in clips]
        device = next(trained.model.parameters()).device
        batch = collate(samples, trained.tokenizer.pad_token_id).to(device)
        first = [list(_asked(nouns))[:1] for nouns in batch.nouns]
        with autocast(recipe, device):
            _, reading = _read(trained, batch, first, recipe.evaluation.readout)
        seen = _seen(batch, reading, recipe.evaluation.readout.fusion, "none") if reading else []
        return [
            FilmFrame(
                step=step,
                key=item.sample.clip.key,
                tag=item.noun.tag,
                noun=item.noun.noun,
                grid=map_THW.shape,
                map=map_THW.tobytes(),
            )
            for item in seen
            for map_THW in [item.map_of_video()]
        ]


def _asked(nouns: Sequence[NounRow]) -> Iterator[NounRow]:
    """Questions only: the tag inside an answer is supervised, but at inference the answer is the model's own."""
    return (noun for noun in nouns if not noun.in_answer)


def _read(
    trained: Trained, batch: Batch, nouns: Sequence[Sequence[Noun]], readout: Readout
) -> tuple[torch.Tensor, Reading | None]:
    model = stock(trained.model)
    reading = plan_reading(documents(model.config, batch.inputs), nouns, readout, model, batch.labels_BL.device)
    probe = reading.probe if reading else None
    return model.model(**batch.inputs, use_cache=False, probe=probe).last_hidden_state, reading


def _score_batch(recipe: Recipe, trained: Trained, batch: Batch, room: int) -> tuple[list[SampleScore], list[Overlay]]:
    own, ruler = recipe.objective, recipe.evaluation.readout
    threshold = recipe.evaluation.precision_threshold
    asked = [list(_asked(nouns)) for nouns in batch.nouns]
    hidden_BLD, reading = _read(trained, batch, asked, ruler)
    scores = _answers(batch, stock(trained.model).lm_head, hidden_BLD)
    if reading is None:
        return scores, []
    seen = _seen(batch, reading, ruler.fusion, "none")
    scores += _attention(seen, "attention", threshold)
    if recipe.evaluation.attributes:
        scores += _attributes(trained, batch, asked, ruler, seen, threshold)
    if own.mask_weight > 0 and recipe.optim.steps > 0:
        if own.model_dump(include=set(_READ)) != ruler.model_dump(include=set(_READ)):
            _, reading = _read(trained, batch, asked, own)
            assert reading is not None  # the same batch had nouns a moment ago
        scores += _attention(_seen(batch, reading, own.fusion, own.normalise), "attention_own", threshold)
    return scores, _overlays(seen, room)


def _attributes(
    trained: Trained,
    batch: Batch,
    asked: Sequence[Sequence[NounRow]],
    ruler: Readout,
    seen: list[_Seen],
    threshold: float,
) -> list[SampleScore]:
    """The attribute in front of a noun beside that noun, on the nouns that have one, and noun minus attribute."""
    words = [
        [word for noun in nouns if (word := attribute_of(noun, sample.input_ids_L, trained.tokenizer))]
        for nouns, sample in zip(asked, batch.samples, strict=True)
    ]
    _, reading = _read(trained, batch, words, ruler)
    if reading is None:
        return []
    attributes = _attention(_seen(batch, reading, ruler.fusion, "none"), "attention_attribute", threshold)
    having = {(row.key, row.tag) for row in attributes}
    mine = [item for item in seen if (item.sample.clip.key, item.noun.tag) in having]
    nouns = _attention(mine, "attention_its_noun", threshold)
    at = {(row.key, row.tag, row.metric.partition(".")[2]): row.value for row in attributes}
    gaps = []
    for row in nouns:
        name = row.metric.partition(".")[2]
        if (row.key, row.tag, name) in at:
            gap = row.value - at[row.key, row.tag, name]
            gaps.append(row.model_copy(update={"metric": f"attention_gap.{name}", "value": gap}))
    return attributes + nouns + gaps


_READ = ("layers", "query", "domain", "heads", "chosen_heads")  # what decides the rows that a probe holds


def _seen(batch: Batch, reading: Reading, fusion: str, normalise: str) -> list[_Seen]:
    groups: dict[int, list[NounMap]] = defaultdict(list)
    for item in noun_maps(reading, reading.probe.stacked_SNRK(), fusion, normalise):
        groups[id(item.read.noun)].append(item)
    found = []
    for items in groups.values():
        read = items[0].read
        assert isinstance(read.noun, NounRow)
        # A query that reads a noun in several maps supervises each; here the noun looks where they do on average.
        map_PHW = torch.stack([item.map_PHW for item in items]).mean(0)
        found.append(_Seen(batch.samples[read.document], read.noun, items[0].frames, map_PHW))
    return found


def _attention(seen: list[_Seen], family: str, threshold: float) -> list[SampleScore]:
    rows = []
    for item in seen:
        map_PHW, mask_PHW = item.pixels()
        if mask_PHW.all() or not mask_PHW.any():
            continue  # ranking metrics are undefined; `attention.nouns` counts what was scored
        noun = item.noun
        where = {"key": item.sample.clip.key, "turn": noun.turn, "tag": noun.tag, "noun": noun.noun}
        rows += [
            SampleScore(**where, metric=f"{family}.{name}", value=value)
            for name, value in metrics.scores(map_PHW.ravel(), mask_PHW.ravel(), threshold=threshold).items()
        ]
        # A product over layers may be nothing at all in every annotated patch, and then has no entropy.
        if (spread := metrics.entropy(item.map_PHW.double().cpu().numpy().ravel())) is not None:
            rows.append(SampleScore(**where, metric=f"{family}.entropy", value=spread))
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
        for (turn, slot, positions), guessed in zip(sample.slots, guesses(sample.clip.turns), strict=True):
            hit = float(all(right_at[p] for p in positions))
            rows.append(SampleScore(**where, turn=turn, metric=f"answer.accuracy.{slot.name}", value=hit))
            rows.append(SampleScore(**where, turn=turn, metric=f"answer.ceiling.{slot.name}", value=float(guessed)))
    return rows


def _overlays(seen: list[_Seen], room: int) -> list[Overlay]:
    """The first noun of each of the first clips."""
    chosen: dict[str, _Seen] = {}
    for item in seen:
        chosen.setdefault(item.sample.clip.key, item)
    made = []
    for item in list(chosen.values())[: max(0, room)]:
        frames_THWC = item.sample.clip.frames_THWC
        height, width = frames_THWC.shape[1:3]
        map_THW = item.map_of_video()
        grid = map_THW.shape
        mask_THW = np.zeros((grid[0], height, width), dtype=np.uint8)
        mask_THW[list(item.frames)] = item.pixels()[1]
        made.append(
            Overlay(
                key=item.sample.clip.key,
                tag=item.noun.tag,
                noun=item.noun.noun,
                question=item.noun.question,
                grid=(grid[0], grid[1], grid[2]),
                frame_size=(int(height), int(width)),
                frames=np.ascontiguousarray(frames_THWC[::2]).tobytes(),
                masks=mask_THW.tobytes(),
                map=map_THW.tobytes(),
                annotated=tuple(t in item.frames for t in range(grid[0])),
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
