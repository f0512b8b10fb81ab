"""What the suite `alignment` measures (see `swim.evaluation.suites.alignment`): maps and masks by three conventions.

P annotated temporal patches, H × W pixels.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from swim.data.annotations.markup import strip_tags
from swim.data.clips import Clips
from swim.data.documents import documents
from swim.data.encode import Batch, Encoded, NounRow, collate
from swim.data.family import Visual
from swim.data.masks.encodings import decode
from swim.data.types import Clip
from swim.deterministic import deterministic
from swim.evaluation import map_scores, released_map
from swim.evaluation.alignment_config import GROUP_QUERY, AlignmentConfig
from swim.evaluation.map_scores import mean_of
from swim.evaluation.noun_attention import NounAttention, attentions, of_questions, read
from swim.feed import forward_size
from swim.outputs import Evaluated, SampleScore
from swim.recipe import Recipe
from swim.supervision.maps import query_rows
from swim.supervision.objective import stock
from swim.supervision.targets import patch_frames
from swim.train import Trained, autocast

BATCH = 25  # conversations a forward pass, where a model is small enough
Scores = dict[str, float]


def score(
    config: AlignmentConfig, recipe: Recipe, trained: Trained, clips: Clips, micro_batch: int | None
) -> Evaluated:
    """Score the tags of the questions of held-out clips, `micro_batch` conversations a forward pass."""
    numbers = range(len(clips.keys))[: config.clips]
    size = forward_size(recipe, micro_batch, BATCH)
    device = next(trained.model.parameters()).device
    rows: list[SampleScore] = []
    with deterministic(recipe.seed), torch.inference_mode(), autocast(recipe, device):
        if {"video", "frame"} & set(config.conventions):
            videos = clips.read(numbers)
            while chunk := list(islice(videos, size)):
                rows += _score_videos(config, trained, _batch(trained, chunk))
        if "release" in config.conventions:
            rows += _score_images(config, trained, clips.read(numbers), size)
    return Evaluated(summarise(rows), rows, [])


def summarise(rows: Sequence[SampleScore]) -> Scores:
    """Means over nouns, and `alignment.nouns`, how many were scored."""
    values: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        values[row.metric].append(row.value)
    nouns = {(row.key, row.turn, row.tag) for row in rows}
    return {name: float(np.mean(of_metric)) for name, of_metric in sorted(values.items())} | {
        "alignment.nouns": float(len(nouns))
    }


def _batch(trained: Trained, clips: Sequence[Clip]) -> Batch:
    samples = [trained.encoder(clip) for clip in clips]
    return collate(samples, trained.tokenizer.pad_token_id).to(next(trained.model.parameters()).device)


def _score_videos(config: AlignmentConfig, trained: Trained, batch: Batch) -> list[SampleScore]:
    """One forward pass for all queries: each query names groups of positions, and every group is read as a noun."""
    groups: list[list[NounRow]] = []
    query_of: dict[int, str] = {}
    for nouns in batch.nouns:
        groups.append([])
        for noun in of_questions(nouns):
            for query in config.queries:
                for positions in query_rows(query, noun):
                    group = replace(noun, tokens=positions)
                    groups[-1].append(group)
                    query_of[id(group)] = query
    _, reading = read(trained, batch, groups, config.readout.model_copy(update={"query": GROUP_QUERY}))
    if reading is None:
        return []
    layers = {"fused": None} | {f"layer_{n:02}": i for i, n in enumerate(reading.probe.layers) if config.per_layer}
    masks: dict[tuple[int, int], _Masks] = {}
    rows = []
    for layer, place in layers.items():
        by_noun: dict[tuple[str, int, int], list[NounAttention]] = defaultdict(list)
        for attention in attentions(batch, reading, config.readout.fusion, "none", place):
            by_noun[query_of[id(attention.noun)], id(attention.sample), attention.noun.tag].append(attention)
        for (query, sample, tag), of_noun in by_noun.items():
            noun, maps = of_noun[0].noun, [item.map_of_pixels() for item in of_noun]
            if (sample, tag) not in masks:
                masks[sample, tag] = _Masks.of(of_noun[0], reading.reads[0].visual.frames_per_patch)
            for convention in config.conventions:
                if convention != "release":
                    scores = mean_of(
                        [_score_map(convention, *item, masks[sample, tag]) for item in zip(of_noun, maps, strict=True)]
                    )
                    rows += _rows(
                        of_noun[0].sample.clip.key, noun.turn, tag, noun.noun, f"{convention}.{query}.{layer}", scores
                    )
    return rows


@dataclass(frozen=True)
class _Masks:
    """The pixels of a noun's patches that are inside its masks, and inside those of the clip's other objects (None
    where it has no other)."""

    mask_PHW: NDArray[np.bool_]
    others_PHW: NDArray[np.bool_] | None

    @classmethod
    def of(cls, attention: NounAttention, frames_per_patch: int) -> _Masks:
        other = [track for track in attention.sample.clip.masks if track != attention.noun.masks]
        tracks = [patch_frames(track, frames_per_patch) for track in other]
        others_P = [[rle for track in tracks for rle in track.get(patch, ())] for patch in attention.frames]
        mask_PHW = attention.rendered(attention.frames.values())
        return cls(mask_PHW, attention.rendered(others_P) if tracks else None)


def _score_map(convention: str, attention: NounAttention, map_PHW: NDArray[np.float64], masks: _Masks) -> Scores:
    by_pixels = map_scores.by_frame if convention == "frame" else map_scores.by_video
    if not (scores := by_pixels(map_PHW, masks.mask_PHW, masks.others_PHW)):
        return {}
    tokens_PHW = attention.map_PHW.double().cpu().numpy()
    return scores | map_scores.entropy(tokens_PHW, each_frame=convention == "frame")


@dataclass(frozen=True)
class _Image:
    """One annotated frame and one turn of a clip, as a video of two equal frames, which to Qwen's processor an image is
    too. `turn` and `tag` are those of the clip."""

    clip: Clip
    turn: int
    tag: int


def _score_images(config: AlignmentConfig, trained: Trained, clips: Iterator[Clip], size: int) -> list[SampleScore]:
    """Each annotated frame as an image, each sub-token on its own, and the mean over both, as released."""
    readout = config.released_readout
    scores: dict[tuple[str, int, int, str], list[Scores]] = defaultdict(list)
    images = (image for clip in clips for image in _images(clip))
    while chunk := list(islice(images, size)):
        batch = _batch(trained, [image.clip for image in chunk])
        videos = [document.visual for document in documents(stock(trained.model).config, batch.inputs)]
        nouns = [_occurrences(*of_image) for of_image in zip(batch.samples, videos, chunk, strict=True)]
        _, reading = read(trained, batch, nouns, readout)
        for attention in attentions(batch, reading, readout.fusion, "none") if reading else ():
            (rle,) = attention.noun.masks.values()
            map_hw, mask_HW = attention.map_PHW[0].double().cpu().numpy(), decode(rle).astype(bool)
            noun = attention.noun
            scores[attention.sample.clip.key, noun.turn, noun.tag, noun.noun].append(
                released_map.scores(map_hw, mask_HW)
            )
    return [row for where, of_turn in scores.items() for row in _rows(*where, "release", mean_of(of_turn))]


def _images(clip: Clip) -> Iterator[_Image]:
    """Those of each turn with a tag in its question, and of each frame annotated for the first such tag."""
    tag = 0
    for number, turn in enumerate(clip.turns):
        in_question, in_answer = (len(strip_tags(text)[1]) for text in (turn.human, turn.gpt))
        tracks = clip.masks[tag : tag + in_question + in_answer]
        for slot in sorted(tracks[0]) if in_question and tracks else ():
            image = replace(
                clip,
                turns=(turn,),
                frames_THWC=clip.frames_THWC[[slot, slot]],
                frame_indices=(clip.frame_indices[slot],) * 2,
                masks=tuple({0: track[slot]} if slot in track else {} for track in tracks),
            )
            yield _Image(image, number, tag)
        tag += in_question + in_answer


def _occurrences(sample: Encoded, video: Visual | None, image: _Image) -> list[NounRow]:
    """Each token behind the video, in question or answer, whose id is one of the first tag's: what the release scores,
    with occurrences of the word that no tag marks."""
    tagged = sample.nouns[0]
    ids = {int(sample.input_ids_L[position]) for position in tagged.tokens}
    assert video is not None  # every clip has one
    start = int(video.columns_K[-1]) + 1
    positions = [p for p in range(start, len(sample.input_ids_L)) if int(sample.input_ids_L[p]) in ids]
    return [replace(tagged, tokens=(position,), turn=image.turn, tag=image.tag) for position in positions]


def _rows(key: str, turn: int, tag: int, noun: str, prefix: str, scores: Scores) -> list[SampleScore]:
    return [
        SampleScore(key=key, turn=turn, tag=tag, noun=noun, metric=f"alignment.{prefix}.{name}", value=value)
        for name, value in scores.items()
    ]
