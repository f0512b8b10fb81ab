import pytest

from swimlab import Ablation, Above, Arm, Axis, Better, Metric, NotWorse, Paper
from swimlab.report import ablation_page, cells, terminal
from swimlab.report import markdown as text
from swimlab.report.evidence import evidence_index
from swimlab.report.summarise import summarise
from swimlab.stats.verdicts import Verdict
from synthetic_results import NUMERICS, START, committed

VALUES = {"mean": (0.66, 0.64, 0.65), "pool": (0.61, 0.60, 0.605), "control": (0.14, 0.13, 0.12)}


def fusion(**changes):
    fields = {
        "name": "fusion",
        "arms": [
            *Axis("objective.fusion", {"mean": "mean", "pool": "max"}),
            Arm("control", {"objective.mask_weight": 0}),
        ],
        "seeds": (0, 1, 2),
        "metrics": (
            Metric("bench_d.avg", standin={"tiny": "attention.ap"}, primary=True),
            Metric("answer.accuracy"),
        ),
        "paper": Paper(
            "Table 4", {"mean": 3.78, "pool": 3.49}, claims=(Better("mean", "pool"),), notes=("3.78 or 3.81",)
        ),
        "reference": "control",
        "question": "Which fusion?",
    }
    return Ablation(**{**fields, **changes})


def ap(arm, seed):
    return {"attention.ap": VALUES[arm][seed], "answer.accuracy": 0.5}


def test_a_full_table(tmp_path):
    table = summarise(committed(fusion(), tmp_path, ap))
    mean = table.rows[0]
    assert [row.arm for row in table.rows] == ["mean", "pool", "control"]
    assert mean.cells[0].interval.mean == pytest.approx(0.65)
    assert mean.cells[0].interval.high - 0.65 == pytest.approx(4.30265 * 0.01 / 3**0.5, abs=1e-6)
    assert (mean.paper, table.rows[2].paper) == (3.78, None)
    assert mean.over_reference.mean == pytest.approx(0.52)
    assert table.rows[2].over_reference is None
    assert mean.wall_s == pytest.approx(46 + 47 + 48)
    assert [len(t.trial_id) for t in mean.trials] == [32] * 3
    (claim,) = table.claims
    assert (claim.text, claim.seeds, claim.outcome.verdict) == ("mean > pool", (0, 1, 2), Verdict.REPRODUCED)
    assert table.self_test.arm == "mean"
    assert "no difference" in table.self_test.text


def test_a_tiny_recipe_is_never_compared_with_the_papers_gap(tmp_path):
    table = summarise(committed(fusion(replicate="order"), tmp_path, ap))
    evidence = table.claims[0].outcome.evidence
    assert (table.comparable, evidence.direction_only, evidence.paper_gap) == (False, True, None)
    assert "tiny-hard-look" in table.caveat
    assert "order of batches and nothing else" in table.replication
    assert "the weights of recipe tiny-base" in table.replication
    assert "never about a 7B" in table.caveat
    assert cells.verdict_text(table.claims[0]) == "REPRODUCED (direction only)"


def test_the_papers_own_recipe_is_compared(tmp_path):
    results = committed(
        fusion(),
        tmp_path,
        lambda arm, seed: {"bench_d.avg": 5 * VALUES[arm][seed], "answer.accuracy": 0.5},
        recipe_name="qwen2.5-vl-7b",
    )
    table = summarise(results)
    assert table.comparable
    assert table.claims[0].outcome.evidence.paper_gap == pytest.approx(0.29)
    # Ours: +0.225 ± 0.06, so the paper's 0.29 lies outside.
    assert table.claims[0].outcome.verdict is Verdict.SHIFTED
    assert "7B" not in table.caveat


def test_failed_missing_and_incomplete_trials_are_shown_and_counted_out(tmp_path):
    def without_one_metric(arm, seed):
        return {"answer.accuracy": 0.5} if (arm, seed) == ("control", 2) else ap(arm, seed)

    table = summarise(
        committed(
            fusion(),
            tmp_path,
            without_one_metric,
            failures={("pool", 2): "OutOfMemoryError"},
            missing=frozenset({("mean", 0)}),
        )
    )
    assert [(t.arm, t.seed, t.state, t.problem) for t in table.problems] == [
        ("mean", 0, "missing", "not run yet"),
        ("pool", 2, "failed", "OutOfMemoryError"),
        ("control", 2, "done", "its record has no attention.ap"),
    ]
    assert [list(row.cells[0].values) for row in table.rows] == [[1, 2], [0, 1], [0, 1]]
    # Only seed 1 finished on both sides of the claim.
    assert table.claims[0].seeds == (1,)
    assert table.claims[0].outcome.verdict is Verdict.UNDERPOWERED
    missing = frozenset(("pool", seed) for seed in range(3))
    table = summarise(committed(fusion(), tmp_path / "second", ap, missing=missing))
    assert table.claims[0].outcome.verdict is Verdict.NOT_RUN


