"""One fresh process of the decoding measurement: passes over the clips, training on stored ones, or a whole sweep."""

from __future__ import annotations

import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from decode_data import Data, tiny, tiny_clips
from decode_passes import PASSES, start_ray
from swim.data.clips import Clips
from swim.data.types import Clip
from swim.recipe import Recipe

SAMPLE_S = 0.25
Answer = dict[str, Any]


def measure(job: str, data: Data, processes: int, memory: bool) -> list[Answer]:
    """What a job measured, pass by pass: the fields of a `DecodeCost` but its round. Raises RuntimeError when a reader
    gave other frames than it was asked for."""
    answers = []
    for scheme, cores, times, read in PASSES[job](data, processes):
        expected = times * sum(len(request.indices) for request in data.frame_requests())
        with _peak(memory) as peak:
            began_s = time.perf_counter()
            counts = list(read())
            time_s = time.perf_counter() - began_s
        if sum(counts) != expected:
            raise RuntimeError(f"{scheme}: {sum(counts)} frames came, {expected} were asked for")
        rate = expected / time_s
        answer = {"scheme": scheme, "size": data.size, "processes": cores, "clips": len(counts), "frames": expected}
        answer |= {"time_s": time_s, "frames_per_s": rate, "frames_per_core_s": rate / cores}
        answers.append(answer | {"peak_bytes": max(peak, default=None)})
    return answers


class Watched:
    """Clips that are read when the first is asked for, so that loading them counts as waiting; and since when."""

    def __init__(self, clips: Clips) -> None:
        self._clips, self.keys = clips, clips.keys
        self.began_s = 0.0

    def read(self, order: Iterable[int]) -> Iterator[Clip]:
        """See `swim.data.clips.Clips`."""
        self.began_s = time.perf_counter()
        yield from self._clips.read(order)


def training(recipe: Recipe, stored: Clips) -> Answer:
    """A recipe on stored clips, on one thread as its trials run: the share of the steps spent waiting for clips, and
    that spent turning them into tensors. `time_s` is a step."""
    import torch

    from swim.train import Host, reading_plan, train

    torch.set_num_threads(1)
    watched = Watched(stored)
    steps = recipe.optim.steps
    ended_s: list[float] = []
    trained = train(recipe, watched, host=Host(on_step=lambda *_: ended_s.append(time.perf_counter())))
    train_s = ended_s[-1] - watched.began_s
    clips = list(watched.read(reading_plan(watched.keys, recipe, 0, 1).ravel().tolist()))
    began_s = time.perf_counter()
    for clip in clips:
        trained.encoder(clip)
    encode_s = time.perf_counter() - began_s
    return {
        "scheme": "training",
        "size": "64px",
        "processes": 1,
        "clips": len(clips),
        "steps": steps,
        "time_s": train_s / steps,
        "wait_share": trained.data_wait_s / train_s,
        "encode_share": encode_s / train_s,
    }


def sweep(cache: Path, processes: int, arms: int) -> Answer:
    """A sweep of `arms` arms and then one more trial, on a data set that nobody has decoded; every decoding of a clip,
    in whatever process, is counted where it happens."""
    import ray
    from rich.console import Console

    from swim.recipe import ShapesWorld, TinyModel
    from swimlab import Ablation, Arm, Metric
    from swimlab.execution import run_ablations
    from swimlab.experiment.plan import make_plan
    from swimlab.experiment.run_settings import Settings

    shape = TinyModel(hidden=32, heads=2, kv_heads=1, intermediate=32, vision_hidden=16, vision_depth=1)
    recipe = tiny(1).override({"model": shape, "data": ShapesWorld(clips=48, held_out=16), "optim.batch": 4})
    first_arms = [Arm(f"arm {i}", {"optim.lr": 1e-3 * (i + 1)}) for i in range(arms)]
    metrics = [Metric("attention.ap", primary=True)]
    with tempfile.TemporaryDirectory(dir=cache, ignore_cleanup_errors=True) as scratch:
        counts = Path(scratch) / "counts"
        counts.mkdir()
        start_ray(processes, runtime_env={"worker_process_setup_hook": counting(str(counts))})
        settings = Settings(store=f"{scratch}/store", cache=Path(scratch))
        console = Console(file=(Path(scratch) / "log").open("w"))
        decoded = []
        for name, arm_list in (("counted", first_arms), ("counted-again", [Arm("late", {"optim.lr": 0.5})])):
            ablation = Ablation(name=name, arms=arm_list, seeds=(0,), metrics=metrics, recipe="tiny")
            (results,) = run_ablations.execute([make_plan(ablation, recipe, settings)], settings, console)
            if any(trial.record is None for trial in results.trials):
                raise RuntimeError(f"a trial failed: {[trial.failure for trial in results.trials]}")
            decoded.append(Counter(line for file in counts.iterdir() for line in file.read_text().splitlines()))
        ray.shutdown()
    first, after = decoded
    return {
        "scheme": "sweep",
        "size": "64px",
        "processes": processes,
        "arms": arms,
        "clips": recipe.data.clips + recipe.data.held_out,
        "decoded": len(first),
        "decodings": first.total(),
        "decodings_after": after.total() - first.total(),
    }


def counting(folder: str) -> Callable[[], None]:
    """What a Ray worker does before anything else: from then on it notes each row that it decodes in `folder`. (It
    travels by value: nothing of this module may be named inside.)"""

    def hook() -> None:
        import os

        from swimlab.data import decode_part

        decode_row = decode_part.decode_row

        def counted(raw: Any, row: int, job: Any) -> Any:
            with open(f"{folder}/{os.getpid()}", "a") as file:
                file.write(f"{job.split} {row}\n")
            return decode_row(raw, row, job)

        decode_part.decode_row = counted

    return hook


def set_up(data: Data, processes: int, steps: int, jobs: Collection[str]) -> list[Answer]:
    """What these jobs need: videos, checked clips, stored clips, those of recipe `tiny`. Kept in the cache."""
    start = partial(start_ray, processes)
    data.draw()
    if "ours" in jobs:
        data.prepared(stored=False, start=start)
    if "cached" in jobs:
        data.prepared(stored=True, start=start)
    if "training" in jobs:
        tiny_clips(steps, data.cache, start)
    return []


@contextmanager
def _peak(sampled: bool) -> Iterator[list[int]]:
    """Memory of this process and all that it started, Ray and its object store included, sampled while inside: pages
    that several processes share count once. Sampling walks page tables, so a pass is timed or sampled."""
    samples: list[int] = []
    if not sampled:
        yield samples
        return
    stop, me = threading.Event(), psutil.Process()

    def sample() -> None:
        while not stop.wait(SAMPLE_S):
            samples.append(sum(map(_bytes, [me, *me.children(recursive=True)])))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        stop.set()
        thread.join()
        samples.append(sum(map(_bytes, [me, *me.children(recursive=True)])))


def _bytes(process: psutil.Process) -> int:
    try:
        memory = process.memory_full_info()
    except psutil.Error:  # gone meanwhile
        return 0
    return int(getattr(memory, "pss", memory.uss))  # only Linux knows the proportional set size
