"""Free-running answers: what a model says to a question about a clip, each token the most likely one after the last,
and where it looks as it reads the question.

The prompt is the beginning of a conversation as training writes it, and positions follow the rule of the model's
authors (`swim.data.positions`) to the end of the answer: transformers' own `generate` counts on behind a long video by
another rule.

Dimensions: B prompts, L tokens of the longest, V words.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from swim.data.annotations.markup import strip_tags
from swim.data.encode import Encoded, Encoder, collate
from swim.data.positions import with_positions
from swim.data.types import Clip, Turn
from swim.deterministic import deterministic
from swim.evaluation.asked_objects import question_tracks, sizes_in_tokens
from swim.evaluation.decoding import Decoding as Decoding
from swim.evaluation.pointing import plan_pointing, pointing
from swim.feed import forward_size
from swim.outputs import Answer
from swim.recipe import Recipe
from swim.supervision.attention import AttentionProbe
from swim.supervision.objective import stock
from swim.train import Trained, autocast

BATCH = 25  # prompts a forward pass, where a model is small enough


@dataclass(frozen=True)
class Prompt:
    """A question about a clip; (`key`, `turn`) names it among others. Tags in the question are left out of what the
    model reads. `system` replaces the system prompt that the model was trained with."""

    clip: Clip
    question: str
    turn: int = 0
    system: str | None = None

    @property
    def key(self) -> str:
        """The clip's."""
        return self.clip.key


def generate(
    recipe: Recipe,
    trained: Trained,
    prompts: Iterable[Prompt],
    decoding: Decoding,
    *,
    batch_size: int | None = None,
    cache: bool = True,
) -> list[Answer]:
    """The answers of a model in evaluation mode, in the order of the prompts.

    In fp32 an answer does not depend on `batch_size` (prompts a forward pass), nor on whether keys and values are
    kept (`cache`) or everything is computed again for each token, but for rounding (see `Answer.leads`).

    Raises:
        DataError: from the encoder, also for a prompt that leaves no room for an answer among the model's positions.
        FloatingPointError: when logits are not finite.
    """
    size = forward_size(recipe, batch_size, BATCH)
    answers: list[Answer] = []
    feed = iter(prompts)
    device = next(trained.model.parameters()).device
    with deterministic(recipe.seed), torch.inference_mode(), autocast(recipe, device):
        while chunk := list(islice(feed, size)):
            answers += _answered(trained, chunk, decoding.max_new_tokens, device, cache)
    return answers


def encode_prompt(encoder: Encoder, prompt: Prompt) -> tuple[Encoded, int]:
    """The tokens of a prompt, up to where the answer begins, with its nouns where their objects have masks, and the
    token that ends an answer. Raises DataError like the encoder."""
    if prompt.system is not None:
        encoder = copy.copy(encoder)
        encoder.system = prompt.system
    tracks = question_tracks(prompt.clip, prompt.turn)
    if tracks and len(strip_tags(prompt.question)[1]) != len(tracks):
        tracks = ()  # an arm of prompts may name objects without tags
    encoded = encoder(replace(prompt.clip, turns=(Turn(human=prompt.question, gpt=""),), masks=tracks))
    # The last label of an empty answer is the token that ends it; a family may begin its answers with a space.
    labelled = (encoded.labels_L >= 0).nonzero()[:, 0]
    per_token = [field.name for field in fields(encoded) if field.name.endswith("_L")]
    cut = {name: getattr(encoded, name)[: int(labelled[0])] for name in per_token}
    return replace(encoded, **cut), int(encoded.labels_L[labelled[-1]])


