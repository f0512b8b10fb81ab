"""Experiment files import, plan, and take the flags that users' scripts rely on."""

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from swim import recipes
from swim.data.synthetic import shapes_world
from swim.supervision.layers import resolve
from swimlab import Ablation
from swimlab.cli import experiment_file
from swimlab.experiment.run_settings import Settings

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
FILES = [
    file for file in sorted(EXPERIMENTS.glob("*.py")) if re.search(r"^[A-Z]\w* = Ablation\(", file.read_text(), re.M)
]

# Scripts and job specs name these: adding one is fine, renaming or removing one breaks somebody.
FLAGS = {
    "command",
    "recipe",
    "set",
    "seeds",
    "replicate",
    "looks",
    "store",
    "workers",
    "shard",
    "concurrency",
    "micro_batch",
    "gpu",
    "card",
    "usd_per_hour",
    "clips",
    "decode_cpus",
    "features",
    "max_clips_gb",
    "max_quarantined_share",
    "keep_checkpoints",
    "checkpoint_minutes",
    "resume_on_other_workers",
    "cache",
    "bench_d",
    "bench_q",
    "bench_videos",
    "bench_videos_q",
    "judge",
    "judge_url",
    "judge_params",
    "price_in",
    "price_out",
    "max_cost",
    "train_only",
}


def ablations(file: Path) -> list[Ablation]:
    return [value for value in runpy.run_path(str(file)).values() if isinstance(value, Ablation)]


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_an_experiment_is_short_and_asks_questions(file: Path) -> None:
    assert all(found.question.endswith("?") for found in ablations(file))
    assert file.read_text().count("\n") <= 60


def test_the_book_holds_every_table_of_the_paper() -> None:
    sys.path.insert(0, str(EXPERIMENTS))
    try:
        tables = runpy.run_path(str(EXPERIMENTS / "paper.py"))["TABLES"]
    finally:
        sys.path.remove(str(EXPERIMENTS))
    assert len({table.name for table in tables}) == len(tables)
    own = {found.name for file in FILES for found in ablations(file)} - {"train", "objective"}
    # Hours of its own: not the paper's question.
    assert {table.name for table in tables} == {name for name in own if not name.startswith("answers-")}


def test_table_3_names_the_papers_layers_and_stays_apart_on_twelve() -> None:
    (table,) = ablations(EXPERIMENTS / "sweep_layers.py")
    choices = [arm.overrides["objective.layers"] for arm in table.arms if "objective.layers" in arm.overrides]
    assert [resolve(c, 28) for c in choices][3:5] == [(1, 7, 13), (9, 18, 27)]
    assert resolve(choices[-2], 28) == (1, 4, 7, 10, 13, 16, 19, 22, 25)
    assert len({resolve(c, 12) for c in choices}) == 12


def test_table_4_holds_the_papers_numbers() -> None:
    table, _ = ablations(EXPERIMENTS / "sweep_fusion.py")
    assert dict(table.paper.rows) == {"mean": 3.78, "add": 3.57, "pool": 3.49, "product": 3.55}
    assert [arm.name for arm in table.arms] == ["mean", "add", "pool", "product", "released-fusion", "control"]
    assert (tuple(table.seeds), tuple(table.looks)) == (tuple(range(8)), (4, 8))


def test_the_flags_are_frozen() -> None:
    assert set(Settings.model_fields) == FLAGS


