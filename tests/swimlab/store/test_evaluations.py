"""Evaluations of a trial: claimed, committed, published and found by readers, on local disk and on S3."""

import json
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from store_kit import ELSEWHERE, evaluated, evaluation_of, record_of, row_of, samples, trained, trained_again

from swimlab.store import evaluation_records, snapshot
from swimlab.store.arrow_tables import from_parquet
from swimlab.store.evaluation_records import TrialResult, TrialTarget, read_evaluation
from swimlab.store.published_tables import PUBLISHED_EVALUATIONS, write_tables
from swimlab.store.sweep_store import StoreError, SweepStore


def test_a_trial_and_the_evaluation_made_with_it(store, trial_record):
    record = trained(store, trial_record, files={"samples.parquet": b"s"})
    assert store.results({"t1": ["e1"]})["t1"].metrics == {"train.loss": 1.0}
    evaluation = store.publish(record, "e1")
    assert evaluation.fits(record)
    assert store.read("evaluations/e1.json") == store.open_file("t1", "evaluations/e1.json")
    assert store.evaluations() == store.evaluations(["e1", "e2"]) == {"e1": evaluation}
    assert store.read_evaluations(["e1", "e2"]) == {"e1": evaluation}
    assert store.evaluations(["e2"]) == {}
    assert store.evaluation_file(evaluation, "samples.parquet") == b"s"
    result = store.results({"t1": iter(["e2", "e1"]), "t2": ["e1"]})
    assert result == {"t1": TrialResult.of(record, [evaluation])}
    assert result["t1"].metrics == {"train.loss": 1.0, "attention.ap": 0.5}
    assert result["t1"].evaluations == (evaluation,)
    assert store.results({"t1": []})["t1"].metrics == {"train.loss": 1.0}
    assert store.publish(record, "e1") == evaluation
    assert store.publish(record, "e2") is None


def test_a_recipe_is_whole_with_its_suites_and_without_benchmarks(store, trial_record):
    """What the trial was asked later is no suite, and a recipe that named it would be refused."""
    record = trained(store, trial_record)
    made = [evaluated(store, record, "e1", config={"overlays": 0}), evaluated(store, record, "b1", suite="bench-q")]
    assert TrialResult.of(record, made).whole_recipe() == record.recipe | {"evaluation": {"attention": {"overlays": 0}}}
    assert TrialResult.of(record, made[1:]).whole_recipe() == record.recipe


def test_a_suite_that_changed_is_evaluated_again_and_the_trial_is_not(store, trial_record):
    record = trained(store, trial_record)
    store.publish(record, "e1")
    assert store.claim("t1") is None
    assert store.claim("e1", TrialTarget.of(record)) is None
    finished = record.provenance.model_copy(update={"finished_at": "2026-02-01T00:00:00+00:00"})
    evaluation = evaluated(
        store,
        record,
        "e2",
        {"samples.parquet": samples(0.9)},
        suite_fingerprint="suite-2",
        metrics={"attention.ap": 0.9},
        about=finished,
    )
    assert evaluation.folder == "attempts/e2/1"
    assert store.evaluation_file(evaluation, "samples.parquet") == samples(0.9)
    for _ in range(2):
        row = row_of(store)
        assert (row["attention.ap"], row["evaluated.attention"]) == (0.9, "e2")
        write_tables(store)
    assert store.results({"t1": ["e1"]})["t1"].metrics["attention.ap"] == 0.5
    assert store.results({"t1": ["e2"]})["t1"].metrics["attention.ap"] == 0.9
    table = from_parquet(store.read(PUBLISHED_EVALUATIONS))
    assert table.select(["evaluation_id", "suite_fingerprint", "config.attributes", "eval_s"]).to_pylist() == [
        {"evaluation_id": e, "suite_fingerprint": s, "config.attributes": '["colour"]', "eval_s": 1.5}
        for e, s in (("e1", "suite-1"), ("e2", "suite-2"))
    ]