def test_mixed_numerics_show_numbers_without_verdicts(tmp_path):
    def on_a_gpu_once(arm, seed):
        return {**NUMERICS, "device": "cuda"} if (arm, seed) == ("pool", 1) else NUMERICS

    table = summarise(committed(fusion(replicate="order"), tmp_path, ap, numerics=on_a_gpu_once))
    assert table.mixed
    assert table.rows[1].cells[0].interval is not None
    assert [(claim.label, claim.seeds) for claim in table.claims] == [("MIXED", (0, 2))]
    assert table.claims[0].outcome.p_holm is None
    assert table.rows[1].over_reference.n == 2
    assert table.self_test is None
    shown = " ".join(terminal.render_terminal(table).split())
    assert "MIXED: no verdicts. device cpu: 8 trials; device cuda: 1 trial" in shown
    assert "- device cuda: pool, seed 1" in text.render_markdown(table, evidence_index(table))


def test_unequal_starts_of_equal_recipes_are_mixed(tmp_path):
    """As where the base was trained again on another machine between two arms."""
    order = fusion(replicate="order")
    results = committed(order, tmp_path, ap, start_weights=lambda arm, seed: "be" * 32 if arm == "pool" else START)
    table = summarise(results)
    (claim,) = table.claims
    assert (claim.label, claim.seeds, claim.outcome.interval) == ("MIXED", (), None)
    assert "not paired: 3" in claim.outcome.reason
    assert [row.over_reference is None for row in table.rows] == [False, True, True]
    page = ablation_page.write(results, summarise(results))["index.html"]
    header = page[: page.index("<h2>Results")]
    assert "MIXED." in header
    assert "<li>start weights bebebebebebe: pool, seeds 0, 1, 2</li>" in header
    assert all(f"verdict {verdict}" not in page for verdict in Verdict)


def test_what_old_records_do_not_say_is_said(tmp_path):
    unknown = committed(fusion(), tmp_path / "old", ap, start_weights=lambda arm, seed: None)
    table = summarise(unknown)
    assert table.claims[0].outcome.verdict is Verdict.REPRODUCED
    assert "that they may be compared is assumed" in table.caveat
    assert "assumed" not in summarise(committed(fusion(), tmp_path / "new", ap)).caveat
    order = fusion(replicate="order")
    first = committed(order, tmp_path / "both", ap, start_weights=lambda arm, seed: START if seed else None)
    assert [claim.label for claim in summarise(first).claims] == ["MIXED"]


def test_lower_is_better_turns_the_claim_around(tmp_path):
    ablation = fusion(
        metrics=(Metric("train.loss", higher_is_better=False),),
        paper=Paper("", claims=(Better("control", "mean"), NotWorse("pool", "mean", margin=0.01))),
    )
    table = summarise(committed(ablation, tmp_path, lambda arm, seed: {"train.loss": VALUES[arm][seed]}))
    assert [c.outcome.verdict for c in table.claims] == [Verdict.REPRODUCED, Verdict.REPRODUCED]
    assert table.claims[0].outcome.interval.mean == pytest.approx(0.52)


def test_the_terminal_fits_a_log_of_120_columns(tmp_path):
    results = committed(fusion(), tmp_path, ap, failures={("pool", 2): "worker died"}, quarantine={"mask: empty": 3})
    log = terminal.render_terminal(summarise(results), width=120)
    assert max(map(len, log.splitlines())) <= 120
    assert "\x1b" not in log
    for part in (
        "Table 4: Which fusion?",
        "0.650±0.025",
        "mean > pool",
        "tiny-hard-look",
        "A/A",
        "2/3",
        "worker died",
    ):
        assert part in log
    assert "3 × mask: empty" in log


def test_markdown_is_one_line_a_row_whatever_the_names(tmp_path):
    ablation = fusion(arms=[Arm("a|b\n<script>", {}), Arm("[x](javascript:1)")], paper=Paper("T", {}), reference=None)
    table = summarise(committed(ablation, tmp_path, lambda arm, seed: {"attention.ap": 0.5, "answer.accuracy": 0.5}))
    markdown = text.render_markdown(table, evidence_index(table))
    rows = [line for line in markdown.splitlines() if line.startswith("| a")]
    assert rows[0].startswith("| arm | attention.ap (stands in for bench\\_d.avg) |")
    assert rows[1].startswith("| a\\|b &lt;script&gt; | 0.500 ± 0.000 §")
    assert "[x](" not in markdown


def test_a_claim_about_one_arm_is_compared_with_a_number(tmp_path):
    claims = (Above("control", 0.1), Above("pool", 0.7))
    table = summarise(committed(fusion(paper=Paper("A", claims=claims)), tmp_path, ap))
    above, below = table.claims
    assert above.outcome.evidence.differences == pytest.approx((0.04, 0.03, 0.02))
    assert (above.text, above.outcome.verdict) == ("control > 0.1", Verdict.REPRODUCED)
    assert below.outcome.verdict is Verdict.CONTRADICTED
