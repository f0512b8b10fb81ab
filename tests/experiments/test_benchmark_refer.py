"""Table 1 on files made of the embedded data: planned, answered, judged by a local server, compared and written."""

import io
import re
import sys
from pathlib import Path
from typing import Any

import bench_files
import pytest
from answering_kit import commit_trial, prepare_here
from llm_server import Model, Reply
from rich.console import Console

from swim.evaluation.judging import AXES
from swimlab.store.sweep_store import SweepStore

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments"))

import benchmark_refer
from benchmark_refer import ReferSettings


def behave(body: dict[str, Any], n: int) -> Reply:
    """A judge that likes long answers."""
    said = body["messages"][1]["content"].rpartition("\n")[2]
    grade = min(5, len(said.split()))
    return Reply("\n".join(f"{number}. {name}: {grade}" for number, name in enumerate(AXES.values(), 1)))


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Flags for a store with two models, and files of both benchmarks."""
    prepare_here(monkeypatch)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    store = SweepStore(str(tmp_path / "store"))
    commit_trial(store, "base0", 0)
    commit_trial(store, "swim0", 1)
    descriptions, choices = bench_files.write(tmp_path, 4)
    return {
        "base": ("base0",),
        "swim": ("swim0",),
        "bench_d": descriptions.annotations[0],
        "bench_q": choices.annotations[0],
        "videos": str(tmp_path),
        "judge": "judge-1",
        "second_judge": "judge-2",
        "price_in": 2.5,
        "price_out": 10.0,
        "max_new_tokens": 5,
        "store": store.uri,
        "cache": tmp_path / "cache",
    }


def shown(settings: ReferSettings) -> str:
    console = Console(width=250, record=True, file=io.StringIO())
    assert benchmark_refer.run(settings, console) == 0
    return console.export_text()


def test_table_1_is_planned_run_and_run_again_for_nothing(lab: dict[str, Any]) -> None:
    plan = shown(ReferSettings(command="plan", **lab))
    assert plan.count("they are not prepared") == 6
    with Model(behave) as server:
        settings = ReferSettings(base_url=server.url, **lab)
        text = shown(settings)
        asked = sum(server.asked.values())
        again = shown(settings)
        assert sum(server.asked.values()) == asked > 0
    assert "VideoRefer-Bench-D, judged by judge-1" in text
    assert re.search(r"SWIM \(paper\) .* 78\.3", text)
    assert len(re.findall(r"swim > base .* 4 ", text)) == 3
    assert "verdict by rows" in text
    for name in ("VideoRefer-Bench-Q", "Claims on bench_d.avg", "released reading"):
        assert name in text
    plan = shown(ReferSettings(command="plan", **lab))
    assert "not prepared" not in plan
    assert re.search(r"bench-d +\S+ base +\S+ base0 +\S+ text +\S+ 0 +\S+ – +\S+ judge-2 +\S+ 0 \(\d stored\)", plan)
    first, second = (Path(re.search(r"report +(\S+)", screen)[1]).read_text() for screen in (text, again))  # type: ignore[index]
    for name in ("judge-1", "judge-2"):
        assert f"replies of {name}: {asked // 2} of {name}-001" in first
        assert f"paid to {name}: {asked // 2} replies" in first
        assert f"paid to {name}: 0 replies" in second
    assert ("cost: 0.0000" in first, "cost: 0.0000" in second) == (False, True)
    assert re.search(r"\| AD \| 8 \| 1.00 \| \+0.00 \|", first)  # both judges are one function
    assert first.partition("## ")[2] == second.partition("## ")[2]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"base": (), "swim": ()}, "name trials"),
        ({"bench_q": None, "bench_d": None}, "name a benchmark's rows"),
        ({"judge": None}, "--bench-d needs --judge"),
        ({"prompts": "noun-only"}, "noun-only is for Bench-D"),
        ({"second_judge": "judge-1"}, "agrees with itself"),
    ],
)
def test_what_is_missing_is_said_at_once(lab: dict[str, Any], flags: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ReferSettings(**lab | flags)


def test_a_trial_that_is_not_there_is_named(lab: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="has no trial nobody"):
        shown(ReferSettings(command="plan", **lab | {"swim": ("nobody",)}))
