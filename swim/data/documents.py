"""Positions of samples, nouns and visual tokens in a batch, for any model family, padding side and packing.

Dimensions: B batch rows, L row length, K visual tokens of a document, T' × H' × W' their grid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Self

from torch import Tensor

from swim.data.annotations.markup import strip_tags, token_positions
from swim.data.answer_tokens import AnswerTokens
from swim.data.family import Visual, family_of
from swim.data.types import Rle


@dataclass(frozen=True)
class Noun:
    """One tagged noun: its sub-tokens' positions in the batch row, and frame slot (0…T-1 as shown) → mask.

    `answer` is the answer about its object, for queries that read the rows of answers: empty where another noun stands
    for that answer or none does, None where it is not known.
    """

    tokens: tuple[int, ...]
    masks: Mapping[int, Rle]
    answer: AnswerTokens | None = field(default=None, kw_only=True)

    @property
    def known_answer(self) -> AnswerTokens:
        """The answer. Raises ValueError where it is not known."""
        if self.answer is None:
            raise ValueError(
                f"the noun at tokens {list(self.tokens)} does not say where its answer is, and the query reads rows of "
                "answers: set Noun.answer (swim.data.answer_tokens.AnswerTokens), or choose another query"
            )
        return self.answer

    def shifted(self, shift: int) -> Self:
        """The same noun `shift` positions later."""
        tokens = tuple(token + shift for token in self.tokens)
        return replace(self, tokens=tokens, answer=self.answer and self.answer.shifted(shift))


@dataclass(frozen=True)
class Document:
    """One sample: the tokens [start, end) of a batch row. `visual` counts from the start of the row."""

    row: int
    start: int
    end: int
    visual: Visual | None


def documents(config: Any, inputs: Mapping[str, Tensor]) -> list[Document]:
    """The documents of a batch in reading order, from `attention_mask` (padding on either side) or, without one, from
    `position_ids` that restart at 0 (packing; [B, L], or [4, B, L] with the text positions first).

    Raises ValueError for a model family without a file in swim/models/families/, for holes in `attention_mask` and,
    from the family, for visual tokens that do not fill their grid: one video a sample, whether it has nouns or not.
    """
    family = family_of(config)
    ids_BL = inputs["input_ids"].cpu()
    batch_documents: list[Document] = []
    videos = 0
    for row, start, end in _document_spans(inputs, tuple(ids_BL.shape)):
        visual = family.locate(inputs, ids_BL[row, start:end], videos)
        if visual is not None:
            videos += 1
            visual = replace(visual, columns_K=visual.columns_K + start)
        batch_documents.append(Document(row, start, end, visual))
    return batch_documents


def _document_spans(inputs: Mapping[str, Tensor], shape: tuple[int, ...]) -> list[tuple[int, int, int]]:
    rows, length = shape
    if (mask := inputs.get("attention_mask")) is not None:
        spans = []
        for row, mask_L in enumerate(mask.cpu().bool()):
            real = mask_L.nonzero()[:, 0]
            if len(real) == 0 or int(real[-1]) - int(real[0]) + 1 != len(real):
                raise ValueError(f"row {row}: attention_mask must be ones in one piece, with padding at either side")
            spans.append((row, int(real[0]), int(real[-1]) + 1))
        return spans
    if (positions := inputs.get("position_ids")) is not None:
        text_BL = positions if positions.ndim == 2 else positions[0]
        if positions.ndim == 3 and len(positions) != 4:
            raise ValueError("packed position_ids need the text positions first: shape [4, B, L]")
        starts = [(text_L == 0).nonzero()[:, 0].tolist() for text_L in text_BL.cpu().expand(rows, length)]
        return [(row, a, b) for row, row_starts in enumerate(starts) for a, b in pairwise([*row_starts, length])]
    return [(row, 0, length) for row in range(rows)]


def tagged_nouns(
    tokenizer: Any,
    text: str,
    tracks: Sequence[Mapping[int, Rle]],
    inputs: Mapping[str, Tensor],
    row: int = 0,
    end: int | None = None,
) -> list[Noun]:
    """The nouns tagged `<ins>…</ins>` in the chat text of one batch row, `tracks` giving the masks of each in order.

    For a trainer of your own: `inputs` are what a processor made of the text without its tags. Placeholders before the
    first noun may have been expanded (a video token into thousands); the tokens from there on must be the same, at the
    end of the row's real tokens, or before `end` where samples are packed. Raises ValueError for misspelt tags, for
    tags without masks, and where the tokens differ.
    """
    plain, spans = strip_tags(text)
    if len(spans) != len(tracks):
        raise ValueError(f"{len(spans)} <ins> tags, {len(tracks)} tracks of masks: give one each, in reading order")
    encoded = tokenizer(plain, add_special_tokens=False, return_offsets_mapping=True)
    ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
    ids_L = inputs["input_ids"][row].cpu()
    if end is None:
        mask = inputs.get("attention_mask")
        end = len(ids_L) if mask is None else int(mask[row].cpu().nonzero()[-1]) + 1
    noun_tokens = [token_positions(offsets, span) for span in spans]
    first = min((tokens[0] for tokens in noun_tokens), default=len(ids))
    if ids_L[end - len(ids) + first : end].tolist() != ids[first:]:
        raise ValueError(
            f"row {row}: from the first noun on, input_ids are not the tokens of the text; encode the same text with "
            "the same tokenizer, do not truncate it, and let the noun come after the video"
        )
    shift = end - len(ids)
    return [Noun(tuple(t + shift for t in tokens), track) for tokens, track in zip(noun_tokens, tracks, strict=True)]
