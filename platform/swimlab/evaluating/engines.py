"""Who computes answers: weights of a trial in this process, or a model behind an OpenAI-compatible server.

Base and tuned model are to be compared by one engine: servers sample frames, place them in time and round in ways of
their own, and then the same weights answer differently.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from swim.data.annotations.markup import strip_tags
from swim.evaluation.decoding import Decoding
from swim.evaluation.evaluate import restore
from swim.evaluation.generate import Prompt, generate
from swim.outputs import Answer
from swimlab.evaluating.generation import Generation, ServedModel
from swimlab.execution.numerics import numerics_of
from swimlab.llm.client import ChatClient, RequestError
from swimlab.store.evaluation_records import TrialTarget
from swimlab.store.scratch import scratch_folder
from swimlab.store.sweep_store import SweepStore

JPEG_QUALITY = 95  # a question about small objects is asked of what is left of them


class Engine(Protocol):
    """Answers prompts. `numerics`: the class within which its answers compare."""

    numerics: Mapping[str, str | int]

    def answers(self, prompts: Sequence[Prompt]) -> list[Answer]:
        """One answer to each prompt, in their order."""


class LoadedModel:
    """The weights of a trial, loaded from the store once. `batch_size`: prompts a forward pass, which in fp32 changes
    no answer beyond ties. Raises StoreError for a checkpoint that was not kept, ValueError for weights that the trial
    no longer has."""

    def __init__(
        self, generation: Generation, store: SweepStore, device: torch.device, batch_size: int | None = None
    ) -> None:
        check_weights(generation, store)
        target, recipe = generation.answerer, generation.recipe
        assert isinstance(target, TrialTarget)
        assert recipe is not None
        with scratch_folder("generate") as scratch:
            self._trained = restore(recipe, store.download(target.trial_id, "checkpoint/", scratch), device)
        self._recipe, self._decoding, self._batch_size = recipe, generation.decoding, batch_size
        self.numerics: Mapping[str, str | int] = numerics_of(recipe, device, world_size=1)

    def answers(self, prompts: Sequence[Prompt]) -> list[Answer]:
        """See `Engine`."""
        return generate(self._recipe, self._trained, prompts, self._decoding, batch_size=self._batch_size)


def check_weights(generation: Generation, store: SweepStore) -> None:
    """Raises like `LoadedModel`, and loads nothing."""
    target = generation.answerer
    assert isinstance(target, TrialTarget)
    record = store.record(target.trial_id)
    if record is None or TrialTarget.of(record) != target:
        raise ValueError(
            f"trial {target.trial_id} was deleted or trained again since this generation was named: name it anew"
        )
    store.open_file(target.trial_id, "checkpoint/config.json")


class Server:
    """A served model, asked `at_a_time` questions at once: every frame of the clip as a JPEG, then the question. What
    it answers is kept in the store (`swimlab.llm.answer_cache`), so that nothing is paid for twice.

    Raises EndpointError when no question can be answered any more, RequestError when one could not be answered now; a
    question that the server refuses is an answer that failed.
    """

    def __init__(self, client: ChatClient, at_a_time: int = 8) -> None:
        self._client, self._at_a_time = client, at_a_time
        self.numerics: Mapping[str, str | int] = {"engine": "server", "model": client.config.model}

    def answers(self, prompts: Sequence[Prompt]) -> list[Answer]:
        """See `Engine`."""
        with ThreadPoolExecutor(self._at_a_time, thread_name_prefix="ask") as threads:
            return list(threads.map(self._answer, prompts))

    def _answer(self, prompt: Prompt) -> Answer:
        facts: dict[str, Any] = {"key": prompt.key, "turn": prompt.turn, "question": strip_tags(prompt.question)[0]}
        try:
            given = self._client.ask(self._client.config.request(messages(prompt)))
        except RequestError as error:
            if not error.lasting:
                raise
            return Answer(**facts, text="", finish="failed", failure=error.reason)
        if given.refusal or given.finish == "content_filter":
            return Answer(**facts, text=given.text, finish="failed", failure=given.refusal or "content filter")
        return Answer(**facts, text=given.text, finish="limit" if given.finish == "length" else "stop")


def request_params(model: ServedModel, decoding: Decoding) -> dict[str, Any]:
    """The parameters of a served model's requests (`EndpointConfig.params`)."""
    return {"temperature": 0, "max_tokens": decoding.max_new_tokens} | model.params


def messages(prompt: Prompt) -> list[dict[str, Any]]:
    """A prompt as OpenAI's chat has it."""
    frames = [{"type": "image_url", "image_url": {"url": _jpeg(frame_HWC)}} for frame_HWC in prompt.clip.frames_THWC]
    question = {"type": "text", "text": strip_tags(prompt.question)[0]}
    system = [] if prompt.system is None else [{"role": "system", "content": prompt.system}]
    return [*system, {"role": "user", "content": [*frames, question]}]


def _jpeg(frame_HWC: NDArray[np.uint8]) -> str:
    file = io.BytesIO()
    Image.fromarray(frame_HWC).save(file, "JPEG", quality=JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
