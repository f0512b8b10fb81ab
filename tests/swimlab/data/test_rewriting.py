"""The builder's job on Ray: every row accounted for, in order, paid once, whatever the server does."""

import hashlib
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from llm_server import KEY, Model, Reply, oracle

from swim.data.nl_refer import reference_rows
from swim.data.rows.read import read_rows
from swimlab.data.rewriting import job as rewriting
from swimlab.data.rewriting.job import RewritingError
from swimlab.data.rewriting.rewriter import Rewriter, Rewriting, StoppedError
from swimlab.llm.budget import Prices
from swimlab.llm.client import EndpointConfig
from swimlab.store.sweep_store import SweepStore

SOON = {"Retry-After": "0.01"}
ROWS = [one.raw for one in reference_rows.rows(12, seed=3)]


@pytest.fixture
def logs(two_cpus: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the logs of a Ray whose workers know the key."""
    import ray

    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    return Path(ray._private.worker._global_node.get_logs_dir_path())


def quiet(stage: str, done: int, total: int) -> None:
    """No progress."""


def written(folder: Path, rows: list[Any], name: str = "rows.jsonl") -> str:
    path = folder / name
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return str(path)


def job_for(model: Model | None, folder: Path, **changes: Any) -> rewriting.RewritingJob:
    how = {name: changes.pop(name) for name in set(changes) & set(Rewriting.model_fields)}
    if model:
        asks = {name: changes.pop(name) for name in set(changes) & set(EndpointConfig.model_fields)}
        how["endpoint"] = EndpointConfig(**{"base_url": model.url, "model": "m", "retries": 4, "timeout_s": 0.5} | asks)
    return rewriting.RewritingJob(
        rewriting=Rewriting(**how), store=str(folder / "store"), **{"workers": 2, "threads": 4} | changes
    )


def run(job: rewriting.RewritingJob, annotations: str, out: Path, max_cost: float | None = None, size: int = 7) -> Any:
    return rewriting.rewrite(job, rewriting.parts_of(annotations, size), out, max_cost, quiet)


def rows_of(path: Path) -> list[Any]:
    return [row for _, row in read_rows(path)]


def numbers(rows: list[Any]) -> list[int]:
    return [int(row["index"].rpartition("_")[2]) for row in rows]


@pytest.mark.ray
def test_rules_write_every_row_in_order(logs: Path, tmp_path: Path) -> None:
    bad = ["{cut", json.dumps(5), ROWS[0] | {"annotation": []}, ROWS[0] | {"id": "nothing", "conversations": []}]
    annotations = written(tmp_path, [*ROWS[:20], *bad, *ROWS[20:]])
    seen: list[tuple[str, int, int]] = []
    job = job_for(None, tmp_path, threads=1, synonyms=True)
    parts = rewriting.parts_of(annotations, 7)
    tally, spent = rewriting.rewrite(job, parts, tmp_path / "out.json", None, lambda *step: seen.append(step))

    alone = Rewriter(job.rewriting, SweepStore(str(tmp_path / "alone")))
    expected = [alone(raw, annotations, row) for row, raw in read_rows(annotations)]
    rows, rejected = rows_of(tmp_path / "out.json"), rows_of(tmp_path / "out.json.rejected.jsonl")
    assert rows == [one.done.row for one in expected if one.done]
    assert rejected == [vars(reject) for one in expected for reject in one.rejects]
    assert rows_of(tmp_path / "out-synonym.json") == [one.synonym for one in expected if one.synonym]
    left = [reject["row"] for reject in rejected if reject["output"] == "rewritten"]
    assert sorted(numbers(rows) + left) == list(range(len(ROWS) + 4))
    assert set(range(20, 24)) <= set(left)
    assert all(reject[name] for reject in rejected for name in ("file", "key", "field", "reason", "hint"))
    assert (tally.rows, tally.rewritten, sum(tally.rejected.values())) == (len(ROWS) + 4, len(rows), len(left))
    assert (tally.kinds, spent, tally.sent) == ({"detailed": len(rows)}, 0.0, 0)
    assert tally.rejected["several objects in one question, and the rules cannot tell which the answer means"] == 12
    assert seen[-1] == ("rewrite", len(ROWS) + 4, len(ROWS) + 4)

    other = job_for(None, tmp_path, threads=1, workers=1)
    rewriting.rewrite(other, rewriting.parts_of(annotations, 1000), tmp_path / "other.json", None, quiet)
    assert (tmp_path / "other.json").read_bytes() == (tmp_path / "out.json").read_bytes()


FAULTS = [
    Reply("slow down", status=429, headers=SOON),
    Reply("sorry", status=500, headers=SOON),
    Reply(drop="at once"),
    Reply(drop="halfway"),
    Reply(wait_s=0.8),
]
BABBLE = ["", "no JSON", '{"referents": [', '{"wrong": 1}', '{"referents": [], "cannot": ""}', "[1, 2]", "null"]


def chaos(body: dict[str, Any], before: int) -> Reply:
    """Decided by the words asked and by how often they were, so that a second run meets the same server."""
    luck = hashlib.sha256(json.dumps([body["messages"][1:], before]).encode()).digest()
    if luck[0] < 70:
        return FAULTS[luck[1] % len(FAULTS)]
    if luck[0] < 140:
        return Reply(BABBLE[luck[1] % len(BABBLE)])
    if luck[0] < 150:
        return Reply("", refusal="no")
    return Reply(oracle(body))


@pytest.mark.fault(
    injection="a language model's server that refuses, drops, babbles and delays",
    symptom="rows are lost, or answers paid for twice",
    expected="right: each row rewritten or rejected with its reason",
)
@pytest.mark.ray
def test_every_row_ends_rewritten_or_rejected_and_nothing_is_asked_twice(logs: Path, tmp_path: Path) -> None:
    annotations = written(tmp_path, ROWS)
    with Model(chaos) as model:
        job = job_for(model, tmp_path)
        tally, _ = run(job, annotations, tmp_path / "out.jsonl")
        rows, rejected = rows_of(tmp_path / "out.jsonl"), rows_of(tmp_path / "out.jsonl.rejected.jsonl")
        assert sorted(numbers(rows) + [reject["row"] for reject in rejected]) == list(range(len(ROWS)))
        assert numbers(rows) == sorted(numbers(rows))
        assert rejected
        assert all(reject[name] for reject in rejected for name in ("file", "key", "field", "reason", "hint"))
        assert set(model.answered.values()) == {1}
        assert 2 <= model.most_at_once <= 8
        assert tally.sent == sum(model.asked.values())
        assert tally.asked.paid == len(list((tmp_path / "store" / "answers").rglob("*.json")))
        distinct = len(model.asked)

        calm = Model(lambda body, before: Reply(oracle(body)))
        model.behave = calm.behave
        kept = {
            json.dumps(json.loads(p.read_text())["request"]["messages"]) for p in (tmp_path / "store").rglob("*.json")
        }
        again, _ = run(job, annotations, tmp_path / "again.jsonl")
        assert all(model.asked[name] >= 1 and model.answered[name] == 1 for name in kept)
        assert again.asked.cached == tally.asked.cached + tally.asked.paid
        # Only what had no answer is asked now; refusals and babble were answers.
        assert len(model.asked) - distinct <= again.asked.paid
        assert again.rewritten == tally.rewritten + sum("endpoint" in r["field"] for r in rejected)

    found = [path for folder in (tmp_path, logs) for path in folder.rglob("*") if path.is_file()]
    assert len(found) > 50
    assert [path for path in found if KEY.encode() in path.read_bytes()] == []
    assert model.keys == {f"Bearer {KEY}"}


@pytest.mark.fault(
    injection="the budget for a language model is used up",
    symptom="more is spent, or paid answers are lost",
    expected="error says what is spent; more money goes on",
)
@pytest.mark.ray
def test_a_budget_stops_the_run_and_more_money_goes_on(logs: Path, tmp_path: Path) -> None:
    annotations = written(tmp_path, ROWS)
    with Model() as model:
        priced = {"prices": Prices(prompt=1e3, completion=1e3), "params": {"max_tokens": 40}}
        job = job_for(model, tmp_path, timeout_s=5.0, **priced)
        expected = rewriting.estimate(job, rewriting.parts_of(annotations, 7), quiet)
        assert expected.requests == len(ROWS)
        assert sum(model.asked.values()) == 0

        # 120 tokens make an answer cost 0.12; a request may cost 3 to 4, a token being a byte at least.
        with pytest.raises(StoppedError, match=r"are spent, the next request may cost .* and --max-cost is 6"):
            run(job, annotations, tmp_path / "out.jsonl", max_cost=6.0)
        paid = sum(model.answered.values())
        assert 8 < paid < len(ROWS)
        assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl", "store"]
        assert rewriting.estimate(job, rewriting.parts_of(annotations, 7), quiet).cached == paid

        tally, spent = run(job, annotations, tmp_path / "out.jsonl", max_cost=1000.0)
        assert (tally.asked.cached, tally.asked.paid) == (paid, len(model.asked) - paid)
        assert spent == pytest.approx(tally.asked.paid * 0.12)
        assert set(model.asked.values()) == {1}
        assert tally.rewritten == len(ROWS)


@pytest.mark.fault(
    injection="Ctrl-C while answers of a language model are under way",
    symptom="answers are paid for and thrown away",
    expected="right: they are awaited and kept",
)
@pytest.mark.ray
def test_ctrl_c_waits_for_what_is_paid_for(logs: Path, tmp_path: Path) -> None:
    annotations = written(tmp_path, ROWS)

    def stop(stage: str, done: int, total: int) -> None:
        if done:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with Model(lambda body, n: Reply(oracle(body), wait_s=0.3)) as model:
        job = job_for(model, tmp_path, timeout_s=5.0)
        with pytest.raises(KeyboardInterrupt):
            rewriting.rewrite(job, rewriting.parts_of(annotations, 7), tmp_path / "out.jsonl", None, stop)
        kept = len(list((tmp_path / "store").rglob("*.json")))
        assert 7 <= kept < len(ROWS)
        assert model.at_once == 0
        assert kept == sum(model.asked.values())
        assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl", "store"]
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.ray
def test_an_error_of_ours_waits_too(logs: Path, tmp_path: Path) -> None:
    annotations = written(tmp_path, ROWS[:21])

    def fail(stage: str, done: int, total: int) -> None:
        if done:
            raise OSError("disk full")

    with Model(lambda body, n: Reply(oracle(body), wait_s=0.2)) as model:
        job = job_for(model, tmp_path, timeout_s=5.0)
        with pytest.raises(OSError, match="disk full"):
            rewriting.rewrite(job, rewriting.parts_of(annotations, 7), tmp_path / "out.jsonl", None, fail)
        assert len(list((tmp_path / "store").rglob("*.json"))) == sum(model.asked.values())


@pytest.mark.ray
def test_what_stops_the_run_is_said(logs: Path, tmp_path: Path) -> None:
    annotations = written(tmp_path, ROWS[:9])
    with Model(lambda body, n: Reply("who are you?", status=401)) as model:
        with pytest.raises(StoppedError, match="does not accept the key in OPENAI_API_KEY"):
            run(job_for(model, tmp_path), annotations, tmp_path / "out.jsonl")
        assert sum(model.asked.values()) <= 8
    assert not (tmp_path / "out.jsonl").exists()
    with pytest.raises(StoppedError, match="gone"):
        run(job_for(None, tmp_path, tokenizer=str(tmp_path / "gone")), annotations, tmp_path / "out.jsonl")


@pytest.mark.ray
def test_plans_that_cannot_be_are_refused(logs: Path, tmp_path: Path) -> None:
    by_rules = [rewriting.workers_for(wanted, None, parts) for wanted, parts in ((None, 9), (None, 1), (1, 9))]
    asking = [rewriting.workers_for(wanted, most, 9) for wanted, most in ((None, 16), (None, 17), (None, 99), (2, 1))]
    assert (by_rules, asking) == ([2, 1, 1], [1, 2, 2, 1])
    with pytest.raises(RewritingError, match="3 workers need a CPU each and the cluster has 2"):
        rewriting.workers_for(3, None, 9)
    with pytest.raises(RewritingError, match="holds no row"):
        rewriting.parts_of(written(tmp_path, []), 5)
    with pytest.raises(RewritingError, match="cannot be read"):
        rewriting.parts_of(str(tmp_path / "gone.json"), 5)
