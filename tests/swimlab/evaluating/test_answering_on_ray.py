"""Answers by actors of Ray Data: the same as in one process."""

import random
import sys
import threading
from collections import Counter
from contextlib import contextmanager

import psutil
import pytest
import ray
from answering_kit import benchmark, commit_trial, parts

from swim.evaluation.decoding import Decoding
from swimlab.evaluating import answering
from swimlab.evaluating.answering import answer
from swimlab.evaluating.generation import of_trial
from swimlab.store.sweep_store import SweepStore

KILLS = 20
TIE = 1e-4  # of two logits that rounding may put in either order


@pytest.mark.ray
@pytest.mark.parametrize(
    ("workers", "batch_size"),
    [(2, 25), *(pytest.param(*case, marks=pytest.mark.slow) for case in ((1, 1), (1, 8), (1, 25), (2, 1), (2, 8)))],
)
def test_workers_and_batches_give_the_answers_of_one_process(two_cpus, tmp_path, workers, batch_size):
    data, few, cache = benchmark(tmp_path), Decoding(max_new_tokens=5), tmp_path / "cache"
    answers = []
    for folder, where in (("actors", {"workers": workers, "batch_size": batch_size}), ("here", {"batch_size": 1})):
        store = SweepStore(str(tmp_path / folder))
        generation = of_trial(commit_trial(store), data, cache, decoding=few)
        stored = answer(generation, store, cache, gpu=False, part_clips=2, **where)
        assert [receipt.answers for receipt in stored.receipts()] == [6, 6, 6, 3]
        answers.append(stored.answers())
    ties = 0
    for together, alone in zip(*answers, strict=True):
        assert (together.key, together.turn, together.question) == (alone.key, alone.turn, alone.question)
        if alone.token_ids != together.token_ids:
            pairs = zip(alone.token_ids, together.token_ids, strict=False)
            assert alone.leads[next(i for i, (a, b) in enumerate(pairs) if a != b)] < TIE
            ties += 1
    assert ties <= 2


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.fault(
    injection="actors that generate answers are killed at random points, 20 times",
    symptom="answers lost, made otherwise, or more than one part made again for each kill",
    expected="right: Ray Data starts them again, and the bytes are those of one process",
)
def test_killed_actors_repeat_one_part_each(two_cpus, fault_seed, tmp_path, monkeypatch):
    rng, store, cache = random.Random(fault_seed), SweepStore(str(tmp_path / "store")), tmp_path / "cache"
    generation = of_trial(commit_trial(store), benchmark(tmp_path), cache, decoding=Decoding(max_new_tokens=500))
    whole = parts(answer(generation, store, cache, gpu=False, part_clips=1))
    log, write, killed = tmp_path / "log", answering.PartWriter.write, 0

    def noted(self, number):
        with open(log, "a") as file:
            file.write(f"{number}\n")
        write(self, number)

    monkeypatch.setattr(answering.PartWriter, "write", noted)
    for module in (answering, sys.modules[__name__]):
        ray.cloudpickle.register_pickle_by_value(module)  # or the actors would import `write` as it is in its file
    try:
        while killed < KILLS:
            store.backend.delete_many(store.list_files("generations"))
            log.unlink(missing_ok=True)
            with killing_actors(store, rng, KILLS - killed) as deaths:
                stored = answer(generation, store, cache, workers=2, gpu=False, part_clips=1)
            killed += len(deaths)
            assert parts(stored) == whole
            made = Counter(log.read_text().split())
            assert made.total() - len(made) <= len(deaths)
            assert len(made) == 7
    finally:
        for module in (answering, sys.modules[__name__]):
            ray.cloudpickle.unregister_pickle_by_value(module)


@contextmanager
def killing_actors(store, rng, most):
    """While the block runs, kills an actor now and then, up to `most` of them. Yields the list of their process ids."""
    ended, killed = threading.Event(), []

    def kill():
        while not ended.wait(rng.uniform(0.5, 1.5)) and len(killed) < most:
            ours = psutil.Process().children(recursive=True)  # of this test's Ray, and nobody else's
            actors = [process for process in ours if "(Actor)" in process.name()]
            if actors and store.list_files("generations"):
                actor = rng.choice(actors)
                actor.kill()
                killed.append(actor.pid)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield killed
    finally:
        ended.set()
        killer.join()
