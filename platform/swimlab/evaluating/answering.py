"""Generates the missing parts of a generation: in this process, or by Ray Data in actors that hold the model."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from swim import registry
from swim.recipe import TinyModel
from swimlab.data import preparation
from swimlab.data.draw_embedded import ReportProgress, quiet
from swimlab.data.prepared_clips import PreparedData, StoredClips, load_prepared
from swimlab.evaluating.engines import Engine, LoadedModel, Server, check_weights, request_params
from swimlab.evaluating.generation import PROMPTS, Generation, ServedModel
from swimlab.evaluating.parts import StoredGeneration
from swimlab.execution import cluster
from swimlab.identity.source_archive import archive
from swimlab.identity.source_closure import Sources, fingerprint
from swimlab.llm.answer_cache import Answers
from swimlab.llm.budget import Spending
from swimlab.llm.client import ChatClient, EndpointConfig, EndpointError
from swimlab.store.paths import code_path
from swimlab.store.sweep_store import SweepStore

# Clips to a part: what a killed worker repeats. Those of a tiny model are answered in one forward pass.
PART_CLIPS, TINY_PART_CLIPS = 4, 25


class AnsweringError(Exception):
    """Some answers are missing. The message says why and what to do; finished parts are kept."""


def answer(
    generation: Generation,
    store: SweepStore,
    cache: Path,
    *,
    workers: int = 0,
    gpu: bool | None = None,
    batch_size: int | None = None,
    endpoint: EndpointConfig | None = None,
    budget: Spending | None = None,
    part_clips: int | None = None,
    progress: ReportProgress = lambda stage, done, total: None,
) -> StoredGeneration:
    """The generation with all its answers: those in the store, else generated now. Run again after a kill, it goes on.

    Args:
        cache: a folder that every worker can reach, for what preparing the clips writes.
        workers: actors of Ray Data that each hold the model; 0: this process, without Ray once the clips are prepared.
        gpu: whether a worker takes a GPU; by default where the cluster, or with 0 workers this machine, has one.
        batch_size: prompts a forward pass.
        endpoint: where a served model is; its `model` and `params` are the generation's.
        budget: what a served model may cost; by default there is no limit.
        part_clips: clips to a part; those of an earlier run stay as they were cut.

    Raises:
        AnsweringError: when parts failed; PipelineError when the clips cannot be prepared; PlanError when the workers
            do not fit the cluster; EndpointError when the server cannot answer; StoreError.
    """
    prepared = prepare(generation, store, cache, progress)
    default = TINY_PART_CLIPS if generation.recipe and isinstance(generation.recipe.model, TinyModel) else PART_CLIPS
    stored = StoredGeneration.create(store, generation, prepared.rows("train"), part_clips or default)
    missing = stored.missing()
    if not missing:
        return stored
    sources = archive(Sources().closure(generation.roots).values())
    store.put_create_only(code_path(generation.code_fingerprint), sources)
    if isinstance(generation.answerer, ServedModel):
        results = _here(PartWriter(stored, _server(generation, store, endpoint, budget)), missing)
    elif workers == 0:
        use_gpu = torch.cuda.is_available() if gpu is None else gpu
        results = _here(PartWriter(stored, _loaded(stored, use_gpu, batch_size)), missing)
    else:
        results = _on_ray(stored, missing, workers, gpu, batch_size)
    failures = []
    for done, (number, failure) in enumerate(results, start=1):
        progress("generate answers", done, len(missing))
        failures += [f"part {number}: {failure}"] if failure else []
    if failures:
        raise AnsweringError(
            f"{len(failures)} of {len(missing)} parts failed; the first: {failures[0]}. Finished parts are kept: run "
            "the same command again"
        )
    return stored


def prepare(generation: Generation, store: SweepStore, cache: Path, progress: ReportProgress) -> PreparedData:
    """The generation's clips, from the store or decoded into it by Ray Data. Raises PipelineError, PlanError."""
    if (prepared := load_prepared(store, generation.clips_fingerprint)) is not None:
        return prepared
    model = generation.recipe.model if generation.recipe else None
    with cluster.ray_session():
        return preparation.prepare(generation.data, generation.clips_fingerprint, store, cache, progress, model=model)