def _answered(trained: Trained, prompts: list[Prompt], most: int, device: torch.device, cache: bool) -> list[Answer]:
    model, tokenizer = stock(trained.model), trained.tokenizer
    encoded, closing = zip(*(encode_prompt(trained.encoder, prompt) for prompt in prompts), strict=True)
    limits = [_limit(trained.encoder, sample, most) for sample in encoded]
    stops = _stops(model, closing[0])
    batch = collate(list(encoded), tokenizer.pad_token_id, side="left").to(device)
    reading = plan_pointing(batch, model)
    tokens: list[list[int]] = [[] for _ in prompts]
    leads: list[list[float]] = [[] for _ in prompts]
    stopped: dict[int, bool] = {}
    for words, gaps in _greedy(model, batch.inputs, cache, reading.probe if reading else None):
        for b in (b for b in range(len(prompts)) if b not in stopped):
            leads[b].append(gaps[b])
            if words[b] in stops:
                stopped[b] = True
                continue
            tokens[b].append(words[b])
            if len(tokens[b]) == limits[b]:
                stopped[b] = False
        if len(stopped) == len(prompts):
            break
    peaks = pointing(batch, reading)
    return [
        Answer(
            key=prompt.key,
            turn=prompt.turn,
            question=strip_tags(prompt.question)[0],
            text=tokenizer.decode(tokens[b], skip_special_tokens=True, clean_up_tokenization_spaces=False),
            finish="stop" if stopped[b] else "limit",
            token_ids=tuple(tokens[b]),
            leads=tuple(leads[b]),
            cells=sizes_in_tokens(prompt.clip, prompt.turn, trained.encoder.family),
            pointing=peaks[b],
        )
        for b, prompt in enumerate(prompts)
    ]


def _greedy(
    model: Any, inputs: dict[str, Any], cache: bool, probe: AttentionProbe | None = None
) -> Iterator[tuple[list[int], list[float]]]:
    """The most likely next token of each row and its lead over the second, again and again, without an end. `inputs`
    are padded on the left; `probe` reads the pass over them. The places of images and videos are no words."""
    inputs = with_positions(model.config, inputs)
    if inputs.get("position_ids") is None:  # a family without positions of its own counts tokens
        inputs["position_ids"] = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    position = inputs["position_ids"]  # [B, L], or [axes, B, L] where positions are rotary in several dimensions
    next_B1 = (position if position.ndim == 2 else position.amax(0)).amax(-1, keepdim=True) + 1
    places = [getattr(model.config, f"{kind}_token_id", None) for kind in ("image", "video")]
    no_words = [token for token in places if token is not None]
    call, blind = inputs | ({"probe": probe} if probe else {}), inputs.get("blind", ())
    while True:
        output = model(**call, use_cache=cache, logits_to_keep=1)
        logits_BV = output.logits[:, -1].float()
        logits_BV[:, no_words] = -math.inf
        best_B2, words_B2 = logits_BV.topk(2)
        if not torch.isfinite(best_B2).all():
            raise FloatingPointError("the logits of the next token are not finite: the weights are damaged or diverged")
        words_B = words_B2[:, 0]
        yield words_B.tolist(), (best_B2[:, 0] - best_B2[:, 1]).tolist()
        added = {"input_ids": words_B[:, None], "position_ids": next_B1.expand(*position.shape[:-1], 1)}
        inputs["attention_mask"] = _longer(inputs["attention_mask"], torch.ones_like(words_B)[:, None])
        if cache:
            call = {"attention_mask": inputs["attention_mask"], "past_key_values": output.past_key_values, **added}
            if blind:  # the tokens of an answer are as blind as the prompt's last
                call["blind"] = tuple(rows.at(0) for rows in blind)
        else:
            if "mm_token_type_ids" in inputs:
                added["mm_token_type_ids"] = torch.zeros_like(words_B)[:, None]
            if blind:
                length = inputs["input_ids"].shape[1]
                inputs["blind"] = (*inputs["blind"], *(rows.at(length) for rows in blind))
            inputs |= {name: _longer(inputs[name], new) for name, new in added.items()}
            call = inputs
        next_B1 = next_B1 + 1


def _longer(rows: Tensor, column: Tensor) -> Tensor:
    return torch.cat([rows, column.to(rows.dtype)], dim=-1)


def _limit(encoder: Encoder, prompt: Encoded, most: int) -> int:
    """How many tokens an answer may have: `most`, or until the model's positions end. The encoder refuses a prompt that
    leaves none: it counts an empty answer."""
    return most if encoder.positions is None else min(most, encoder.positions - len(prompt.input_ids_L))


def _stops(model: Any, closing: int) -> set[int]:
    """The tokens that end an answer: the one that training put there, and those that the model's authors name."""
    named = getattr(model.generation_config, "eos_token_id", None)
    authors = named if isinstance(named, list) else [] if named is None else [named]
    return {closing, *authors}
