"""Table 2 with a program in lmms-eval's place: planned, run, run again for nothing, compared, and failures shown."""

import io
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import lmms_kit
import pytest
from answering_kit import commit_trial
from rich.console import Console

from swimlab.evaluating.lmms.environment import LmmsError
from swimlab.store.sweep_store import SweepStore

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments"))

import benchmark_general
from benchmark_general import GeneralSettings

# 200 questions about 100 videos. The base has every tenth wrong, the other model every fifth of VideoMME.
SCORES = """
arguments = dict(pair.split("=") for pair in flags["--model_args"].split(","))
trial, task = Path(arguments["pretrained"], "README.md").read_text().split()[1], flags["--tasks"]
with open(os.path.join(os.path.dirname(__file__), "calls"), "a") as calls:
    calls.write(f"{trial} {task}\\n")
if task == "activitynetqa":
    sys.exit("All 5 attempts failed")
every = 5 if (trial, task) == ("swim0", "videomme") else 10
if task == "mvbench":
    rows = {f"mvbench_{t}": [lmms_kit.mvbench(n, "B", n % every != 0) for n in range(100)] for t in ("a", "b")}
    metric = "mvbench_accuracy"
else:
    rows = {task: [lmms_kit.videomme(n, f"v{n // 2}", n % every != 0) for n in range(200)]}
    metric = "videomme_perception_score"
content = lmms_kit.results(rows, metric, dict.fromkeys(rows, 100 - 100 / every))
lmms_kit.write(Path(flags["--output_path"]), content, rows)
"""


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two models, to be copied."""
    folder = tmp_path_factory.mktemp("committed") / "store"
    for seed, trial_id in enumerate(("base0", "swim0")):
        commit_trial(SweepStore(str(folder)), trial_id, seed)
    return folder


@pytest.fixture
def lab(committed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Flags for that store and an environment."""
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    monkeypatch.delenv("MODEL_VERSION", raising=False)
    shutil.copytree(committed, tmp_path / "store")
    return {
        "base": ("base0",),
        "swim": ("swim0",),
        "lmms_python": lmms_kit.python(tmp_path / "env", SCORES),
        "hf_home": tmp_path / "hf",
        "gpu": False,
        "store": str(tmp_path / "store"),
    }


def shown(settings: GeneralSettings, code: int = 0) -> str:
    console = Console(width=700, record=True, file=io.StringIO())
    assert benchmark_general.run(settings, console) == code
    return console.export_text()


def test_table_2_is_planned_run_and_run_again_for_nothing(lab: dict[str, Any], tmp_path: Path) -> None:
    plan = shown(GeneralSettings(command="plan", **lab))
    assert len(re.findall(r"to run +\S+ missing +\S+ 4,000 ", plan)) == 2
    assert plan.count("gpt-4o-2024-11-20, a request a row, not in our budget") == 2
    assert plan.count("not known: none was run") == 6
    first = shown(GeneralSettings(**lab), code=1)
    assert re.search(r"SWIM \(paper\) .* 62\.1", first)
    # Equal on MVBench, and ten points lower on VideoMME: paired, and one family of tests.
    assert re.search(r"MVBench +\S+ swim ≥ base − 2 +\S+ \+0\.0 .* REPRODUCED", first)
    assert re.search(r"VideoMME +\S+ swim ≥ base − 2 +\S+ −10\.0 \[\S+, \S+\] +\S+ 200 +\S+ 100 .* CONTRADICTED", first)
    assert re.search(r"activitynetqa +\S+ swim +\S+ swim0 +\S+ .*check OPENAI_API_KEY", first)
    calls = (tmp_path / "env" / "calls").read_text().splitlines()
    assert len(calls) == 6
    again = shown(GeneralSettings(**lab | {"tasks": ("mvbench", "videomme")}))
    assert (tmp_path / "env" / "calls").read_text().splitlines() == calls
    assert "Not scored" not in again
    report = Path(re.search(r"report +(\S+)", first)[1]).read_text()  # type: ignore[index]
    assert report.startswith("# Table 2")
    assert "- lmms-eval: 0.7.3" in report
    assert "Not scored" in report
    assert report.count("The paper does not list the model") == 1
    (tmp_path / "hf" / "mvbench_video").mkdir(parents=True)
    plan = shown(GeneralSettings(command="plan", **lab))
    assert plan.count(" stored ") == 4
    assert (plan.count(" there "), plan.count(" missing ")) == (2, 4)
    assert len(re.findall(r"activitynetqa .* to run .*check OPENAI_API_KEY", plan)) == 2


def test_a_task_of_ones_own_is_shown_without_claims_and_a_limit_is_said(lab: dict[str, Any]) -> None:
    text = shown(GeneralSettings(**lab | {"tasks": ("mine", "videomme"), "limit": 7}))
    assert re.search(r"base +\S+ 0\.900 ", text)
    assert len(re.findall("swim ≥ base − 2", text)) == 1
    report = Path(re.search(r"report +(\S+)", text)[1]).read_text()  # type: ignore[index]
    assert "- limit: 7 rows of each task: a try, and no result" in report


def test_models_that_were_not_computed_alike_get_no_verdict(lab: dict[str, Any]) -> None:
    only = lab | {"tasks": ("videomme",)}
    shown(GeneralSettings(**only | {"swim": ()}))
    python = lab["lmms_python"]
    python.write_text(python.read_text().replace("'torch': '2.13.0'", "'torch': '2.14.0'"))
    text = shown(GeneralSettings(**only))
    assert re.search(r"swim ≥ base − 2 .*MIXED", text)
    assert "CONTRADICTED" not in text


def test_a_plan_says_that_the_environment_is_missing_and_a_run_ends(lab: dict[str, Any]) -> None:
    missing = lab | {"lmms_python": Path("none/python")}
    plan = shown(GeneralSettings(command="plan", **missing))
    assert re.search(r"missing: lmms-eval: no Python at \S+/none/python .*`make lmms-env`", plan)
    assert plan.count("to run") == 6
    with pytest.raises(LmmsError, match="make lmms-env"):
        shown(GeneralSettings(**missing))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"base": (), "swim": ()}, "name trials"),
        ({"tasks": ("mvbench", "mvbench")}, "each once"),
        ({"swim": ("nobody",)}, "has no trial nobody"),
        ({"include_path": Path("none")}, "no such folder"),
    ],
)
def test_what_is_missing_is_said_at_once(lab: dict[str, Any], flags: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, LmmsError), match=message):
        shown(GeneralSettings(command="plan", **lab | flags))
