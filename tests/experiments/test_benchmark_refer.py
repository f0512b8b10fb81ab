"""Table 1 on files made of the embedded data: planned, answered, judged by a local server, compared and written."""

import re
import sys
from pathlib import Path
from typing import Any

import bench_lab
import pytest
from llm_server import Model, Reply

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments"))

import benchmark_refer
from benchmark_refer import ReferSettings
from swimlab.llm.client import EndpointError


def shown(settings: ReferSettings) -> str:
    return bench_lab.shown(benchmark_refer, settings)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Flags with two judges."""
    judged = {"second_judge": "judge-2", "price_in": 2.5, "price_out": 10.0}
    return bench_lab.flags(tmp_path, monkeypatch, 4) | judged


def test_table_1_is_planned_run_and_run_again_for_nothing(lab: dict[str, Any]) -> None:
    plan = shown(ReferSettings(command="plan", **lab))
    assert plan.count("they are not prepared") == 6
    with Model(bench_lab.judging) as server:
        settings = ReferSettings(base_url=server.url, **lab)
        text = shown(settings)
        asked = sum(server.asked.values())
        again = shown(settings)
        assert sum(server.asked.values()) == asked > 0
    assert "VideoRefer-Bench-D, judged by judge-1" in text
    assert re.search(r"SWIM \(paper\) .* 78\.3", text)
    assert len(re.findall(r"swim > base .* 4 ", text)) == 3
    assert "verdict by rows" in text
    for name in ("VideoRefer-Bench-Q", "Claims on bench_d.avg", "released reading", "Attention × answer", "4 to 32"):
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


def test_a_served_model_is_a_row_and_is_asked_once(lab: dict[str, Any]) -> None:
    """It answers Bench-Q with the letter of the first option, and the judge's server is another."""
    flags = lab | {"base": (), "served": "gpt-x", "bench_d": None, "served_price_in": 2.5, "served_price_out": 10.0}
    plan = shown(ReferSettings(command="plan", **flags))
    assert re.search(r"bench-q +\S+ gpt-x +\S+ gpt-x +\S+ letter", plan)
    with Model(lambda body, n: Reply("(A)")) as server:
        settings = ReferSettings(served_url=server.url, **flags)
        text = shown(settings)
        again = shown(settings)
        assert len(server.bodies) == 4
        with_budget = ReferSettings(served_url=server.url, max_cost=1e-9, **flags | {"served": "gpt-y"})
        with pytest.raises(EndpointError, match="--max-cost is 1e-09"):
            shown(with_budget)
        assert len(server.bodies) == 4
    rows = re.findall(r"│ gpt-x .*", text)
    assert len(rows) == 3  # its scores, its answers, and by the sizes of the objects, which the trial tells
    assert rows == re.findall(r"│ gpt-x .*", again)
    assert "swim > base" not in text
    served = shown(ReferSettings(command="plan", **flags))
    assert re.search(r"gpt-x +\S+ gpt-x +\S+ letter +\S+ 0 +\S+ 0.0000", served)
