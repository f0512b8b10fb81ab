"""A driver that generates answers is killed at random moments: each kill costs at most one part, or one question."""

import multiprocessing
import os
import random
import shutil
import signal
import threading
from collections import Counter
from functools import partial

import bench_files
import pytest
from answering_kit import benchmark, commit_trial, parts, prepare_here
from llm_server import Model, Reply

from swim.evaluation.decoding import Decoding
from swim.evaluation.judging import AXES
from swimlab.evaluating import answering
from swimlab.evaluating.answering import answer
from swimlab.evaluating.generation import of_trial
from swimlab.evaluating.parts import StoredGeneration
from swimlab.evaluating.scores import score
from swimlab.llm.answer_cache import Answers
from swimlab.llm.client import ChatClient, EndpointConfig
from swimlab.llm.judge import Judge
from swimlab.store.sweep_store import SweepStore

# A process of its own would import torch for five seconds before it could be killed.
FORK = multiprocessing.get_context("fork")
LIFE_S = (0.05, 0.8)  # of a driver: a part takes some 50 ms
FEW = Decoding(max_new_tokens=8)
GRADE = "\n".join(f"{n}. {name}: {5 - n}" for n, name in enumerate(AXES.values(), 1))


def one_life(generation, store, cache, log):
    """A driver without Ray that notes each part when it begins with it."""
    write = answering.PartWriter.write

    def noted(self, number):
        with open(log, "a") as file:  # one write of a line: a kill leaves it whole or not at all
            file.write(f"{number}\n")
        write(self, number)

    answering.PartWriter.write = noted
    answer(generation, store, cache, part_clips=1)


def judged_life(generation, store, cache, url):
    """A driver that has a judge grade the answers, one after another."""
    stored, judge = answer(generation, store, cache, part_clips=1), EndpointConfig(base_url=url, model="judge")
    score(stored, "bench-d", judge=judge, ask=Judge(ChatClient(judge, Answers(store)), at_a_time=1))


def lives(life, rng, most):
    """Starts a driver again and again until it ends by itself, killing it up to `most` times. Returns how often."""
    for deaths in range(most + 1):
        process = FORK.Process(target=life)
        process.start()
        process.join(rng.uniform(*LIFE_S) if deaths < most else 60)
        if process.exitcode is not None:
            break
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    assert process.exitcode == 0
    return deaths


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
@pytest.mark.fault(
    injection="a driver that generates answers is killed at random points",
    symptom="answers lost, made otherwise, or more than one part made again for each kill",
    expected="right: the bytes of a run that nobody killed",
)
def test_killed_drivers_repeat_one_part_each(kills, fault_seed, tmp_path, monkeypatch):
    prepare_here(monkeypatch)
    rng, store, cache = random.Random(fault_seed), SweepStore(str(tmp_path / "store")), tmp_path / "cache"
    generation = of_trial(commit_trial(store), benchmark(tmp_path), cache, decoding=FEW)
    whole = parts(answer(generation, store, cache, part_clips=1))
    killed = 0
    while killed < kills:
        store.backend.delete_many(store.list_files("generations"))
        log = tmp_path / "log"
        log.unlink(missing_ok=True)
        deaths = lives(partial(one_life, generation, store, cache, log), rng, kills - killed)
        killed += deaths
        assert parts(StoredGeneration.load(store, generation.generation_id)) == whole
        made = Counter(log.read_text().split())
        assert made.total() - len(made) <= deaths
        assert len(made) == 7


@pytest.mark.slow
@pytest.mark.fault(
    injection="a driver is killed 20 times while a judge grades its answers: at a question, or right after the answer",
    symptom="a stored answer of the judge is paid for again, or grades differ",
    expected="right: only what was under way at a kill is asked again",
)
def test_killed_drivers_ask_a_judge_for_nothing_that_is_stored(fault_seed, tmp_path, monkeypatch):
    prepare_here(monkeypatch)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    rng, base, cache, kills = random.Random(fault_seed), SweepStore(str(tmp_path / "base")), tmp_path / "cache", 20
    descriptions, _ = bench_files.write(tmp_path, 7)
    generation = of_trial(commit_trial(base), descriptions, cache, decoding=FEW)
    answer(generation, base, cache, part_clips=1)
    drivers, deaths = [], []

    def reply(body, _):
        if len(deaths) < kills and drivers and rng.random() < 0.4:
            threading.Timer(rng.uniform(0, 0.1), drivers[-1].kill).start()
        return Reply(GRADE, wait_s=0.03)

    with Model(reply) as judge:
        calm = SweepStore(shutil.copytree(base.uri, f"{tmp_path}/calm"))
        judged_life(generation, calm, cache, judge.url)
        (grades,), questions = (e.metrics for e in calm.evaluations().values()), set(judge.asked)
        while len(deaths) < kills:
            judge.asked.clear()
            before, store = len(deaths), SweepStore(shutil.copytree(base.uri, f"{tmp_path}/{len(drivers)}"))
            while not store.evaluations():
                drivers.append(FORK.Process(target=judged_life, args=(generation, store, cache, judge.url)))
                drivers[-1].start()
                drivers[-1].join(60)
                if drivers[-1].exitcode:
                    deaths.append(drivers[-1].exitcode)
            (evaluation,) = store.evaluations().values()
            assert (evaluation.metrics, set(judge.asked)) == (grades, questions)
            assert judge.asked.total() - len(judge.asked) <= len(deaths) - before
    assert set(deaths) == {-signal.SIGKILL}
