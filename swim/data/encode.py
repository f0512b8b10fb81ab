"""Clip → model inputs: the chat in tokens, labels on answers only, pixels, and the token positions of each tagged noun.

How a conversation is written and what a video becomes is the model family's (`swim.data.family`).
Dimensions: L tokens, B samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling

from swim.data import chat
from swim.data.annotations import markup
from swim.data.answer_tokens import AnswerTokens, answers_of_turns
from swim.data.context import require_positions
from swim.data.documents import Noun
from swim.data.family import Family, video_parts
from swim.data.positions import with_positions
from swim.data.types import AnswerSlot, Clip, DataError
from swim.supervision.blinding import BlindRows

IGNORE = -100
_REMEMBERED_CHARACTERS = 128


@dataclass(frozen=True)
class NounRow(Noun):
    """One `<ins>` tag located in the tokens, with its noun and question. Question and answer name one object: tags with
    equal masks share one mask object."""

    tag: int
    turn: int
    in_answer: bool
    noun: str
    question: str


@dataclass(frozen=True)
class Encoded:
    """One sample; `family` is that of the model it is for. `slots` are (turn, slot, token positions) of the words that
    answer accuracy counts. `blind_L` marks the tokens whose rows do not see the video (`Recipe.blind_answers`).
    `features_KD` is what the vision tower makes of the frames, where that is at hand."""

    clip: Clip
    family: Family
    input_ids_L: Tensor
    labels_L: Tensor
    blind_L: Tensor
    nouns: tuple[NounRow, ...]
    slots: tuple[tuple[int, AnswerSlot, tuple[int, ...]], ...]
    features_KD: Tensor | None = None


class Encoder:
    """Turns clips into `Encoded` samples for a tokenizer and a model family. `system` is the prompt that conversations
    begin with, None for none (the tiny recipes save its tokens); `positions`: the most tokens that a sample may have.
    `features`: frames of a clip → what the model's vision tower makes of them (`swim.models.vision_features`), or None
    where the model is to run it. `blind_answers` is as in a recipe.

    Raises ValueError for a tokenizer that has not the family's tokens.
    """

    def __init__(
        self,
        tokenizer: Any,
        family: Family,
        *,
        system: str | None,
        positions: int | None = None,
        blind_answers: bool = False,
    ) -> None:
        self.tokenizer, self.family, self.system, self.positions = tokenizer, family, system, positions
        self.blind_answers = blind_answers
        self.features: Callable[[NDArray[np.uint8]], Tensor | None] = lambda frames_THWC: None
        vocabulary = tokenizer.get_vocab()
        if missing := [token for token in family.tokens if token not in vocabulary]:
            raise ValueError(
                f"the tokenizer lacks {', '.join(missing)}, which conversations of a {family.config.model_type} model "
                "hold: use the tokenizer of the checkpoint"
            )
        self._ids: dict[str, int] = {token: int(vocabulary[token]) for token in family.tokens}
        if (own := self._ids[family.visual_token]) != family.visual_id:
            raise ValueError(
                f"{family.visual_token} is token {own} of the tokenizer, and {family.visual_id} in the model's config: "
                "use the tokenizer of the checkpoint"
            )
        # The fixed pieces of a conversation, and the sentences of generated data, come again and again.
        self._remembered = lru_cache(maxsize=4096)(self._tokenize_anew)

    def _tokenize(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        return self._remembered(text) if len(text) <= _REMEMBERED_CHARACTERS else self._tokenize_anew(text)

    def _tokenize_anew(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        # The text of special tokens (`<|im_end|>`) in the data stays text.
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, split_special_tokens=True)
        return encoded["input_ids"], encoded["offset_mapping"]

    def __call__(self, clip: Clip) -> Encoded:
        """The encoded clip. Raises DataError when a tag or slot has no tokens, for frames that the model cannot read,
        and for more tokens than `positions`."""
        video, visual = video_parts(self.family, clip.size_THW, clip.seconds_T, clip.key)
        ids: list[int] = []
        labels: list[int] = []
        nouns: list[NounRow] = []
        slots: list[tuple[int, AnswerSlot, tuple[int, ...]]] = []
        behind: list[int] = []  # of each question: its first token behind the noun
        try:
            for special, run in chat.runs(chat.pieces(self.family.chat, clip.turns, self.system, video)):
                begin = len(ids)
                if special:
                    ids += [self._ids[piece.text] for piece in run]
                else:
                    tokens, offsets = self._tokenize("".join(piece.text for piece in run))
                    ids += tokens
                    for piece, shifted in _words(run, offsets):
                        nouns += _nouns(clip, piece, shifted, begin, len(nouns))
                        slots += _slots(clip, piece, shifted, begin)
                        behind += [] if piece.label else [begin + _behind_noun(clip, piece, shifted)]
                labels += ids[begin:] if run[0].label else [IGNORE] * (len(ids) - begin)
        except ValueError as error:
            raise DataError(str(error), field="conversations", hint="check the tags and slots", key=clip.key) from error
        if clip.masks and len(clip.masks) != len(nouns):
            hint = "each <ins> of the turns needs its own masks, in reading order"
            raise DataError(
                f"{len(nouns)} <ins> tags, {len(clip.masks)} masks", field="conversations", hint=hint, key=clip.key
            )
        if self.positions is not None:
            require_positions(len(ids) - visual, visual, self.positions, clip.key)
        located = _with_answers(nouns, labels, slots)
        ids_L, labels_L, features_KD = torch.tensor(ids), torch.tensor(labels), self.features(clip.frames_THWC)
        blind_L = torch.zeros(len(ids), dtype=torch.bool)
        if self.blind_answers:
            for first, answer in zip(behind, _answers(labels), strict=True):
                blind_L[first : answer.tokens[-1] + 1] = True
        return Encoded(clip, self.family, ids_L, labels_L, blind_L, located, tuple(slots), features_KD)


Offsets = list[tuple[int, int]]


def _words(run: list[chat.Piece], offsets: Offsets) -> Iterator[tuple[chat.Piece, Offsets]]:
    """The pieces of a run that hold the words of a turn, with the characters of each token of the run, counted from the
    first word."""
    start = 0
    for piece in run:
        if piece.turn >= 0:
            first = start + piece.lead
            yield piece, [(a - first, b - first) for a, b in offsets]
        start += len(piece.text)


def _nouns(clip: Clip, piece: chat.Piece, offsets: Offsets, begin: int, earlier: int) -> list[NounRow]:
    """The tagged nouns of a turn's question or answer, whose tokens start at `begin`; `earlier` nouns came before.
    Raises ValueError for one without tokens or without masks."""
    if not clip.masks or not piece.tags:
        return []  # without masks a tag is only text
    question = markup.strip_tags(clip.turns[piece.turn].human)[0]
    nouns = []
    for tag, span in enumerate(piece.tags, start=earlier):
        if tag == len(clip.masks):
            raise ValueError(f"the <ins> tag of {span.text!r} has no masks, {tag} earlier ones do")
        tokens = tuple(begin + i for i in markup.token_positions(offsets, span))
        track = clip.masks[clip.masks.index(clip.masks[tag])]
        nouns.append(NounRow(tokens, track, tag, piece.turn, piece.label, span.text, question))
    return nouns


def _slots(
    clip: Clip, piece: chat.Piece, offsets: Offsets, begin: int
) -> list[tuple[int, AnswerSlot, tuple[int, ...]]]:
    """The slots of a turn's answer, like `_nouns`."""
    slots = []
    for slot in clip.turns[piece.turn].slots if piece.label else ():
        tokens = markup.token_positions(offsets, markup.Span(slot.start, slot.end, slot.name))
        slots.append((piece.turn, slot, tuple(begin + i for i in tokens)))
    return slots


