"""Random queries, keys and masks, and the probe driven with them as a model would drive it: no model, no tokens.

Dimensions: B batch rows, H query heads, G key/value heads, L row length, D head width, h × w mask pixels.
"""

from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace

import numpy as np
import torch

from swim.data.answer_tokens import AnswerTokens
from swim.data.documents import Document, Noun
from swim.data.family import Visual
from swim.data.masks import encodings
from swim.data.types import Rle
from swim.supervision.maps import Reading, mask_loss, plan_reading
from swim.supervision.targets import with_targets

HEADS, GROUPS, WIDTH, DEPTH = 4, 2, 8, 4


@dataclass
class Sample:
    """One document in plain terms: its row and its first and last-plus-one token there, where its video is, T' × H' ×
    W', and its nouns: the positions of their sub-tokens, and video frame → mask."""

    row: int
    start: int
    end: int
    columns: list[int]
    grid: tuple[int, int, int]
    nouns: list[tuple[tuple[int, ...], dict[int, np.ndarray]]]


def rle(mask_hw) -> Rle:
    """A 0/1 array as an annotation."""
    return _rle(np.shape(mask_hw), np.asarray(mask_hw).astype(np.uint8).tobytes(order="F"))


@cache
def _rle(size, columns) -> Rle:
    flat = np.frombuffer(columns, np.uint8)
    changes = np.flatnonzero(np.diff(flat, prepend=0)).tolist()
    counts = np.diff([0, *changes, flat.size]).tolist()
    return encodings.to_rle({"size": list(size), "counts": counts})


def samples(seed=0) -> list[Sample]:
    """Four documents in three rows: padding on the right, on the left, and two packed into one row, the first of which
    has no noun. Video tokens in one piece or with text between them; grids and masks of unequal sizes; nouns of one,
    two and three sub-tokens; frames annotated alone, in pairs, and not at all."""
    random = np.random.default_rng(seed)

    def drawn(size, *frames):
        return {frame: random.random(size) < 0.4 for frame in frames}

    gaps = [c for t in range(3) for c in range(9 + 6 * t, 13 + 6 * t)]
    return [
        Sample(
            0, 0, 40, [*range(3, 27)], (2, 3, 4), [((28, 29, 30), drawn((10, 14), 0, 1, 3)), ((33,), drawn((6, 8), 2))]
        ),
        Sample(1, 6, 48, gaps, (3, 2, 2), [((30, 31), drawn((7, 9), 1, 4, 5)), ((40,), {})]),
        Sample(2, 0, 20, [*range(2, 8)], (1, 2, 3), []),
        Sample(2, 20, 48, [*range(21, 33)], (2, 3, 2), [((40, 41), drawn((12, 5), 0) | drawn((9, 9), 3))]),
    ]


def attention_inputs(seed=0, rows=3, length=48, depth=DEPTH, spread=1.0):
    """A model's queries [B, H, L, D] and keys [B, G, L, D] at every layer, leaves of the graph."""
    random = torch.Generator().manual_seed(seed)

    def normal(heads):
        return (spread**0.5 * torch.randn(rows, heads, length, WIDTH, generator=random)).requires_grad_()

    return [normal(HEADS) for _ in range(depth)], [normal(GROUPS) for _ in range(depth)]


def _answer(sample) -> AnswerTokens:
    """The document's last three tokens, of which the second is a slot."""
    return AnswerTokens(tuple(range(sample.end - 3, sample.end)), (sample.end - 2,))


def plan(chosen, objective, heads=HEADS, depth=6) -> Reading | None:
    """The probe that the product plans for these samples."""
    found = [Document(s.row, s.start, s.end, Visual(torch.from_numpy(np.array(s.columns)), s.grid, 2)) for s in chosen]
    nouns = [
        [
            Noun(tokens, {t: rle(m) for t, m in track.items()}, answer=_answer(s) if i == 0 else AnswerTokens())
            for i, (tokens, track) in enumerate(s.nouns)
        ]
        for s in chosen
    ]
    nouns = [with_targets(of_document, getattr(objective, "target", "object")) for of_document in nouns]
    text = SimpleNamespace(num_attention_heads=heads, num_hidden_layers=depth)
    model = SimpleNamespace(config=SimpleNamespace(get_text_config=lambda: text))
    return plan_reading(found, nouns, objective, model, torch.device("cpu"))


def read(chosen, objective, query_SBHLD, key_SBGLD) -> tuple[Reading, torch.Tensor]:
    """Every layer shows its queries and keys to the probe; the reading and what it read, [S, N, R, K]."""
    reading = plan(chosen, objective, query_SBHLD[0].shape[1], len(query_SBHLD))
    for layer, (query_BHLD, key_BGLD) in enumerate(zip(query_SBHLD, key_SBGLD, strict=True)):
        reading.probe.read(layer, query_BHLD, key_BGLD, query_BHLD.shape[-1] ** -0.5)
    return reading, reading.probe.stacked_SNRK()


def supervised(chosen, objective, query_SBHLD, key_SBGLD) -> tuple[torch.Tensor, int]:
    """The mask loss's sum and count."""
    return mask_loss(*read(chosen, objective, query_SBHLD, key_SBGLD), objective)
