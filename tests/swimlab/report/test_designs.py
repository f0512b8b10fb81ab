"""Several designs ask one question: each is judged at its share of α, and page, plan and protocol say so."""

from pathlib import Path

import pytest

import nano
from swimlab import Ablation, Arm, Better, Metric, Paper
from swimlab.experiment import protocol
from swimlab.experiment.detectable_effects import sensitivity
from swimlab.experiment.plan import make_plan
from swimlab.experiment.run_settings import Settings
from swimlab.report import markdown
from swimlab.report.evidence import evidence_index
from swimlab.report.summarise import summarise
from swimlab.stats.verdicts import Verdict
from synthetic_results import committed

# t = 2.86 with 5 degrees of freedom, p = .036.
GAPS = (-0.002, 0.004, 0.008, 0.012, 0.016, 0.022)


def table(designs: int) -> Ablation:
    return Ablation(
        "nano",
        arms=[Arm("swim"), Arm("control", {"objective.mask_weight": 0})],
        seeds=range(len(GAPS)),
        metrics=[Metric("attention.ap", primary=True)],
        paper=Paper("Planted", claims=[Better("swim", "control")]),
        recipe="tiny-smoke",
        designs=designs,
    )


@pytest.mark.parametrize(("designs", "verdict"), [(1, Verdict.REPRODUCED), (3, Verdict.UNDERPOWERED)])
def test_a_claim_is_judged_at_the_share_of_a_design(tmp_path: Path, designs: int, verdict: Verdict) -> None:
    ablation = table(designs)
    results = committed(ablation, tmp_path, lambda arm, seed: {"attention.ap": 0.5 + GAPS[seed] * (arm == "swim")})
    shown = summarise(results)
    (claim,) = shown.claims
    assert claim.outcome.p_holm is not None
    assert 0.05 / 3 < claim.outcome.p_holm < 0.05
    assert claim.outcome.verdict is verdict
    said = "At most 3 designs ask this question, each judged at α = 1.67 %"
    assert (said in markdown.render_markdown(shown, evidence_index(shown))) is (designs == 3)


def test_the_protocol_and_the_plan_know_of_them(tmp_path: Path) -> None:
    settings, recipe = Settings(cache=tmp_path), nano.recipe(base=False)
    of_one, of_three = (protocol.content(make_plan(table(designs), recipe, settings)) for designs in (1, 3))
    assert (of_one["alpha"], "designs" in of_one) == (0.05, False)
    assert (of_three["alpha"], of_three["designs"]) == (pytest.approx(0.05 / 3), 3)
    reach = [sensitivity(table(designs), 6, {}, {"swim": "swim", "control": "control"}).at[6] for designs in (1, 3)]
    assert reach[0] < reach[1]
    with pytest.raises(ValueError, match="designs=0"):
        table(0)