@pytest.mark.parametrize("argv", [["pln"], ["--wrkers", "2"], ["--workers", "two"], ["--workers", "-1"]])
def test_a_mistyped_flag_exits_with_2_and_says_which(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        experiment_file.settings(Settings, argv)
    assert ended.value.code == 2
    assert argv[0].lstrip("-")[:3] in capsys.readouterr().err or argv == ["pln"]


def test_a_variable_sets_a_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWIMLAB_STORE", "s3://bucket/prefix")
    assert experiment_file.settings(Settings, []).store == "s3://bucket/prefix"
    assert experiment_file.settings(Settings, ["--store", "here"]).store == "here"


@pytest.fixture(autouse=True)
def _shared_cache(checked_code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWIMLAB_CACHE", str(checked_code))


def run(*argv: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *argv], cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


def test_plan_lists_trials_and_what_they_start_from(tmp_path: Path) -> None:
    done = run(str(EXPERIMENTS / "sweep_fusion.py"), "plan", "--seeds", "2", "--replicate", "order", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "14 to run" in done.stdout
    assert done.stdout.count("starts arms") == 4  # captions and lists, for either page
    assert not (tmp_path / "swimlab-store").exists()


def test_a_misspelt_recipe_names_the_nearest(tmp_path: Path) -> None:
    done = run(str(EXPERIMENTS / "control.py"), "plan", "--recipe", "tiny-hard-lok", cwd=tmp_path)
    assert done.returncode == 1
    assert "did you mean 'tiny-hard-look'" in done.stdout


def test_a_misspelt_override_fails_at_import(tmp_path: Path) -> None:
    text = (EXPERIMENTS / "sweep_fusion.py").read_text().replace('"objective.fusion"', '"objective.fuson"')
    (tmp_path / "mine.py").write_text(text)
    done = run("mine.py", cwd=tmp_path)
    assert done.returncode == 1
    assert "the nearest is 'objective.fusion'" in done.stderr


def test_a_primary_metric_that_nothing_measures_is_refused_before_any_work(tmp_path: Path) -> None:
    text = (EXPERIMENTS / "sweep_fusion.py").read_text().replace('"bench_d.avg"', '"bench_x.avg"')
    (tmp_path / "mine.py").write_text(text)
    (tmp_path / "mine.json").write_text(recipes.tiny_smoke().override({"name": "mine"}).model_dump_json())
    for recipe in ("mine.json", "qwen2.5-vl-7b"):
        done = run("mine.py", "plan", "--recipe", recipe, cwd=tmp_path)
        assert done.returncode == 1
        assert "bench_x.avg" in done.stdout
        assert "standin" in done.stdout


def test_the_papers_recipe_is_planned_with_its_price_before_its_files_are_here(tmp_path: Path) -> None:
    file = str(EXPERIMENTS / "sweep_fusion.py")
    done = run(file, "plan", "--recipe", "qwen2.5-vl-7b", "--price-in", "2.5", "--price-out", "10", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    for line in (
        r"missing +nl_refer\.json: name yours with --set data\.annotations",
        r"assumed +the paper's 235,000 conversations",
        r"price +≈ .* USD at 3 an hour of one H100 \(assumed",
        r"benchmark +bench-d: 400 rows \(as published: assumed\).* [\d,]+ answers of \d+ trials",
        r"GPU-hours; assumed: 150 tokens an answer",
        r"judge \(not named\): [\d,]+ requests",
        r"≈ [\d.]+ at 2\.5 and 10 a million tokens",
        r"missing: --bench-d FILE",
        r"missing: --judge MODEL",
    ):
        assert re.search(line, done.stdout), line
    given = ("--set", 'data.annotations=["mine.json"]')
    refused = run(file, "plan", "--recipe", "qwen2.5-vl-7b", *given, cwd=tmp_path)
    assert refused.returncode == 1  # a file that the user named is a mistake where it is missing
    assert "mine.json" in refused.stdout


def test_a_batch_that_does_not_divide_is_refused_before_any_work(tmp_path: Path) -> None:
    done = run(str(EXPERIMENTS / "control.py"), "plan", "--workers", "3", cwd=tmp_path)
    assert done.returncode == 1
    assert "does not divide" in done.stdout


def test_train_plans_on_own_annotations(tmp_path: Path) -> None:
    row = {
        "id": "a",
        "video": "a.mp4",
        "conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": "!"}],
    }
    (tmp_path / "mine.json").write_text(json.dumps([row]))
    file = str(EXPERIMENTS / "train.py")
    gone = run(file, "plan", "--annotations", "mine.json", cwd=tmp_path)
    assert gone.returncode == 1
    assert (
        "PipelineError: 1 of 1 rows cannot be used, no row of 'train' is left: 1 × video: no such file" in gone.stdout
    )
    (tmp_path / "a.mp4").write_bytes(shapes_world.encode_mp4(np.zeros((4, 64, 64, 3), np.uint8)))
    done = run(file, "plan", "--annotations", "mine.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "tiny-files" in done.stdout
    assert "data: all 1 rows read, all 1 videos opened, nothing decoded: 0 rows cannot be used" in done.stdout
    (tmp_path / "mine.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(row | {"id": "b"}) + "\n")
    lines = run(file, "plan", "--annotations", "mine.jsonl", cwd=tmp_path)
    assert lines.returncode == 0, lines.stdout
    unknown = run(file, "plan", "--annotations", "mine.json", "--recipe", "tiny-fils", cwd=tmp_path)
    assert (unknown.returncode, "tiny-files" in unknown.stdout) == (1, True)
    assert run(file, "plan", cwd=tmp_path).returncode == 2
    lost = run(file, "plan", "--annotations", "gone.json", cwd=tmp_path)
    assert lost.returncode == 1
    assert "gone.json" in lost.stdout
