"""What gc takes and what it never touches, on local disk and on S3."""

import json
import os
from pathlib import Path

import pytest
from store_kit import ELSEWHERE, committed, evaluated, evaluation_of, record_of, trained, trained_again

import nano
from swim import recipes
from swimlab.experiment.plan import make_plan, missing
from swimlab.experiment.run_settings import Settings
from swimlab.identity import naming
from swimlab.store import commit_marks, garbage_collection
from swimlab.store.evaluation_records import TrialTarget
from swimlab.store.garbage_collection import Rules
from swimlab.store.leases import Owner
from swimlab.store.record_kinds import EVALUATIONS, TRIALS
from swimlab.store.sweep_store import StoreError, SweepStore

ME = Owner.current()
GONE = ME.model_copy(update={"started_ticks": ME.started_ticks - 3600})
STEP = {"steps/10/run.safetensors": b"old", "steps/10/done.json": b"{}"}
NEXT_STEP = {"steps/20/run.safetensors": b"new!", "steps/20/done.json": b"{}"}


def attempted(uri: str, owner: Owner, files: dict[str, bytes], trial_id: str = "t1"):
    attempt = SweepStore(uri, owner=owner).claim(trial_id)
    for name, data in files.items():
        attempt.put(name, data)
    return attempt


def evaluating(uri: str, owner: Owner, record, evaluation_id: str, files: dict[str, bytes]):
    attempt = SweepStore(uri, owner=owner).claim(evaluation_id, TrialTarget.of(record))
    for name, data in files.items():
        attempt.put(name, data)
    return attempt


def paths(garbage: garbage_collection.Garbage) -> list[str]:
    return sorted(path for item in garbage.items for path in item.paths)


def test_nothing_of_a_record_and_nothing_alive_goes(store, uri, trial_record):
    committed(store, trial_record, "done", {"metrics.parquet": b"m", "checkpoint/model": b"w"})
    attempted(uri, ME, STEP, "here")
    attempted(uri, ELSEWHERE, STEP, "there")
    before = store.list_files("attempts")
    garbage = garbage_collection.find(store, Rules(unfinished=True))
    assert (garbage.items, garbage.alive) == ((), ("attempts/here/1", "attempts/there/1"))
    assert garbage_collection.collect(store, garbage) == ()
    assert store.list_files("attempts") == before


def test_looking_removes_nothing_and_says_how_many_bytes(store, uri, trial_record):
    lost = attempted(uri, GONE, {"metrics.parquet": b"12345"} | STEP)
    attempt = committed(store, trial_record, "t1", {"metrics.parquet": b"m"})
    attempt.put("steps/30/done.json", b"{}")
    before = store.list_files("attempts")
    garbage = garbage_collection.find(store)
    claim_bytes = len(store.read("attempts/t1/1/claim"))
    assert [(item.kind, item.location, item.size_bytes) for item in garbage.items] == [
        ("attempt", lost.folder, 5 + 3 + 2 + claim_bytes),
        ("steps", attempt.folder, 2),
    ]
    assert garbage.size_bytes == 12 + claim_bytes
    assert "attempt 2 is the trial's result" in garbage.items[0].reason
    assert store.list_files("attempts") == before
    garbage_collection.collect(store, garbage)
    kept = ["attempts/t1/1/collected.json", "attempts/t1/2/claim", "attempts/t1/2/metrics.parquet"]
    assert store.list_files("attempts") == kept
    assert store.open_file("t1", "metrics.parquet") == b"m"
    assert garbage_collection.find(store).items == ()


@pytest.mark.fault(
    injection="gc between two attempts at a trial",
    symptom="the next attempt starts from step 0",
    expected="right: the newest step checkpoint stays",
)
def test_the_last_step_of_a_trial_without_a_record_stays(store, uri):
    """With it the next attempt goes on; so do the latest claim, whose number fences, and the reason of the failure."""
    attempted(uri, GONE, STEP | NEXT_STEP | {"samples.parquet": b"s"})
    attempted(uri, GONE, STEP).fail("diverged", "ValueError")
    garbage_collection.collect(store, garbage_collection.find(store))
    kept = [f"attempts/t1/1/{name}" for name in ("collected.json", "steps/20/done.json", "steps/20/run.safetensors")]
    latest = [f"attempts/t1/2/{name}" for name in ("claim", "collected.json", "failure.json")]
    assert store.list_files("attempts") == [*kept, *latest]
    assert garbage_collection.find(store).items == ()
    assert store.failures(["t1"])["t1"]["error"] == "diverged"
    garbage_collection.collect(store, garbage_collection.find(store, Rules(unfinished=True)))
    assert store.list_files("attempts") == ["attempts/t1/1/collected.json", *latest]
    assert store.claim("t1").number == 3


