"""The page of a benchmark: undecided models, both tests of a claim, and what two judges agree on."""

from dataclasses import replace

import pytest

from swimlab.evaluating.benchmarks import TrialScores
from swimlab.experiment.claims.better import Better
from swimlab.report.benchmark_page import BenchmarkTable, agreement_grid, grids, markdown

TABLE = BenchmarkTable(
    name="Bench",
    columns={"SC": "bench_d.sc", "Avg": "bench_d.avg"},
    released="bench_d_released.avg",
    counts=["bench_d.asked", "bench_d.failed"],
    digits=2,
    claims=[Better("swim", "base"), Better("swim", "control")],
    test="rows",
    paper={"SWIM": (4.92, 3.78)},
    notes=["a note with a | in it"],
)


def scored(trial_id, grades, seed=0, **metrics):
    """A trial with these grades of twelve answers about six videos."""
    rows = {(f"row {n}", 0): float(grade) for n, grade in enumerate(grades)}
    mean = sum(grades) / len(grades)
    named = {"bench_d.sc": mean, "bench_d.avg": mean, "bench_d.asked": float(len(grades)), **metrics}
    videos = {row: f"video {n // 2}" for n, row in enumerate(rows)}
    return TrialScores(trial_id, seed, named, {"bench_d.sc": rows, "bench_d.avg": rows}, videos, f"e-{trial_id}")


BASE = scored("b", [1, 2, 1, 2, 3, 2, 1, 2, 2, 1, 2, 3])
SWIM = scored("s", [3, 4, 4, 3, 5, 4, 3, 4, 4, 3, 4, 4])


def cells(grid, first):
    _, heads, rows = grid
    (row,) = (row for row in rows if row[0] == first)
    return dict(zip(heads, row, strict=True))


def test_models_stand_beside_the_papers_and_the_judge_is_in_the_heading():
    scores, counts, claims = grids(TABLE, {"base": [BASE], "swim": [SWIM]}, "judge-1")
    assert scores[0] == "Bench, judged by judge-1"
    assert cells(scores, "swim")["Avg"] == "3.75"
    assert cells(scores, "SWIM (paper)")["SC"] == "4.92"
    assert cells(counts, "base") == {"model": "base", "asked": "12", "failed": "0"}
    claim = cells(claims, "swim > base")
    assert (claim["rows"], claim["videos"], claim["seeds"]) == ("12", "6", "1")
    assert claim["verdict by rows"] == "REPRODUCED"
    assert len(claims[2]) == 1  # there is no control


def test_an_undecided_model_has_no_mean_and_no_verdict():
    lost = replace(SWIM, metrics={"bench_d.asked": 12.0, "bench_d.failed": 9.0, "bench_d.undecided": 1.0})
    scores, _, claims = grids(TABLE, {"base": [BASE], "swim": [lost]})
    assert [cells(scores, "swim")[head] for head in ("SC", "Avg")] == ["UNDECIDED"] * 2
    assert cells(claims, "swim > base")["verdict by rows"] == "NOT_RUN"


@pytest.mark.parametrize("test", ["rows", "seeds"])
def test_both_tests_are_shown_and_the_declared_one_gives_the_verdict(test):
    base = [BASE, scored("b1", [2] * 12, seed=1)]
    swim = [SWIM, scored("s1", [2, 3] * 6, seed=1)]
    *_, claims = grids(replace(TABLE, test=test), {"base": base, "swim": swim})
    claim = cells(claims, "swim > base")
    assert claim["over seeds"].startswith("+1.")
    assert (claim["seeds"], claim["rows"]) == ("2", "12")
    assert claim[f"verdict by {test}"] == {"rows": "REPRODUCED", "seeds": "UNDERPOWERED"}[test]


def test_two_judges_agree_up_to_an_offset():
    stricter = {
        arm: [replace(trial, rows={m: {row: value - 1 for row, value in of.items()} for m, of in trial.rows.items()})]
        for arm, trial in (("base", BASE), ("swim", SWIM))
    }
    stricter["base"][0] = replace(stricter["base"][0], metrics={"bench_d.sc": 0.8, "bench_d.avg": 5.0})
    grid = agreement_grid(TABLE, {"base": [BASE], "swim": [SWIM]}, stricter, ("j1", "j2"))
    subject, average = cells(grid, "SC"), cells(grid, "Avg")
    assert (subject["answers"], subject["j2 − j1"]) == ("24", "−1.00")
    assert 0 < float(subject["quadratic kappa"]) < 1
    assert (subject["Kendall's τ over models"], average["Kendall's τ over models"]) == (
        "1.00",
        "−1.00".replace("−", "-"),
    )
    assert average["quadratic kappa"] == "–"  # means of four axes are no grades
    nothing = agreement_grid(TABLE, {"base": [BASE]}, {"base": [replace(BASE, rows={})]}, ("j1", "j2"))
    assert cells(nothing, "SC")["answers"] == "0"


def test_the_page_escapes_what_it_is_told():
    page = markdown("Table 1", [(TABLE, grids(TABLE, {"base": [BASE]}))], {"judge": "a|b"})
    assert "a\\|b" in page
    assert "a note with a \\| in it" in page
