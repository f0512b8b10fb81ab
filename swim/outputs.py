"""What training and evaluation hand over: plain rows, so that any host can store them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from swim.recipe import Frozen


class MetricPoint(Frozen):
    """One value of a curve: `step` counts optimiser steps done."""

    step: int
    name: str
    value: float


class SampleScore(Frozen):
    """One number about one tag of one held-out sample (long format). `tag` is the index of the `<ins>` tag, -1 when the
    number is about a whole turn; `noun` is the tagged text."""

    key: str
    turn: int
    tag: int
    noun: str
    metric: str
    value: float


class Overlay(Frozen):
    """An attention map beside its mask, for pictures. T' temporal patches, H' × W' visual tokens, H × W pixels.

    `frames` uint8 T'×H×W×3 (first frame of each patch), `masks` uint8 0/1 T'×H×W, `map` float32 T'×H'×W', C order.
    """

    key: str
    tag: int
    noun: str
    question: str
    grid: tuple[int, int, int]
    frame_size: tuple[int, int]
    frames: bytes
    masks: bytes
    map: bytes
    annotated: tuple[bool, ...]


class FilmFrame(Frozen):
    """A noun's attention map at one moment of training; frames and masks are in the `Overlay` of equal key and tag."""

    step: int
    key: str
    tag: int
    noun: str
    grid: tuple[int, int, int]
    map: bytes


class Answer(Frozen):
    """What a model said to one question about one clip.

    `question` and `text` are as the model reads and writes them, without tags and special tokens. `finish`: the model
    ended its answer ("stop"), or a limit did ("limit"); a server may refuse a question ("failed", `failure` says why).
    `token_ids` are those of the answer, without the token that ends it. `leads`: for each token of the answer and then
    the one that ends it, by how much its logit leads the second best; two computations that differ by rounding may part
    where a lead is of that size. A server tells neither ids nor leads, and both are empty.

    `cells`: the size of each object that the question asks about and that has a mask in the frames, in visual tokens of
    a frame. `pointing`: for each of them whether the attention of its noun has its peak on it, 1 or 0, ties shared.
    Empty where there are no masks; a server tells neither.
    """

    key: str
    turn: int
    question: str
    text: str
    finish: Literal["stop", "limit", "failed"]
    failure: str = ""
    token_ids: tuple[int, ...] = ()
    leads: tuple[float, ...] = ()
    cells: tuple[float, ...] = ()
    pointing: tuple[float, ...] = ()


@dataclass
class Evaluated:
    """What a suite measured: means by metric, one row per noun and metric, maps for pictures, and the answers that were
    scored where the model was asked to answer."""

    metrics: dict[str, float]
    scores: list[SampleScore]
    overlays: list[Overlay]
    answers: list[Answer] = field(default_factory=list)