def test_an_attempt_that_was_silent_is_fenced(uri, trial_record):
    """Its owner cannot be seen from here. Should it live after all, it cannot commit files that are gone."""
    zombie = attempted(uri, ELSEWHERE, {"metrics.parquet": b"m"})
    now_s, waited = [0.0], []
    store = SweepStore(uri, clock=lambda: now_s[0])

    def wait(seconds):
        waited.append(seconds)
        now_s[0] += seconds

    assert garbage_collection.find(store).alive == ("attempts/t1/1",)
    garbage = garbage_collection.find(store, wait=wait)
    assert waited == [store.dead_after_s]
    assert [(item.reason.split(";")[0]) for item in garbage.items] == ["silent"]
    garbage_collection.collect(store, garbage)
    with pytest.raises(StoreError, match="files were garbage-collected"):
        SweepStore(uri).commit(zombie, record_of(zombie, trial_record))
    assert store.record("t1") is None


@pytest.mark.fault(
    injection="a slow attempt beats only while gc waits",
    symptom="gc deletes files of a live attempt",
    expected="right: it stays",
)
def test_a_heartbeat_keeps_an_attempt_while_gc_waits(uri):
    owner = SweepStore(uri, owner=ELSEWHERE)
    owner.claim("t1")
    now_s = [0.0]

    def wait(seconds):
        now_s[0] += seconds
        owner.backend.replace("attempts/t1/1/heartbeat", b'{"released": false, "count": 2}')

    garbage = garbage_collection.find(SweepStore(uri, clock=lambda: now_s[0]), wait=wait)
    assert (garbage.items, garbage.alive) == ((), ("attempts/t1/1",))


def test_an_attempt_that_commits_while_gc_looks_stays(store, uri, trial_record, monkeypatch):
    """First listed without a record; then it commits, and its process ends before gc asks whether it lives."""
    attempt = attempted(uri, ME, {"metrics.parquet": b"m"})

    def ended(trial_id, number):
        SweepStore(uri).commit(attempt, record_of(attempt, trial_record))
        return "gone"

    monkeypatch.setattr(store, "ended", ended)
    assert garbage_collection.find(store).items == ()


def test_a_silent_attempt_that_commits_before_it_is_fenced_stays(uri, trial_record):
    attempt = attempted(uri, ELSEWHERE, {"metrics.parquet": b"m"})
    now_s = [0.0]
    store = SweepStore(uri, clock=lambda: now_s[0])
    garbage = garbage_collection.find(store, wait=lambda seconds: now_s.__setitem__(0, now_s[0] + seconds))
    assert len(garbage.items) == 1
    assert SweepStore(uri).commit(attempt, record_of(attempt, trial_record))
    assert garbage_collection.collect(store, garbage) == ()
    assert store.open_file("t1", "metrics.parquet") == b"m"


@pytest.mark.parametrize(("policy", "left"), [("all", "abc"), ("bases", "a"), ("none", "")])
def test_checkpoints_are_kept_by_policy_and_their_hashes_always(store, trial_record, tmp_path, policy, left):
    why = {"bases": "gc kept the checkpoints of bases", "none": "gc kept the checkpoints of no trial"}.get(policy)
    files = {"checkpoint/model": b"w", "metrics.parquet": b"m"}
    committed(store, trial_record, "a", files)
    committed(store, trial_record, "b", files, init_trial_id="a")
    committed(store, trial_record, "c", files)
    garbage_collection.collect(store, garbage_collection.find(store, Rules(checkpoints=policy)))
    for trial_id in "abc":
        assert store.open_file(trial_id, "metrics.parquet") == b"m"
        assert "checkpoint/model" in store.record(trial_id).files
        if trial_id in left:
            assert (store.download(trial_id, "checkpoint/", tmp_path / trial_id) / "model").read_bytes() == b"w"
        else:
            with pytest.raises(StoreError, match=rf"not kept .{why}.*delete records/{trial_id}"):
                store.download(trial_id, "checkpoint/", tmp_path / trial_id)
    assert garbage_collection.find(store, Rules(checkpoints=policy)).items == ()