class PartWriter:
    """Answers the prompts of one part after another and stores each part."""

    def __init__(self, stored: StoredGeneration, engine: Engine) -> None:
        generation = stored.plan.generation
        prepared = load_prepared(stored.store, generation.clips_fingerprint)
        if prepared is None:
            raise FileNotFoundError(f"clips/{generation.clips_fingerprint} is not in {stored.store.uri}: prepare it")
        self._stored, self._engine = stored, engine
        self._clips = StoredClips(stored.store, prepared, "train")
        self._prompts = registry.load(PROMPTS, generation.arm)

    def write(self, number: int) -> None:
        """Generates a part and stores it."""
        began_s, system = time.monotonic(), self._stored.plan.generation.system
        prompts = [
            prompt if prompt.system is not None else replace(prompt, system=system)
            for clip in self._clips.read(self._stored.plan.clips_of(number))
            for prompt in self._prompts(clip)
        ]
        answers = self._engine.answers(prompts)
        self._stored.put(number, answers, self._engine.numerics, time.monotonic() - began_s)


class Actor:
    """A `PartWriter` in a process of Ray Data, which loads the model once."""

    def __init__(self, store_uri: str, generation_id: str, use_gpu: bool, batch_size: int | None) -> None:
        stored = StoredGeneration.load(SweepStore(store_uri), generation_id)
        generation = stored.plan.generation
        code = fingerprint(Sources().module_hashes(generation.roots))
        if code != generation.code_fingerprint:
            raise RuntimeError(
                f"this process has code {code}, the generation was named with {generation.code_fingerprint}: a source "
                "file changed since, or differs on this node; run the same command again"
            )
        self._writer = PartWriter(stored, _loaded(stored, use_gpu, batch_size))

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Row {"part": number} → the same with the "failure", "" where there was none."""
        return row | {"failure": _failure(self._writer, int(row["part"]))}


def _here(writer: PartWriter, parts: Iterable[int]) -> Iterator[tuple[int, str]]:
    return ((number, _failure(writer, number)) for number in parts)


def _failure(writer: PartWriter, number: int) -> str:
    try:
        writer.write(number)
    except EndpointError:  # it ends all parts
        raise
    except Exception as error:  # of one part: the others are worth having
        return f"{type(error).__name__}: {error}"
    return ""


def _on_ray(
    stored: StoredGeneration, parts: list[int], workers: int, gpu: bool | None, batch_size: int | None
) -> Iterator[tuple[int, str]]:
    check_weights(stored.plan.generation, stored.store)  # one error here, not one from every actor
    with cluster.ray_session():
        import ray.data  # only where workers were asked for

        slots = cluster.slots(workers=workers, gpu=gpu, concurrency=1)
        use_gpu = "GPU" in slots.worker
        with quiet():
            rows = ray.data.from_items([{"part": number} for number in parts], override_num_blocks=len(parts)).map(
                Actor,
                fn_constructor_args=(stored.store.uri, stored.plan.generation.generation_id, use_gpu, batch_size),
                compute=ray.data.ActorPoolStrategy(size=min(workers, len(parts))),
                num_cpus=slots.worker["CPU"],
                num_gpus=slots.worker.get("GPU"),
            )
            for row in rows.iter_rows():
                yield row["part"], row["failure"]


def _loaded(stored: StoredGeneration, use_gpu: bool, batch_size: int | None) -> Engine:
    device = torch.device("cuda" if use_gpu else "cpu")
    return LoadedModel(stored.plan.generation, stored.store, device, batch_size)


def _server(
    generation: Generation, store: SweepStore, endpoint: EndpointConfig | None, budget: Spending | None
) -> Engine:
    served = generation.answerer
    assert isinstance(served, ServedModel)
    if endpoint is None:
        raise ValueError(f"{served.model} is a served model: say where (an EndpointConfig with its base_url)")
    params = request_params(served, generation.decoding)
    config = endpoint.model_copy(update={"model": served.model, "params": params})
    return Server(ChatClient(config, Answers(store), budget=budget))