def test_a_trial_trained_again_does_not_show_the_old_evaluation(store, trial_record):
    first = trained(store, trial_record, files={"samples.parquet": samples(0.1)}, metrics={"attention.ap": 0.1})
    store.publish(first, "e1")
    evaluated(store, first, "e2", metrics={"attention.ap": 0.2})
    write_tables(store)
    again = trained_again(
        store, trial_record, first, files={"samples.parquet": samples(0.7)}, metrics={"attention.ap": 0.7}
    )
    assert row_of(store).keys().isdisjoint({"attention.ap", "evaluated.attention"})
    assert store.results({"t1": ["e1", "e2"]})["t1"].metrics == {"train.loss": 1.0}
    evaluation = store.publish(again, "e1")
    assert evaluation.target.nonce == again.nonce
    assert store.publish(first, "e1") is None  # by a driver that still has the old record
    assert store.evaluations(["e1"]) == {"e1": evaluation}
    assert row_of(store)["attention.ap"] == 0.7
    write_tables(store)
    assert row_of(store)["attention.ap"] == 0.7
    assert from_parquet(store.read(PUBLISHED_EVALUATIONS))["evaluation_id"].to_pylist() == ["e1"]
    rows = from_parquet(store.read("tables/samples/e1.parquet")).to_pylist()
    assert [(row["evaluation_id"], row["trial_id"], row["value"]) for row in rows] == [("e1", "t1", 0.7)]
    assert store.claim("e1", TrialTarget.of(again)) is None
    assert store.claim("e2", TrialTarget.of(first)) is None  # it has a record, though of old weights
    store.backend.create("attempts/e2/1/failure.json", b"{}")  # its process ended
    evaluated(store, again, "e2", metrics={"attention.ap": 0.8})
    assert store.results({"t1": ["e2"]})["t1"].metrics["attention.ap"] == 0.8


@pytest.mark.fault(
    injection="a trial is trained again while its old weights are evaluated",
    symptom="scores of old weights stand beside the new ones",
    expected="right: the late evaluation is refused",
)
def test_an_evaluation_of_weights_that_are_gone_is_not_committed(store, trial_record):
    first = trained(store, trial_record)
    attempt = store.claim("e2", TrialTarget.of(first))
    late = evaluation_of(attempt, TrialTarget.of(first), first.provenance, "e2")
    again = trained_again(store, trial_record, first)
    assert not store.commit_evaluation(attempt, late)
    assert store.evaluations() == {}
    attempt.fail("the trial was trained again", "StoreError")
    evaluation = evaluated(store, again, "e2")
    assert not store.commit_evaluation(attempt, late)
    assert store.evaluations() == {"e2": evaluation}


@pytest.mark.fault(
    injection="a driver ends between committing a trial and publishing its evaluation",
    symptom="the evaluation is lost or made again",
    expected="right: the next driver publishes it",
)
def test_a_driver_killed_before_publishing_loses_nothing(store, uri, trial_record):
    record = trained(store, trial_record)
    another = SweepStore(uri)
    assert row_of(store).get("attention.ap") is None
    assert another.publish(another.record("t1"), "e1").metrics == {"attention.ap": 0.5}
    assert another.read("evaluations/e1.json") == store.open_file(record.trial_id, "evaluations/e1.json")
    assert row_of(store)["attention.ap"] == 0.5


def test_two_that_publish_at_once_leave_one_record(uri, trial_record, monkeypatch):
    """The slower one has seen no record; it must find the other's, and leave no second mark."""
    store, another = SweepStore(uri), SweepStore(uri)
    record = trained(store, trial_record)
    create = store.backend.create

    def overtaken(path, data):
        if path == "evaluations/e1.json":
            another.publish(record, "e1")
        return create(path, data)

    monkeypatch.setattr(store.backend, "create", overtaken)
    assert store.publish(record, "e1") == another.evaluations()["e1"]
    assert store.read("evaluations/e1.json") == store.open_file("t1", "evaluations/e1.json")
    assert len(store.list_files("recent/evaluation_commits")) == 1


def test_of_two_that_evaluate_at_once_one_commits(uri, trial_record):
    """One was silent for so long that the other took over."""
    store = SweepStore(uri)
    record = trained(store, trial_record)
    target = TrialTarget.of(record)
    first = store.claim("e2", target)
    assert SweepStore(uri).claim("e2", target) is None
    assert store.is_claimed("e2", target)
    first.fail("slow", "TimeoutError")
    assert not store.is_claimed("e2", target)
    second = store.claim("e2", target)
    attempts = [(a, evaluation_of(a, target, record.provenance, "e2")) for a in (second, first)]
    assert [store.commit_evaluation(a, evaluation) for a, evaluation in attempts] == [True, False]
    assert [store.commit_evaluation(a, evaluation) for a, evaluation in attempts] == [True, False]
    assert store.evaluations()["e2"].attempt == 2
    assert len(store.list_files("recent/evaluation_commits")) == 1


