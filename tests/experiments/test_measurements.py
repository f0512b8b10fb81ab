"""Measurements: kept once, read by anyone, compared in pairs."""

import json
import math
from pathlib import Path

import duckdb
import pytest
from pydantic import ValidationError
from scipy import stats

import measurement_plots
import measurement_report
import measurements
from measurement_report import Column
from measurements import Bound, Measurement, MeasurementRun
from swimlab.report import markdown
from swimlab.store import provenance
from swimlab.store.errors import StoreError
from swimlab.store.sweep_store import SweepStore


class Step(Measurement):
    tokens: int
    times_s: tuple[float, ...] = ()
    step_bytes: int | None = None


class StepRun(MeasurementRun):
    rows: tuple[Step, ...]


def row(scheme: str, number: int, time_s: float | None = 1.0, **fields: object) -> Step:
    given = {"size": "small", "tokens": 64, "time_s": time_s, "step_bytes": 100} | fields
    return Step(scheme=scheme, round=number, **given)


def run(*rows: Step, run_id: str = "r1") -> StepRun:
    came = provenance.gather(
        numerics={"device": "cpu", "dtype": "float32", "world_size": 1}, started_at="s", finished_at="f"
    )
    return StepRun(
        experiment="cost", run_id=run_id, machine="m", settings={"size": "small"}, provenance=came, rows=rows
    )


def test_a_run_is_written_once_and_its_table_holds_all_runs(tmp_path: Path) -> None:
    store = SweepStore(str(tmp_path))
    first = run(row("sft", 0, times_s=(1.0, 1.5)), row("swim", 0, None, outcome="out of memory"))
    measurements.commit(store, first)
    with pytest.raises(StoreError, match="never overwritten"):
        measurements.commit(store, first)
    measurements.commit(store, run(row("sft", 0, 2.0), run_id="r2"))
    assert measurements.runs(store, "cost", StepRun)[0] == first
    table = tmp_path / "tables" / "measurements" / "cost.parquet"
    found = duckdb.sql(
        f"""select run_id, scheme, time_s, times_s, outcome, "versions.torch" from '{table}' order by all"""
    ).fetchall()
    torch = first.provenance.versions["torch"]
    assert found == [
        ("r1", "sft", 1.0, "[1.0, 1.5]", "ok", torch),
        ("r1", "swim", None, "[]", "out of memory", torch),
        ("r2", "sft", 2.0, "[]", "ok", torch),
    ]


def test_an_unreadable_run_is_named(tmp_path: Path) -> None:
    store = SweepStore(str(tmp_path))
    store.put_create_only("measurements/cost/bad.json", b"{}")
    with pytest.raises(StoreError, match=r"measurements/cost/bad\.json is no run"):
        measurements.runs(store, "cost", StepRun)


@pytest.mark.parametrize("time_s", [0.0, -1.0, math.inf, math.nan])
def test_a_time_is_positive_and_finite(time_s: float) -> None:
    with pytest.raises(ValidationError):
        row("sft", 0, time_s)


def test_run_ids_differ() -> None:
    assert len({provenance.new_run_id() for _ in range(50)}) == 50


def test_a_ratio_pairs_rounds_and_has_a_t_interval() -> None:
    ours, plain = {0: 1.1, 1: 2.4, 2: 4.0, 7: 9.0}, {0: 1.0, 1: 2.0, 2: 4.0, 8: 1.0}
    seen = measurements.ratio(ours, plain)
    logs = [math.log(1.1), math.log(1.2), 0.0]
    assert seen is not None
    assert seen.mean == pytest.approx(math.exp(sum(logs) / 3))
    low, high = stats.ttest_1samp(logs, 0).confidence_interval(0.95)
    assert (seen.low, seen.high) == pytest.approx((math.exp(low), math.exp(high)))
    assert measurements.ratio({0: 1.0}, {1: 1.0}) is None
    assert measurements.ratio({0: 2.0}, {0: 1.0}).low is None


@pytest.mark.parametrize(
    ("times_s", "limit", "at_most", "verdict"),
    [
        ([1.01, 1.02, 1.0], 1.05, True, "met"),
        ([1.2, 1.21, 1.22], 1.05, True, "not met"),
        ([0.9, 1.2, 1.0], 1.05, True, "undecided"),
        ([1.0], 1.05, True, "undecided"),
        ([3.0, 3.1, 3.2], 2, False, "met"),
        ([1.1, 1.2, 1.0], 2, False, "not met"),
        ([1.5, 2.5, 2.0], 2, False, "undecided"),
        ([], 2, False, "not measured"),
    ],
)
def test_a_bound_is_judged_by_the_whole_interval(
    times_s: list[float], limit: float, at_most: bool, verdict: str
) -> None:
    rows = [row("sft", i) for i in range(5)] + [row("swim", i, time_s) for i, time_s in enumerate(times_s)]
    # Another length and another size must not mix in.
    rows += [row("swim", i, 50.0, tokens=128) for i in range(5)] + [row("swim", i, 50.0, size="7b") for i in range(5)]
    where = {"size": "small", "tokens": 64}
    assert Bound("time_s", "swim", "sft", limit, at_most, where).judge(run(*rows))[0] == verdict
    # The rows of "sft" took 1 s each: over nothing it is the same.
    alone = Bound("time_s", "swim", None, limit, at_most, where)
    assert alone.judge(run(*rows))[0] == verdict
    assert alone.text == f"time_s swim {'≤' if at_most else '≥'} {limit:g} (small, 64 tokens)"


def test_every_scheme_leads_equally_often() -> None:
    orders = [measurements.rotated(("a", "b", "c"), i) for i in range(6)]
    assert [order[0] for order in orders] == list("abcabc")
    assert all(sorted(order) == list("abc") for order in orders)


def test_the_report_shows_ratios_losses_and_nothing_from_outside(tmp_path: Path) -> None:
    rows = [
        row(scheme, i, t + 0.1 * i, tokens=n)
        for n in (64, 128)
        for scheme, t in (("sft", 1.0), ("swim", 2.0))
        for i in range(3)
    ]
    rows += [row("eager", 0, None, step_bytes=None, outcome="out of memory")]
    done = run(*rows)
    columns = (Column("step (s)", "time_s"), Column("time ÷ sft", "time_s", over="sft"))
    grids = [
        measurement_report.verdict_grid(done, []),
        measurement_report.values_grid(done, "Cost", ("size", "tokens"), columns, ("sft", "swim", "eager")),
    ]
    store = SweepStore(str(tmp_path))
    picture = measurement_plots.ratio_figure(done, "tokens", "sft", {"time_s": "time"}, size="small")
    address = measurement_report.write_report(store, done, "T", "Q <why>?", grids, ["note"], picture)
    page = Path(address).read_text()
    assert "Q &lt;why&gt;?" in page
    assert "http" not in page
    lines = (Path(address).parent / "report.md").read_text().splitlines()
    (swim,) = (line for line in lines if line.startswith("| small | 64 | swim |"))
    assert "2.100 (2.000–2.200)" in swim
    ratio = done.ratio("time_s", "swim", "sft", size="small", tokens=64)
    assert markdown.md(measurement_report.ratio_text(ratio)) in swim
    assert any("out of memory (1 of 1)" in line for line in lines)
    assert picture.startswith(b"\x89PNG")
    assert (Path(address).parent / "measured.png").read_bytes() == picture
    assert json.loads(done.model_dump_json())["rows"][0]["scheme"] == "sft"