def _behind_noun(clip: Clip, piece: chat.Piece, offsets: Offsets) -> int:
    """How many tokens of a question's run stand up to its last tagged noun, or its last word where none is tagged."""
    words = markup.strip_tags(clip.turns[piece.turn].human)[0]
    end = piece.tags[-1].end if piece.tags else len(words)
    return sum(first < end for first, _ in offsets)


@dataclass(frozen=True)
class Batch:
    """A batch: `inputs` are the keywords of `model(...)`, made of `tokens` (all but the pixels) and of the `frames` of
    each sample [T, H, W, 3], uint8, or of the `features` of each [K, D], where all have them; `nouns` has one tuple per
    sample, with positions in the padded rows. `plan` is what the forward pass needs besides, where it has been worked
    out beforehand (`swim.supervision.forward_plan`); `blind` the rows that do not see the video, None where all do."""

    samples: tuple[Encoded, ...]
    tokens: dict[str, Any]
    frames: tuple[Tensor, ...]
    labels_BL: Tensor
    nouns: tuple[tuple[NounRow, ...], ...]
    plan: Any = None
    features: tuple[Tensor, ...] = ()
    blind: BlindRows | None = None

    @cached_property
    def inputs(self) -> dict[str, Any]:
        """The keywords of `model(...)`. Frames become pixel inputs here, on the device of the frames, and are kept."""
        tokens = self.tokens if self.blind is None else self.tokens | {"blind": (self.blind,)}
        if self.features:
            of_videos = BaseModelOutputWithPooling(pooler_output=self.features)
            return tokens | {"mm_encoder_outputs": {"video": of_videos}}
        if not self.frames:
            return tokens
        return tokens | self.samples[0].family.pixel_inputs(self.frames)

    def to(self, device: torch.device) -> Batch:
        """The batch on a device. The host does not wait for the copies of a pinned one."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """The batch in pinned memory, its plan included."""
        return replace(self._each(Tensor.pin_memory), plan=self.plan and self.plan.pin_memory())

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        tokens = {name: change(value) if isinstance(value, Tensor) else value for name, value in self.tokens.items()}
        frames, features = tuple(map(change, self.frames)), tuple(map(change, self.features))
        labels_BL, blind = change(self.labels_BL), self.blind and self.blind.each(change)
        return replace(self, tokens=tokens, frames=frames, features=features, labels_BL=labels_BL, blind=blind)


def collate(samples: list[Encoded], pad_id: int, side: Literal["left", "right"] = "right") -> Batch:
    """Pads to the longest sample: on the right for training, on the left for generation."""
    longest = max(len(s.input_ids_L) for s in samples)

    def pad(rows: list[Tensor], value: int) -> Tensor:
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value, padding_side=side)

    tokens = {
        "input_ids": pad([s.input_ids_L for s in samples], pad_id),
        "attention_mask": pad([torch.ones_like(s.input_ids_L) for s in samples], 0),
    }
    tokens |= _token_inputs(samples, tokens["input_ids"])
    shifts = [longest - len(s.input_ids_L) if side == "left" else 0 for s in samples]
    labels_BL = pad([s.labels_L for s in samples], IGNORE)
    blind = _blind(samples, list(range(len(samples))), shifts)
    nouns = _shift_nouns(samples, shifts)
    return Batch(tuple(samples), tokens, labels_BL=labels_BL, nouns=nouns, blind=blind, **_seen(samples))


def pack(samples: list[Encoded], config: Any) -> Batch:
    """All samples in one row without padding, for a model of this config (`model.config`).

    M-RoPE and the text positions restart with each sample; transformers separates samples by the text positions."""
    lengths = [len(s.input_ids_L) for s in samples]
    positions = []
    for sample, length in zip(samples, lengths, strict=True):
        ids_1L = sample.input_ids_L[None]
        alone = with_positions(config, {"input_ids": ids_1L, **_token_inputs([sample], ids_1L)})
        text_1L = torch.arange(length)[None]
        rope = alone.get("position_ids")
        positions.append(text_1L if rope is None else torch.cat([text_1L[None], rope]))
    labels = [s.labels_L.clone() for s in samples]
    for label_L in labels:
        label_L[0] = IGNORE  # the last token of one sample does not predict the first of the next
    ids_1L = torch.cat([s.input_ids_L for s in samples])[None]
    tokens = {"input_ids": ids_1L, "position_ids": torch.cat(positions, dim=-1), **_token_inputs(samples, ids_1L)}
    shifts = [sum(lengths[:i]) for i in range(len(lengths))]
    nouns, blind = _shift_nouns(samples, shifts), _blind(samples, [0] * len(samples), shifts)
    return Batch(tuple(samples), tokens, labels_BL=torch.cat(labels)[None], nouns=nouns, blind=blind, **_seen(samples))


def _token_inputs(samples: list[Encoded], ids_BL: Tensor) -> dict[str, Tensor]:
    return samples[0].family.token_inputs(ids_BL, [sample.clip for sample in samples])


def _seen(samples: list[Encoded]) -> dict[str, tuple[Tensor, ...]]:
    """`frames` and `features` of a batch."""
    features = tuple(s.features_KD for s in samples if s.features_KD is not None)
    if len(features) == len(samples):
        return {"frames": (), "features": features}
    # Copied: frames out of a file are read-only, which torch cannot say of a tensor.
    return {"frames": tuple(torch.tensor(s.clip.frames_THWC) for s in samples)}


def _blind(samples: list[Encoded], batch_rows: list[int], shifts: list[int]) -> BlindRows | None:
    """The rows of a batch that do not see the video of their sample; sample i stands in batch row `batch_rows[i]`,
    `shifts[i]` positions later than alone."""
    some = [i for i, sample in enumerate(samples) if sample.blind_L.any()]
    if not some:
        return None

    def places(i: int, marked_L: Tensor) -> list[int]:
        return (marked_L.nonzero()[:, 0] + shifts[i]).tolist()

    return BlindRows.of_lists(
        [batch_rows[i] for i in some],
        [places(i, samples[i].blind_L) for i in some],
        [places(i, samples[i].input_ids_L == samples[i].family.visual_id) for i in some],
    )


def _shift_nouns(samples: list[Encoded], shifts: list[int]) -> tuple[tuple[NounRow, ...], ...]:
    return tuple(
        tuple(noun.shifted(shift) for noun in sample.nouns) for sample, shift in zip(samples, shifts, strict=True)
    )


def _answers(labels: list[int], slots: Iterable[tuple[int, int]] = ()) -> list[AnswerTokens]:
    return answers_of_turns([label != IGNORE for label in labels], slots)


def _with_answers(
    nouns: list[NounRow], labels: list[int], slots: list[tuple[int, AnswerSlot, tuple[int, ...]]]
) -> tuple[NounRow, ...]:
    """Each turn's answer goes to its first noun, once; to none where the turn names several objects, since nothing
    says which of them a word of the answer is about."""
    answers = _answers(labels, [(turn, tokens[0]) for turn, _, tokens in slots])
    complete: list[NounRow] = []
    for noun in nouns:
        of_turn = [other for other in nouns if other.turn == noun.turn]
        own = noun is of_turn[0] and all(other.masks == noun.masks for other in of_turn)
        complete.append(replace(noun, answer=answers[noun.turn] if own else AnswerTokens()))
    return tuple(complete)