def test_one_overtaken_while_it_commits_leaves_no_mark(uri, trial_record, monkeypatch):
    """The other's record appears after this one has looked for it."""
    store = SweepStore(uri)
    record = trained(store, trial_record)
    target = TrialTarget.of(record)
    attempt = store.claim("e2", target)
    attempt.fail("slow", "TimeoutError")
    create = store.backend.create

    def overtaken(path, data):
        if path == "evaluations/e2.json":
            evaluated(SweepStore(uri), record, "e2")
        return create(path, data)

    monkeypatch.setattr(store.backend, "create", overtaken)
    assert not store.commit_evaluation(attempt, evaluation_of(attempt, target, record.provenance, "e2"))
    winner = store.evaluations()["e2"]
    assert winner.attempt == 2
    assert store.list_files("recent/evaluation_commits") == [f"recent/evaluation_commits/e2.{winner.nonce}"]


ROUNDS, RACERS = 10, 4


@pytest.mark.fault(
    injection="threads publish the same evaluation at the same moment",
    symptom="two records, or a mark without one",
    expected="right: one record",
)
def test_racing_publishers_and_an_evaluator_leave_one_record(tmp_path, trial_record):
    store = SweepStore(str(tmp_path))
    records = []
    for number in range(ROUNDS):
        first = trained(store, trial_record, f"t{number}", f"e{number}")
        store.publish(first, f"e{number}")
        records.append(trained_again(store, trial_record, first, evaluation_id=f"e{number}"))
    barrier = Barrier(RACERS)

    def race(_: int) -> list[str]:
        own = SweepStore(str(tmp_path))
        published = []
        for number, record in enumerate(records):
            barrier.wait()
            published.append(own.publish(record, f"e{number}").model_dump_json())
        return published

    with ThreadPoolExecutor(RACERS) as pool:
        results = list(pool.map(race, range(RACERS)))
    assert all(result == results[0] for result in results)
    for number, record in enumerate(records):
        source = store.read(f"{record.folder}/evaluations/e{number}.json")
        assert store.read(f"evaluations/e{number}.json") == source
    assert snapshot.leaderboard(store)["attention.ap"].to_pylist() == [0.5] * ROUNDS


def test_commit_refuses_an_evaluation_of_something_else(store, trial_record):
    record = trained(store, trial_record)
    target = TrialTarget.of(record)
    attempt = store.claim("e2", target)
    for changes in ({"nonce": "other"}, {"attempt": 7}, {"evaluation_id": "e3"}, {"folder": record.folder}):
        with pytest.raises(StoreError, match="committed by attempts/e2/1"):
            store.commit_evaluation(
                attempt, evaluation_of(attempt, target, record.provenance, **{"evaluation_id": "e2"} | changes)
            )
    entry = attempt.put("samples.parquet", b"s")
    named = evaluation_of(attempt, target, record.provenance, "e2", files={"overlays.parquet": entry})
    with pytest.raises(StoreError, match=r"did not put: overlays\.parquet"):
        store.commit_evaluation(attempt, named)
    store.backend.create("attempts/e2/1/collected.json", b"{}")
    with pytest.raises(StoreError, match="garbage-collected"):
        store.commit_evaluation(attempt, evaluation_of(attempt, target, record.provenance, "e2"))
    assert store.evaluations() == {}


def test_failures_of_evaluations(store, trial_record):
    record = trained(store, trial_record)
    target = TrialTarget.of(record)
    store.claim("e2", target).fail("no memory", "OutOfMemoryError")
    assert store.failures(["t1", "e2", "e3"])["e2"]["error"] == "no memory"
    evaluated(store, record, "e2")
    assert store.failures(["t1", "e2"]) == {}
    store.backend.create("attempts/e2/2/failure.json", b"{}")
    again = trained_again(store, trial_record, record)
    store.claim("e2", TrialTarget.of(again)).fail("other weights", "ValueError")
    assert store.failures(["e2"])["e2"]["error"] == "other weights"


