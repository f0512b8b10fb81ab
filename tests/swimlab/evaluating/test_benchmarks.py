"""Both benchmarks end to end: rows in their forms, answered by a trial, scored, judged, and read in the tables."""

from pathlib import Path

import bench_files
import duckdb
import pytest
from answering_kit import commit_trial, prepare_here
from llm_server import Model, Reply

from swim.evaluation.decoding import Decoding
from swim.evaluation.judging import AXES
from swim.evaluation.scorers import bench_d
from swimlab.data.prepared_clips import PipelineError
from swimlab.evaluating.answering import answer
from swimlab.evaluating.generation import of_trial
from swimlab.evaluating.scores import asked, score
from swimlab.llm.answer_cache import Answers
from swimlab.llm.client import ChatClient, EndpointConfig
from swimlab.llm.judge import Judge
from swimlab.store.published_tables import write_tables
from swimlab.store.sweep_store import SweepStore

FEW = Decoding(max_new_tokens=5)
GRADE = "\n".join(f"{n}. {name}: {5 - n}" for n, name in enumerate(AXES.values(), 1))


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A store with a trial, and clips that are decoded in this process."""
    prepare_here(monkeypatch)
    store = SweepStore(str(tmp_path / "store"))
    return store, commit_trial(store)


def test_both_benchmarks_are_answered_scored_and_shown(here, tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    store, trial = here
    descriptions, choices = bench_files.write(tmp_path, 4)
    letters = answer(of_trial(trial, choices, tmp_path, arm="letter", decoding=FEW), store, tmp_path)
    q = score(letters, "bench-q").metrics
    assert q["bench_q.asked"] == 4
    assert {"bench_q.avg", "bench_q_released.avg"} <= set(q)
    said = answer(of_trial(trial, descriptions, tmp_path, decoding=FEW), store, tmp_path)
    with Model(lambda body, n: Reply(GRADE)) as server:

        def judged(model, config=None):
            judge = EndpointConfig(base_url=server.url, model=model)
            return score(said, "bench-d", config, judge=judge, ask=Judge(ChatClient(judge, Answers(store))))

        record = judged("judge-1")
        assert judged("judge-1") == record
        schema = judged("judge-1", bench_d.Config(form="schema"))  # text where JSON was asked for
        other = judged("judge-2")
    assert record.metrics["bench_d.avg by judge-1"] == 2.5
    assert record.metrics["bench_d_released.hd by judge-1"] == 1
    assert schema.metrics["bench_d.undecided by judge-1"] == 1
    assert "bench_d.avg by judge-1" not in schema.metrics
    assert not any("judge-1" in name for name in other.metrics)
    different = len({item.answer.text + item.turn.gpt for item in asked(said)})
    assert len(server.asked) == different * (1 + 3)  # the text, and the schema's three replies
    assert sum(server.asked.values()) == different * (2 + 3)  # the text by two judges; nothing twice

    write_tables(store)
    names = [
        name
        for (name,) in duckdb.sql(f"select distinct suite from '{store.uri}/tables/evaluations/*.parquet'").fetchall()
    ]
    assert {"bench-q", "bench-d by judge-1", "bench-d by judge-2"} <= set(names)


def test_original_rows_are_asked_with_outlines_and_refused_elsewhere(here, tmp_path):
    store, trial = here
    for data in bench_files.write(tmp_path, 3, original=True):
        stored = answer(of_trial(trial, data, tmp_path, arm="contour", decoding=FEW), store, tmp_path)
        questions = [item.question for item in stored.answers()]
        assert len(questions) == 3
        assert all("the object outlined in red" in question and "<" not in question for question in questions)
        refusing = data.model_copy(update={"placeholders": "refuse"})
        with pytest.raises(PipelineError, match="3 of 3 rows cannot be used"):
            answer(of_trial(trial, refusing, tmp_path, arm="contour", decoding=FEW), store, tmp_path)


@pytest.mark.slow
@pytest.mark.ray
def test_both_benchmarks_with_two_workers(two_cpus: None, tmp_path: Path) -> None:
    store = SweepStore(str(tmp_path / "store"))
    trial = commit_trial(store)
    for data in bench_files.write(tmp_path, 6):
        generation = of_trial(trial, data, tmp_path, arm="letter", decoding=FEW)
        stored = answer(generation, store, tmp_path, workers=2, part_clips=2)
        assert len(stored.answers()) == 6
    assert score(stored, "bench-q").metrics["bench_q.asked"] == 6
