"""NOT_MEDIATED beside a verdict about answers: planted numbers for each outcome."""

import pytest

from swimlab import Ablation, Arm, Better, Metric, Paper
from swimlab.report import ablation_page, terminal
from swimlab.report.evidence import evidence_index
from swimlab.report.page_summaries import table_summary
from swimlab.report.summarise import summarise
from swimlab.stats.verdicts import Verdict
from synthetic_results import committed

ARMS = [
    Arm("swim"),
    Arm("answering", {"objective.query": "answer-before"}),
    Arm("control", {"objective.mask_weight": 0}),
]
GAIN = {"swim": 0.1, "answering": 0.1, "control": 0.0}
SEEDS = (0, 1, 2, 3)


def results(folder, mediation, claims, metric="answer.accuracy", seeds=SEEDS):
    """`mediation`: (arm, metric) → its value at seed 0; from seed to seed it moves by .001."""
    ablation = Ablation(
        "nano",
        arms=ARMS,
        seeds=seeds,
        metrics=[Metric(metric, primary=True)],
        paper=Paper("Planted", claims=claims),
        recipe="tiny-smoke",
        reference="control",
    )

    def metrics(arm, seed):
        of_arm = {name: value + seed / 1000 for (other, name), value in mediation.items() if other == arm}
        return {metric: 0.6 + GAIN[arm] + (seed + len(arm)) % 3 / 100, **of_arm}

    return committed(ablation, folder, metrics)


BETTER = (Better("swim", "control", margin=0.02),)


@pytest.mark.parametrize(
    ("mediation", "qualified"),
    [
        ({("swim", "mediation.by_noun"): 0.001}, True),
        ({("swim", "mediation.by_noun"): 0.3}, False),
        ({("swim", "mediation.by_noun"): 0.0185}, False),  # mean below the margin, upper bound above
        ({}, False),
        # Of the rows that it does not supervise, and of the arm that should be worse.
        ({("swim", "mediation.by_answer"): 0.0, ("control", "mediation.by_noun"): 0.0}, False),
    ],
)
def test_a_verdict_is_qualified_where_the_upper_bound_is_below_the_margin(tmp_path, mediation, qualified):
    (claim,) = summarise(results(tmp_path, mediation, BETTER)).claims
    assert claim.not_mediated is qualified
    assert claim.outcome.verdict is Verdict.REPRODUCED  # never replaced
    assert len(claim.mediation) == (("swim", "mediation.by_noun") in mediation)


def test_an_arm_that_supervises_answering_rows_is_asked_about_those(tmp_path):
    claims = (Better("answering", "control", margin=0.02),)
    noun = {("answering", "mediation.by_noun"): 0.0, ("answering", "mediation.by_answer"): 0.2}
    assert not summarise(results(tmp_path / "a", noun, claims)).claims[0].not_mediated
    answer = {("answering", "mediation.by_noun"): 0.2, ("answering", "mediation.by_answer"): 0.0}
    assert summarise(results(tmp_path / "b", answer, claims)).claims[0].not_mediated


def test_claims_about_attention_without_margin_or_on_one_seed_are_not_qualified(tmp_path):
    mediation = {("swim", "mediation.by_noun"): 0.0}
    for name, changes in (
        ("attention", {"metric": "attention.ap"}),
        ("margin", {"claims": (Better("swim", "control"),)}),
        ("seed", {"seeds": (0,)}),
    ):
        found = results(tmp_path / name, mediation, **{"claims": BETTER} | changes)
        assert [claim.not_mediated for claim in summarise(found).claims] == [False], name


def test_every_rendering_says_so_beside_the_verdict(tmp_path):
    of_store = results(tmp_path, {("swim", "mediation.by_noun"): 0.001}, BETTER)
    table = summarise(of_store)
    pages = ablation_page.write(of_store, table)
    for name in ("index.html", "report.md", "report.tex"):
        assert "REPRODUCED" in pages[name], name
        assert "NOT MEDIATED" in pages[name], name
    assert "MEDIATED)" in terminal.render_terminal(table)  # its column is narrow, and folds
    assert "of swim is +0.003 ± 0.002, below the margin 0.02" in pages["index.html"]
    assert [claim.not_mediated for claim in table_summary(of_store, table, evidence_index(table)).claims] == [True]