@pytest.mark.fault(
    injection="the record of an evaluation is empty, cut, or of a newer version",
    symptom="the trial shows no score, or another's",
    expected="error names the file and says to delete it or to update",
)
def test_a_record_that_is_damaged_or_newer_is_named(store, trial_record, monkeypatch):
    record = trained(store, trial_record)
    store.publish(record, "e1")
    data = store.read("evaluations/e1.json")
    for content, message in (
        (b"", r"evaluations/e1\.json is not JSON .*delete it to evaluate the trial again"),
        (b'{"schema_version": 1}', r"(?s)evaluations/e1\.json is not an evaluation record .*delete it to evaluate"),
        (json.dumps(json.loads(data) | {"schema_version": 2}).encode(), r"evaluations/e1\.json has .* 2, .* reads 1"),
    ):
        store.backend.replace("evaluations/e1.json", content)
        reads = (
            lambda: store.evaluations(),
            lambda: store.results({"t1": ["e1"]}),
            lambda: store.publish(record, "e1"),
            lambda: snapshot.leaderboard(store),
            lambda: write_tables(store),
        )
        for read in reads:
            with pytest.raises(StoreError, match=message):
                read()
    monkeypatch.setattr(evaluation_records, "EVALUATION_VERSION", 2)
    monkeypatch.setitem(evaluation_records.EVALUATION_UPGRADES, 1, lambda tree: tree | {"suite": "renamed"})
    assert read_evaluation(data).suite == "renamed"


@pytest.mark.fault(
    injection="the samples of an evaluation are altered or missing",
    symptom="scores are recomputed from altered samples",
    expected="error names the file and says to restore or delete",
)
def test_an_altered_file_of_an_evaluation_is_named(store, trial_record):
    record = trained(store, trial_record, files={"samples.parquet": b"s"})
    with_training = store.publish(record, "e1")
    later = evaluated(store, record, "e2", {"samples.parquet": b"s"})
    with pytest.raises(StoreError, match=r"evaluation e2 has no file 'overlays\.parquet'; it has samples\.parquet"):
        store.evaluation_file(later, "overlays.parquet")
    for evaluation, remedy in ((with_training, r"records/t1\.json to run"), (later, r"evaluations/e2\.json to eval")):
        path = f"{evaluation.folder}/samples.parquet"
        store.backend.replace(path, b"altered")
        with pytest.raises(StoreError, match=rf"{path}: sha256 is .* restore it or delete {remedy}"):
            store.evaluation_file(evaluation, "samples.parquet")
        store.backend.delete(path)
        with pytest.raises(StoreError, match=rf"{path} was committed and is missing; restore it or delete {remedy}"):
            store.evaluation_file(evaluation, "samples.parquet")


@pytest.mark.fault(
    injection="an attempt holds another trial's evaluation under its own name",
    symptom="another trial's scores are published as this one's",
    expected="error names the file and whose it is",
)
def test_a_file_that_is_not_the_evaluation_it_is_named_after_is_not_published(store, trial_record):
    record = trained(store, trial_record)
    content = store.open_file("t1", "evaluations/e1.json")
    attempt = store.claim("t2")
    attempt.put("evaluations/e1.json", content)
    attempt.put("evaluations/e2.json", b"no json")
    other = record_of(attempt, trial_record)
    assert store.commit(attempt, other)
    with pytest.raises(StoreError, match=r"e1\.json is of evaluation e1 of trial t1, attempt 1; delete records/t2"):
        store.publish(other, "e1")
    with pytest.raises(StoreError, match=r"attempts/t2/1/evaluations/e2\.json is not JSON"):
        store.publish(other, "e2")
    store.backend.replace(f"{record.folder}/evaluations/e1.json", b"altered")
    with pytest.raises(StoreError, match=r"evaluations/e1\.json: sha256 is .*delete records/t1\.json"):
        store.publish(record, "e1")


def test_a_silent_evaluation_is_taken_over(uri, trial_record):
    """The same lease as a trial's."""
    now_s = [0.0]
    record = trained(SweepStore(uri), trial_record)
    target = TrialTarget.of(record)
    assert SweepStore(uri, owner=ELSEWHERE).claim("e2", target).number == 1
    observer = SweepStore(uri, dead_after_s=60, clock=lambda: now_s[0])
    assert observer.claim("e2", target) is None
    now_s[0] = 60.0
    assert observer.claim("e2", target).number == 2


def test_what_is_not_finite_is_refused(trial_record, store):
    record = trained(store, trial_record)
    attempt = store.claim("e2", TrialTarget.of(record))
    with pytest.raises(ValueError, match=r"attention\.ap"):
        evaluation_of(attempt, TrialTarget.of(record), record.provenance, metrics={"attention.ap": float("nan")})
