"""Where each word of a question and of answers looks, over the whole video: no masks are needed.

A pass is teacher-forced: the answer is given, so that the map of a word is that of the model having said it.

Dimensions: S layers, M words, K visual tokens, T' temporal patches, H' × W' visual tokens of a patch.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from swim import registry
from swim.data.annotations.markup import Span
from swim.data.encode import collate
from swim.data.types import Clip, Rle, Turn
from swim.deterministic import deterministic
from swim.evaluation.noun_attention import read
from swim.recipe import Readout, Recipe
from swim.train import Trained, autocast

# A question about no object in particular. Attention that its noun draws too says nothing about another noun: it goes
# to tokens that every word looks at (attention sinks). "Relative attention" of arXiv 2502.17422 does the same.
NEUTRAL_QUESTION, NEUTRAL_WORD = "Describe the video.", "video"
# A share of the even spread: below it the neutral map does not divide, or noise would decide what is relative.
FLOOR = 1e-2
_WORD = re.compile(r"\w+(?:[-'’]\w+)*")


@dataclass(frozen=True)
class Word:
    """Characters [start, end) of a text: number 0 is the question, the answers follow."""

    text: int
    start: int
    end: int
    word: str


@dataclass(frozen=True)
class WordMaps:
    """One map a word, of every layer of a readout and fused as it says, and the same of the neutral word. Under the
    domain "video" a map's sum is 1."""

    layers: tuple[int, ...]
    layers_SMTHW: NDArray[np.float32]
    fused_MTHW: NDArray[np.float32]
    neutral_layers_STHW: NDArray[np.float32]
    neutral_THW: NDArray[np.float32]

    def relative_layers_SMTHW(self) -> NDArray[np.float32]:
        """`relative` of every layer."""
        layers = zip(self.layers_SMTHW, self.neutral_layers_STHW, strict=True)
        return np.stack([relative(map_MTHW, neutral_THW) for map_MTHW, neutral_THW in layers])

    def relative_MTHW(self) -> NDArray[np.float32]:
        """`relative` of the fused maps."""
        return relative(self.fused_MTHW, self.neutral_THW)


def words_of(texts: Sequence[str], nouns: Sequence[Span] = ()) -> tuple[Word, ...]:
    """The words of a question and its answers, which are plain text. A noun of the question is one word, also where it
    is several ("fire truck")."""
    words = []
    for number, text in enumerate(texts):
        spans = [(noun.start, noun.end) for noun in nouns] if number == 0 else []
        within = [range(*span) for span in spans]
        for match in _WORD.finditer(text):
            if not any(match.start() in noun or match.end() - 1 in noun for noun in within):
                spans.append(match.span())
        words += [Word(number, start, end, text[start:end]) for start, end in sorted(spans)]
    return tuple(words)


def relative(map_MTHW: NDArray[np.float32], neutral_THW: NDArray[np.float32]) -> NDArray[np.float32]:
    """Maps divided by that of a neutral word, each scaled to its former sum. Where the neutral map is below `FLOOR` of
    an even spread, it counts as that."""
    floored_THW = np.maximum(neutral_THW, FLOOR * neutral_THW.mean())
    ratio_MTHW = map_MTHW / np.maximum(floored_THW, np.finfo(np.float32).tiny)
    axes = (-3, -2, -1)
    total = np.maximum(ratio_MTHW.sum(axes, keepdims=True), np.finfo(np.float32).tiny)
    scaled: NDArray[np.float32] = ratio_MTHW * (map_MTHW.sum(axes, keepdims=True) / total)
    return scaled


def word_maps(
    recipe: Recipe, trained: Trained, clip: Clip, texts: Sequence[str], words: Sequence[Word], readout: Readout
) -> WordMaps:
    """The maps of the words, by one pass an answer; words of the question are read in the first.

    Args:
        recipe: says in which precision the model computes.
        trained: the model, in evaluation mode.
        clip: the video; its own turns and masks play no part.
        texts: the question and at least one answer, without tags.
        words: some of `words_of(texts)`, in its order.
        readout: layers, fusion, rows of a word that are read, tokens over which the attention is a share.

    Raises:
        DataError: for a text with `<ins>` tags that cannot be read, and for more tokens than the model has positions.
        ValueError: when there is no word.
    """
    if not words:
        raise ValueError(f"there is no word in {texts[0]!r}: ask about something in the video")
    question, *answers = texts
    neutral = [word for word in words_of([NEUTRAL_QUESTION]) if word.word == NEUTRAL_WORD]
    parts: list[torch.Tensor] = []
    device = next(trained.model.parameters()).device
    with deterministic(recipe.seed), torch.inference_mode(), autocast(recipe, device):
        for number, answer in enumerate(answers, start=1):
            # Words before the answer do not see it: their maps are the same whatever it is.
            asked = [word for word in words if word.text == 0] if number == 1 else []
            said = [word for word in words if word.text == number]
            if asked or said:
                layers, grid, a_SMK = _read_words(trained, clip, question, answer, asked, said, readout)
                parts.append(a_SMK)
        _, _, neutral_SMK = _read_words(trained, clip, NEUTRAL_QUESTION, "", neutral, [], readout)
    a_SMK = torch.cat(parts, dim=1)
    fuse = registry.load("swim.supervision.fusion", readout.fusion)

    def on_grid(tensor: torch.Tensor) -> NDArray[np.float32]:
        return tensor.cpu().numpy().reshape(*tensor.shape[:-1], *grid)

    return WordMaps(
        layers=layers,
        layers_SMTHW=on_grid(a_SMK),
        fused_MTHW=on_grid(fuse(a_SMK)),
        neutral_layers_STHW=on_grid(neutral_SMK[:, 0]),
        neutral_THW=on_grid(fuse(neutral_SMK)[0]),
    )


def _read_words(
    trained: Trained,
    clip: Clip,
    question: str,
    answer: str,
    asked: Sequence[Word],
    said: Sequence[Word],
    readout: Readout,
) -> tuple[tuple[int, ...], tuple[int, int, int], torch.Tensor]:
    """Layers, grid and maps [S, M, K] of words of a question and of an answer."""
    turn = Turn(human=_tagged(question, asked), gpt=_tagged(answer, said))
    # A tag needs a track of masks to be located; these are empty, so that nothing is annotated.
    masks: tuple[dict[int, Rle], ...] = tuple({} for _ in (*asked, *said))
    sample = trained.encoder(replace(clip, turns=(turn,), masks=masks))
    device = next(trained.model.parameters()).device
    batch = collate([sample], trained.tokenizer.pad_token_id).to(device)
    _, reading = read(trained, batch, batch.nouns, readout)
    assert reading is not None  # there is a word
    a_SNRK = reading.probe.stacked_SNRK()
    # A readout may read a word in several maps (query "each-before"): here it looks where they do on average.
    rows: dict[int, list[torch.Tensor]] = defaultdict(list)
    for noun_read in reading.reads:
        rows[id(noun_read.noun)].append(a_SNRK[:, noun_read.n, noun_read.rows].mean(1))
    a_SMK = torch.stack([torch.stack(maps).mean(0) for maps in rows.values()], dim=1)
    return reading.probe.layers, reading.reads[0].visual.grid, a_SMK


def _tagged(text: str, words: Sequence[Word]) -> str:
    pieces, copied = [], 0
    for word in words:
        pieces += [text[copied : word.start], f"<ins>{word.word}</ins>"]
        copied = word.end
    return "".join([*pieces, text[copied:]])
