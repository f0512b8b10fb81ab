"""Whoever generates answers is killed at random moments, and each kill costs at most one part a worker."""

import multiprocessing
import os
import random
import signal
import threading
import time
from collections import Counter

import psutil
import pytest
from answering_kit import benchmark, commit_trial, prepare_here

from swim.evaluation.decoding import Decoding
from swimlab.evaluating import answering
from swimlab.evaluating.answering import answer
from swimlab.evaluating.generation import of_trial
from swimlab.evaluating.parts import StoredGeneration
from swimlab.store.sweep_store import SweepStore

LIFE_S = (0.05, 0.8)  # of a driver: a part takes some 50 ms


def parts(stored):
    """The answers of a generation, as bytes."""
    return {p: stored.store.read(p) for p in stored.store.list_files(stored.folder) if p.endswith(".parquet")}


def one_life(generation, store, cache, log):
    """A driver without Ray that notes each part when it begins with it."""
    write = answering.PartWriter.write

    def noted(self, number):
        with open(log, "a") as file:  # one write of a line: a kill leaves it whole or not at all
            file.write(f"{number}\n")
        write(self, number)

    answering.PartWriter.write = noted
    answer(generation, store, cache, part_clips=1)


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
@pytest.mark.fault(
    injection="a driver that generates answers is killed at random points",
    symptom="answers lost, made otherwise, or more than one part made again for each kill",
    expected="right: the bytes of a run that nobody killed",
)
def test_killed_drivers_repeat_one_part_each(kills, fault_seed, tmp_path, monkeypatch):
    prepare_here(monkeypatch)
    rng, store, cache = random.Random(fault_seed), SweepStore(str(tmp_path / "store")), tmp_path / "cache"
    generation = of_trial(commit_trial(store), benchmark(tmp_path), cache, decoding=Decoding(max_new_tokens=8))
    whole = parts(answer(generation, store, cache, part_clips=1))
    killed = 0
    while killed < kills:
        store.backend.delete_many(store.list_files("generations"))
        log, deaths = tmp_path / f"log-{killed}", 0
        while True:
            # Forked: a process of its own would import torch for five seconds before it could be killed.
            life = multiprocessing.get_context("fork").Process(target=one_life, args=(generation, store, cache, log))
            life.start()
            life.join(rng.uniform(*LIFE_S) if killed < kills else 60)
            if life.exitcode is not None:
                break
            os.kill(life.pid, signal.SIGKILL)
            life.join()
            killed, deaths = killed + 1, deaths + 1
        assert life.exitcode == 0
        assert parts(StoredGeneration.load(store, generation.generation_id)) == whole
        made = Counter(log.read_text().split())
        assert made.total() - len(made) <= deaths
        assert len(made) == 7


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.fault(
    injection="actors that generate answers are killed at random points",
    symptom="a run that ends without all answers, or with others",
    expected="right: Ray Data starts them again",
)
def test_killed_actors_are_started_again(two_cpus, fault_seed, tmp_path):
    rng, store, cache = random.Random(fault_seed), SweepStore(str(tmp_path / "store")), tmp_path / "cache"
    generation = of_trial(commit_trial(store), benchmark(tmp_path), cache, decoding=Decoding(max_new_tokens=500))
    ended, killed = threading.Event(), []

    def kill_actors():
        while not ended.wait(rng.uniform(0.5, 1.5)) and len(killed) < 3:
            ours = psutil.Process().children(recursive=True)  # of this test's Ray, and nobody else's
            actors = [process for process in ours if process.is_running() and "Actor" in process.name()]
            if actors and store.list_files("generations"):
                rng.choice(actors).kill()
                killed.append(time.monotonic())

    killer = threading.Thread(target=kill_actors)
    killer.start()
    try:
        stored = answer(generation, store, cache, workers=2, gpu=False, part_clips=1)
    finally:
        ended.set()
        killer.join()
    assert killed
    assert stored.missing() == []
    assert len(stored.answers()) == 21
    alone = SweepStore(str(tmp_path / "alone"))
    again = of_trial(commit_trial(alone), generation.data, cache, decoding=generation.decoding)
    texts = [given.token_ids for given in answer(again, alone, cache, gpu=False, part_clips=1).answers()]
    assert [given.token_ids for given in stored.answers()] == texts
