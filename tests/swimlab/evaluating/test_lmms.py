"""Trials on tasks of lmms-eval: its command is run once, and what it says of a failure comes back with advice.

A program that writes lmms-eval's files stands in its place (`lmms_kit`); `test_lmms_eval.py` runs the real one."""

import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

import duckdb
import lmms_kit
import pytest
from answering_kit import commit_trial

from swim.evaluation import lmms_samples
from swimlab.evaluating.lmms import environment, measure, runs, schedule
from swimlab.evaluating.lmms.environment import LmmsError
from swimlab.evaluating.lmms.runs import GeneralTask, Where
from swimlab.evaluating.lmms.schedule import Job
from swimlab.store.published_tables import write_tables
from swimlab.store.records import TrialRecord
from swimlab.store.sweep_store import SweepStore

# Four questions about two videos. Each call leaves a line in "calls".
SCORES = """
with open(os.path.join(os.path.dirname(__file__), "calls"), "a") as calls:
    calls.write(json.dumps({"flags": flags, "env": dict(os.environ)}) + "\\n")
rows = [lmms_kit.videomme(n, f"v{n // 2}", n != 3) for n in range(4)]
content = lmms_kit.results({"videomme": rows}, "videomme_perception_score", {"videomme": 75.0})
lmms_kit.write(Path(flags["--output_path"]), content, {"videomme": rows})
print("\\x1b[32mdone\\x1b[0m")
"""
TASK = GeneralTask(task="videomme", lmms_eval="0.7.3", backend="qwen2_5_vl", model_args={"max_num_frames": 4})


def where_of(python: Path, **changes: Any) -> Where:
    return Where(environment.probe(python), python.parent / "hf", gpu=False, **changes)