def test_a_checkpoint_left_out_from_the_start_has_its_hashes(store, trial_record, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(b"w")
    attempt = store.claim("t1")
    attempt.record_without_storing(tmp_path / "model", "checkpoint", "checkpoints that are kept: bases")
    assert store.commit(attempt, record_of(attempt, trial_record))
    assert store.record("t1").files["checkpoint/weights"].size_bytes == 1
    with pytest.raises(StoreError, match=r"not kept .*bases.*--keep-checkpoints all"):
        store.download("t1", "checkpoint/", tmp_path / "got")
    assert garbage_collection.find(store, Rules(checkpoints="none")).items == ()


def test_a_run_may_store_the_checkpoints_of_bases_only(store, tmp_path):
    """Which says nothing about the trials' names."""
    kept = {}
    for policy in ("all", "bases"):
        plan = make_plan(nano.ablation(), nano.recipe(), Settings(cache=tmp_path, keep_checkpoints=policy))
        specs = [spec for wave in missing([plan], store) for spec in wave]
        kept[policy] = {spec.trial_id: spec.keep_checkpoint for spec in specs}
    bases = {spec.init_trial_id for spec in specs} - {None}
    assert kept["all"] == dict.fromkeys(kept["bases"], True)
    assert {trial_id for trial_id, keep in kept["bases"].items() if keep} == bases
    assert len(bases) == 1


def test_marks_of_attempts_that_are_over_go(store, uri, trial_record):
    for trial_id, owner in {"gone": GONE, "here": ME, "there": ELSEWHERE}.items():
        attempt = attempted(uri, owner, {}, trial_id)
        commit_marks.mark(store.backend, TRIALS, trial_id, attempt.nonce)
    commit_marks.mark(store.backend, TRIALS, "deleted", "nonce")
    committed(store, trial_record, "done")
    garbage = garbage_collection.find(store)
    assert [item.location.split(".")[0] for item in garbage.items] == ["recent/commits/deleted", "recent/commits/gone"]
    garbage_collection.collect(store, garbage)
    assert len(store.list_files("recent/commits")) == 3


def test_attempts_of_evaluations(store, uri, trial_record):
    """Live ones stay, dead and failed ones go, and none is taken for a trial's that is to be resumed."""
    record = trained(store, trial_record, "t1", "e1", {"samples.parquet": b"12345"})
    store.publish(record, "e1")
    files = {"samples.parquet": b"123"}
    evaluating(uri, ME, record, "alive", files)
    evaluating(uri, ELSEWHERE, record, "elsewhere", files)
    evaluating(uri, GONE, record, "dead", files)
    evaluating(uri, ME, record, "failed", files).fail("no memory", "OutOfMemoryError")
    evaluating(uri, GONE, record, "again", files)
    done = evaluated(store, record, "again", files)
    garbage = garbage_collection.find(store, Rules(unfinished=True))
    assert garbage.alive == ("attempts/alive/1", "attempts/elsewhere/1")
    assert {item.location: item.reason for item in garbage.items} == {
        "attempts/again/1": "gone; the evaluation's result is in attempts/again/2",
        "attempts/dead/1": "gone; the evaluation has no record",
        "attempts/failed/1": "failed; the evaluation has no record",
    }
    before = set(store.list_files("attempts"))
    garbage_collection.collect(store, garbage)
    assert before - set(store.list_files("attempts")) == {
        "attempts/again/1/claim",
        "attempts/again/1/samples.parquet",
        "attempts/dead/1/samples.parquet",
        "attempts/failed/1/samples.parquet",
    }
    assert store.evaluation_file(done, "samples.parquet") == b"123"
    assert store.evaluation_file(store.evaluations()["e1"], "samples.parquet") == b"12345"
    assert store.failures(["failed"])["failed"]["error"] == "no memory"
    assert store.claim("dead", TrialTarget.of(record)).number == 2


def test_a_silent_evaluation_is_fenced_unless_it_commits_first(uri, trial_record):
    now_s = [0.0]
    store = SweepStore(uri, clock=lambda: now_s[0])
    record = trained(store, trial_record)
    target = TrialTarget.of(record)
    attempts = {name: evaluating(uri, ELSEWHERE, record, name, {"samples.parquet": b"s"}) for name in ("e2", "e3")}
    evaluations = {
        name: evaluation_of(attempt, target, record.provenance, name, files=attempt.files)
        for name, attempt in attempts.items()
    }
    garbage = garbage_collection.find(store, wait=lambda seconds: now_s.__setitem__(0, now_s[0] + seconds))
    assert [item.location for item in garbage.items] == ["attempts/e2/1", "attempts/e3/1"]
    assert store.commit_evaluation(attempts["e2"], evaluations["e2"])
    assert [item.location for item in garbage_collection.collect(store, garbage)] == ["attempts/e3/1"]
    assert store.evaluation_file(evaluations["e2"], "samples.parquet") == b"s"
    with pytest.raises(StoreError, match="files were garbage-collected"):
        store.commit_evaluation(attempts["e3"], evaluations["e3"])


def test_an_evaluation_replaced_by_that_of_the_new_training_leaves_garbage(store, uri, trial_record):
    record = trained(store, trial_record)
    evaluating(uri, GONE, record, "e1", {"samples.parquet": b"s"})  # while its publication was outstanding
    store.publish(record, "e1")
    garbage = garbage_collection.find(store)
    assert [item.reason for item in garbage.items] == [
        "gone; the evaluation's result is in attempts/t1/1/evaluations/e1"
    ]
    garbage_collection.collect(store, garbage)
    again = trained_again(store, trial_record, record)
    store.publish(again, "e1")
    garbage_collection.collect(store, garbage_collection.find(store))
    assert store.results({"t1": ["e1"]})["t1"].metrics["attention.ap"] == 0.5


def test_marks_of_evaluations(store, uri, trial_record):
    """That of an evaluation which is being published, or still can be, stays; its attempt is the trial's."""
    record = trained(store, trial_record)
    commit_marks.mark(store.backend, EVALUATIONS, "e1", record.nonce)
    for evaluation_id, owner in {"gone": GONE, "here": ME, "there": ELSEWHERE}.items():
        attempt = evaluating(uri, owner, record, evaluation_id, {})
        commit_marks.mark(store.backend, EVALUATIONS, evaluation_id, attempt.nonce)
    commit_marks.mark(store.backend, EVALUATIONS, "deleted", "nonce")
    evaluated(store, record, "done")
    folder = "recent/evaluation_commits"
    garbage = garbage_collection.find(store)
    marks = [item.location.split(".")[0] for item in garbage.items if item.kind == "mark"]
    assert marks == [f"{folder}/deleted", f"{folder}/gone"]
    garbage_collection.collect(store, garbage)
    assert [path.split(".")[0] for path in store.list_files(folder)] == [
        f"{folder}/{name}" for name in ("done", "e1", "here", "there")
    ]


def test_code_that_only_an_evaluation_names_stays(store, trial_record):
    """Published or not."""
    record = trained(store, trial_record, "t1", "e1", code_fingerprint="c2")
    trained(store, trial_record, "t2", "e2", code_fingerprint="c3")
    store.publish(record, "e1")
    for code in ("c", "c2", "c3", "c4"):
        store.put_create_only(f"code/{code}.tar.gz", b"12")
    garbage = garbage_collection.find(store, Rules(code=True))
    assert [item.paths for item in garbage.items] == [("code/c4.tar.gz",)]


def test_clips_of_a_record_of_an_older_schema(store, trial_record):
    """Only the data decides which clips a trial needs; elsewhere recipes of older kinds have other fields."""
    recipe = recipes.named("tiny")
    used = naming.clips_fingerprint(recipe.data, "d", recipe.model)
    older = recipe.model_dump(mode="json") | {"evaluation": {"field_of_an_older_kind": 1}}
    committed(store, trial_record, "t1", recipe=older)
    newer = recipe.model_dump(mode="json", exclude={"evaluation"})
    committed(store, trial_record, "t2", recipe=newer)
    for folder in (used, "old"):
        store.put_create_only(f"clips/{folder}/manifest.json", b"123")
    garbage = garbage_collection.find(store, Rules(clips=True))
    assert [item.location for item in garbage.items] == ["clips/old"]


def test_clips_that_chose_stay_while_an_evaluation_or_a_pruned_trial_is_of_them(store, trial_record):
    recipe = recipes.named("tiny")
    stored = recipe.model_dump(mode="json")
    chose, pruned_by, reported = (naming.clips_fingerprint(recipe.data, text, recipe.model) for text in "vpr")
    committed(store, trial_record, "t1", recipe=stored)
    evaluated(store, store.record("t1"), data_fingerprint="v", split="validation")
    pruned = {"recipe": stored, "data_fingerprint": "d", "rungs_data_fingerprint": "p", "code_fingerprint": "c"}
    store.put_create_only("pruned/t9/e/20.json", json.dumps(pruned).encode())
    for folder in (chose, pruned_by, reported):
        store.put_create_only(f"clips/{folder}/manifest.json", b"123")
    garbage = garbage_collection.find(store, Rules(clips=True))
    assert [item.location for item in garbage.items] == [f"clips/{reported}"]


def test_clips_and_code_go_only_when_asked_and_nothing_lives(store, uri, trial_record):
    recipe = recipes.named("tiny")
    used = naming.clips_fingerprint(recipe.data, "d", recipe.model)
    committed(store, trial_record, "t1", recipe=recipe.model_dump(mode="json"), code_fingerprint="c1")
    for path in (f"clips/{used}/manifest.json", "clips/old/train/part", "clips/old/manifest.json"):
        store.put_create_only(path, b"123")
    for code in ("c1", "c2", "c3"):
        store.put_create_only(f"code/{code}.tar.gz", b"12")
    pruned = {"recipe": recipe.model_dump(mode="json"), "data_fingerprint": "e", "code_fingerprint": "c3"}
    store.put_create_only("pruned/t9/20.json", json.dumps(pruned).encode())
    ended_early = naming.clips_fingerprint(recipe.data, "e", recipe.model)
    store.put_create_only(f"clips/{ended_early}/manifest.json", b"123")
    rules = Rules(clips=True, code=True)
    assert garbage_collection.find(store).items == ()
    unfinished = attempted(uri, ME, {}, "t2")
    assert garbage_collection.find(store, rules).items == ()
    unfinished.fail("over", "ValueError")
    garbage = garbage_collection.find(store, rules)
    assert [item.paths for item in garbage.items] == [
        ("code/c2.tar.gz",),
        ("clips/old/manifest.json", "clips/old/train/part"),
    ]
    garbage_collection.collect(store, garbage)
    assert store.list_files("clips") == sorted(f"clips/{name}/manifest.json" for name in (used, ended_early))
    committed(store, trial_record, "t3", recipe={"data": {"kind": "unknown"}})
    with pytest.raises(StoreError, match=r"records/t3\.json: this code cannot read its recipe"):
        garbage_collection.find(store, rules)


@pytest.mark.fault(
    injection="a writer killed in the middle of a file",
    symptom="half a file is read as whole, or stays for ever",
    expected="right: invisible, and collected after an hour",
)
def test_half_written_files_of_killed_writers_go_after_an_hour(tmp_path: Path):
    store = SweepStore(str(tmp_path))
    store.put_create_only("records/x", b"1")
    for name, age_s in {"old": 3700, "new": 60}.items():
        left = tmp_path / "records" / f".tmp-{name}"
        left.write_bytes(b"half")
        now_s = left.stat().st_mtime
        os.utime(left, (now_s - age_s, now_s - age_s))
    garbage = garbage_collection.find(store)
    assert [(item.kind, item.size_bytes) for item in garbage.items] == [("leftover", 4)]
    garbage_collection.collect(store, garbage)
    assert sorted(path.name for path in (tmp_path / "records").iterdir()) == [".tmp-new", "x"]
