"""A question about any video: its frames, as the model was trained to see them, and the answer."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from swim.data.annotations.markup import Span, strip_tags
from swim.data.nl_refer.rules import question_noun
from swim.data.types import Clip, ReferSample, Turn
from swim.data.video.decode import decode_sample
from swim.evaluation.generate import Decoding, Prompt, generate
from swim.evaluation.word_maps import Word, WordMaps, word_maps, words_of
from swim.outputs import Answer
from swim.recipe import FramePolicy
from swimlab.checkpoints.load import NamedModel, load


@dataclass(frozen=True)
class View:
    """What one model says, `text` being the number of its answer among the texts, and where each word looks."""

    name: str
    text: int
    finish: str
    maps: WordMaps


@dataclass(frozen=True)
class Look:
    """One or two models on one question about one video.

    T' temporal patches; `frames_THWC` has the first frame of each, uint8, `times_s` its time. `texts` are the question
    and the answers, each once; `nouns` are numbers of words, `by_rule` says that no tag marked them.
    """

    video: str
    texts: tuple[str, ...]
    words: tuple[Word, ...]
    nouns: tuple[int, ...]
    by_rule: bool
    frames_THWC: NDArray[np.uint8]
    times_s: tuple[float, ...]
    views: tuple[View, ...]


def clip_of(video: str, question: str, policy: FramePolicy) -> Clip:
    """The frames of a video file or a folder of pictures, evenly over its length.

    Args:
        video: a path, or s3://bucket/key.
        question: becomes the clip's only turn.
        policy: how many frames, and at what size.

    Raises:
        DataError: for a video that cannot be read.
        OSError: when S3 cannot be reached.
    """
    root, _, name = video.rstrip("/").rpartition("/")
    root = root or ("/" if video.startswith("/") else ".")
    turns = (Turn(human=question, gpt=""),)
    return decode_sample(ReferSample(key=name, file=video, row=-1, video=name, turns=turns), root, policy)


def answer(model: NamedModel, clip: Clip, question: str, max_new_tokens: int) -> Answer:
    """What a model says, decoded greedily. Raises DataError for a question that is too long."""
    decoding = Decoding(max_new_tokens=max_new_tokens)
    return generate(model.recipe, model.trained, [Prompt(clip, question)], decoding)[0]


def nouns_of(question: str) -> tuple[str, list[Span], bool]:
    """The question without its tags, its tagged nouns, or the one that a rule finds, and whether a rule did. Raises
    DataError where there is no tag and the rule cannot decide, ValueError for tags that cannot be read."""
    plain, spans = strip_tags(question)
    if spans:
        return plain, spans, False
    start, end = question_noun(plain)
    return plain, [Span(start, end, plain[start:end])], True


def look(
    source: str,
    base: str | None,
    video: str,
    question: str,
    *,
    store_uri: str,
    device: torch.device,
    max_new_tokens: int,
    layers: str | tuple[int, ...] | None = None,
) -> Look:
    """Asks a model and the one to compare it with, and reads where each word of the question and of both answers looks.

    Both see the frames that the first was trained on, and are read by its readout.

    Args:
        source: the model, as `load` takes it.
        base: the model beside it; "start": what the first was trained from; None: no other.
        video: see `clip_of`.
        question: with the noun tagged (`<ins>dog</ins>`), or found by rule.
        store_uri: the store of trials.
        device: where the models compute.
        max_new_tokens: the longest answer.
        layers: other layers than those of the readout.

    Raises:
        ValueError: when the first model has no start, and see `load`.
        DataError: see `clip_of` and `nouns_of`.
    """
    plain, spans, by_rule = nouns_of(question)
    with ExitStack() as stack:
        models = [stack.enter_context(load(source, store_uri, device))]
        other = models[0].start if base == "start" else base
        if base == "start" and other is None:
            raise ValueError(
                f"{source} names no model that its training started from: name one with --base, or --base none"
            )
        if other is not None:
            models.append(stack.enter_context(load(other, store_uri, device)))
        readout = models[0].readout
        if layers is not None:
            readout = readout.model_copy(update={"layers": layers})
        clip = clip_of(video, plain, models[0].recipe.data.frames)
        answers = [answer(model, clip, plain, max_new_tokens) for model in models]
        texts = (plain, *dict.fromkeys(said.text for said in answers))
        words = words_of(texts, spans)
        views = tuple(
            View(
                name=model.name,
                text=texts.index(said.text, 1),
                finish=said.finish,
                maps=word_maps(model.recipe, model.trained, clip, texts, words, readout),
            )
            for model, said in zip(models, answers, strict=True)
        )
    per_patch = len(clip.frames_THWC) // views[0].maps.fused_MTHW.shape[1]
    return Look(
        video=video,
        texts=texts,
        words=words,
        nouns=tuple(i for i, word in enumerate(words) if word.text == 0 and word.start in {s.start for s in spans}),
        by_rule=by_rule,
        frames_THWC=clip.frames_THWC[::per_patch],
        times_s=tuple(frame / clip.fps for frame in clip.frame_indices[::per_patch]),
        views=views,
    )