def calls(python: Path) -> list[dict[str, Any]]:
    return lmms_samples.read_samples((python.parent / "calls").read_text())


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a trial, to be copied."""
    folder = tmp_path_factory.mktemp("committed") / "store"
    commit_trial(SweepStore(str(folder)))
    return folder


@pytest.fixture
def store(committed: Path, tmp_path: Path) -> SweepStore:
    shutil.copytree(committed, tmp_path / "store")
    return SweepStore(str(tmp_path / "store"))


@pytest.fixture
def trial(store: SweepStore) -> TrialRecord:
    return store.records()["t1"]


def test_a_model_is_scored_once_and_its_rows_are_in_the_tables(
    store: SweepStore, trial: TrialRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    monkeypatch.setenv("HF_TOKEN", "secret")
    python = lmms_kit.python(tmp_path / "env", SCORES)
    (planned,) = schedule.plan([Job(trial, TASK)], store)
    assert (planned.stored, planned.like_s) == (False, None)
    scores = measure.measure(trial, TASK, store, where_of(python))
    assert measure.measure(trial, TASK, store, where_of(python)) == scores
    (call,) = calls(python)
    arguments = call["flags"]["--model_args"].split(",")
    assert arguments[1:] == ["max_num_frames=4", "device=cpu", "device_map=cpu"]
    assert not Path(arguments[0].removeprefix("pretrained=")).exists()  # the export is gone
    assert "secret" not in call["env"].values()
    assert {name: call["env"][name] for name in ("HF_HOME", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")} == {
        "HF_HOME": str(tmp_path / "env" / "hf"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"
    }  # fmt: skip
    assert scores.metrics["videomme.avg"] == scores.metrics["videomme.reported"] == 75.0
    assert sorted(scores.rows["videomme.avg"].values()) == [0.0, 100.0, 100.0, 100.0]
    assert set(scores.videos.values()) == {"v0", "v1"}
    (record,) = store.evaluations().values()
    assert (record.suite, record.config["lmms_eval"]) == ("lmms-eval videomme", "0.7.3")
    assert record.provenance.numerics["engine"] == "lmms-eval 0.7.3: lmms_eval.models.chat.qwen2_5_vl.Qwen2_5_VL (chat)"
    (planned,) = schedule.plan([Job(trial, TASK)], store)
    assert (planned.stored, planned.like_s) == (True, record.eval_s)
    write_tables(store)
    query = f"""select avg(value) from '{store.uri}/tables/samples/*.parquet' where metric = 'videomme.avg'"""
    assert duckdb.sql(query).fetchall() == [(75.0,)]


def test_another_reader_reads_the_stored_run_and_a_new_version_of_lmms_eval_is_another_run(
    store: SweepStore, trial: TrialRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = lmms_kit.python(tmp_path / "env", SCORES)
    first = measure.measure(trial, TASK, store, where_of(python))
    with monkeypatch.context() as patch:
        patch.setattr(measure, "_code", lambda: "0" * 20)
        again = measure.measure(trial, TASK, store, where_of(python))
    assert again.evaluation_id != first.evaluation_id
    assert again.rows == first.rows
    assert len(calls(python)) == 1
    newer = TASK.model_copy(update={"lmms_eval": "0.7.4"})
    measure.measure(trial, newer, store, where_of(lmms_kit.python(tmp_path / "env", SCORES, "0.7.4")))
    assert len(calls(python)) == 2


def test_a_failure_is_kept_with_its_output_and_stops_no_other_task(
    store: SweepStore, trial: TrialRecord, tmp_path: Path
) -> None:
    python = lmms_kit.python(tmp_path / "env", "print('one'); print('two'); sys.exit(flags['--tasks'] == 'videomme')\n")
    jobs = [Job(trial, TASK), Job(trial, TASK.model_copy(update={"task": "other"}))]
    first, second = schedule.measure_all(jobs, store, where_of(python))
    assert first.failure.startswith("videomme: it ended with code 1: its last lines:\none\ntwo (its output: ")
    assert "other: lmms-eval ended without results: its last lines:\none\ntwo" in second.failure
    log = Path(first.failure.partition("its output: ")[2].removesuffix(")"))
    assert log.read_text() == "one\ntwo\n"
    (planned, _) = schedule.plan(jobs, store)
    assert (planned.stored, "videomme: it ended" in planned.failure) == (False, True)
    assert not store.evaluations()
    lmms_kit.python(tmp_path / "env", SCORES)
    assert measure.measure(trial, TASK, store, where_of(python)).metrics["videomme.avg"] == 75.0


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("ValueError: Tasks not found: videomma. Try `lmms-eval`", 0, "Tasks not found: videomma: .*--include-path"),
        ("E\ntorch.OutOfMemoryError: CUDA out of memory. Tried", 1, "out of memory.*--model-args"),
        ("ConnectionError: Couldn't find x on the Hugging Face Hub", 0, "not in HF_HOME.*--online"),
        ("video path:/hf/videomme/data/a.mp4 does not exist, please check", 1, "videos are not below HF_HOME"),
        ("AssertionError: Unexpected kwargs: {'a': 1}", 0, "knows no such --model-args"),
        ("All 5 attempts failed.\nTypeError: 'NoneType'", 0, "check OPENAI_API_KEY"),
        ("loading", -9, "memory may be full"),
    ],
)
def test_what_a_log_says_comes_with_advice(text: str, code: int, says: str) -> None:
    assert re.search(says, environment.explain(text, code))


@pytest.mark.parametrize(
    ("python", "says"),
    [
        ("nowhere/python", "no Python at .*nowhere/python .*`make lmms-env`"),
        ("/bin/false", "/bin/false does not start .*--lmms-python"),
    ],
)
def test_an_environment_that_is_not_there_is_named(python: str, says: str) -> None:
    with pytest.raises(LmmsError, match=says):
        environment.probe(Path(python))


def test_an_environment_without_lmms_eval_is_named(tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_text('#!/bin/sh\necho \'{"torch": "2.13.0"}\'\n')
    program.chmod(0o755)
    with pytest.raises(LmmsError, match="has no lmms_eval, transformers"):
        environment.probe(program)


def test_a_judged_task_needs_the_judges_key_and_gets_it(
    store: SweepStore, trial: TrialRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = lmms_kit.python(tmp_path / "env", SCORES)
    judged = TASK.model_copy(update={"judge": "judge-1"})
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(LmmsError, match="asks judge-1 itself: set OPENAI_API_KEY"):
        measure.measure(trial, judged, store, where_of(python))
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    scores = measure.measure(trial, judged, store, where_of(python))
    assert scores.metrics["videomme.avg"] == 75.0
    assert calls(python)[0]["env"]["OPENAI_API_KEY"] == "secret"
    (record,) = store.evaluations().values()
    assert record.suite == "lmms-eval videomme by judge-1"
    assert "videomme.avg by judge-1" in record.metrics


def test_keys_and_tokens_that_lmms_eval_prints_are_not_kept(tmp_path: Path) -> None:
    python = lmms_kit.python(tmp_path / "env", "print(os.environ['HF_TOKEN'], 'is my \\x1b[32mtoken\\x1b[0m, false')\n")
    env = environment.variables(tmp_path, online=True, judged=False, ours={**os.environ, "HF_TOKEN": "hf_secret"})
    environment.run([str(python), "-m", "lmms_eval"], tmp_path / "log", env)
    assert (tmp_path / "log").read_text() == "[REDACTED] is my token, false\n"


def test_a_run_whose_files_were_altered_is_refused(store: SweepStore, trial: TrialRecord, tmp_path: Path) -> None:
    python = lmms_kit.python(tmp_path / "env", SCORES)
    measure.measure(trial, TASK, store, where_of(python))
    (samples,) = Path(store.uri).glob("lmms/*/*/samples/videomme.jsonl")
    samples.write_text(samples.read_text().replace("v0", "v9"))
    (outcome,) = schedule.measure_all([Job(trial, TASK)], store, where_of(python))
    assert "was altered: delete lmms/" in outcome.failure


def test_arguments_that_the_command_cannot_carry_are_refused(tmp_path: Path) -> None:
    where = where_of(lmms_kit.python(tmp_path / "env", SCORES))
    task = TASK.model_copy(update={"model_args": {"system_prompt": "a, b"}})
    with pytest.raises(LmmsError, match=r"system_prompt=a, b: lmms-eval takes no ','"):
        runs.command(task, Path("model"), Path("out"), where)
    included = Where(where.environment, where.hf_home, gpu=True, include_path=tmp_path)
    words = runs.command(TASK.model_copy(update={"limit": 2}), Path("model"), Path("out"), included)
    assert words[-4:] == ["--limit", "2", "--include_path", str(tmp_path)]
    assert "device=cuda:0" in " ".join(words)


def test_tasks_of_ones_own_are_part_of_the_name(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("task: mine\n")
    first = runs.include_hash(tmp_path)
    (tmp_path / "mine.yaml").write_text("task: mine\nlimit: 2\n")
    assert first != runs.include_hash(tmp_path) != runs.include_hash(None) == ""
    with pytest.raises(LmmsError, match="no such folder"):
        runs.include_hash(tmp_path / "none")


def test_what_a_run_started_ends_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_BEAT_S", 0.1)
    child = tmp_path / "child"
    does = f"""
import subprocess
process = subprocess.Popen(["sleep", "600"])
Path({str(child)!r}).write_text(str(process.pid))
process.wait()
"""
    python = lmms_kit.python(tmp_path / "env", does)

    def beat() -> None:
        if child.exists() and child.read_text():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        environment.run([str(python), "-m", "lmms_eval"], tmp_path / "log", os.environ, beat)
    # Killed with its parent and its group; what adopts it may take a moment to bury it.
    while (state := Path(f"/proc/{child.read_text()}/stat")).exists() and state.read_text().split()[2] != "Z":
        time.sleep(0.01)
