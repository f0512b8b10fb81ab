from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from swim import recipes
from swimlab import Ablation, Above, Arm, Better, Metric, NotWorse, Paper, Trend
from swimlab.experiment import protocol, run_manifest
from swimlab.experiment.claim import Claim, cancels, check_margin
from swimlab.experiment.detectable_effects import sensitivity
from swimlab.experiment.plan import make_plan
from swimlab.experiment.run_settings import Settings
from swimlab.report import terminal
from swimlab.report.summarise import summarise
from swimlab.stats.verdicts import Verdict
from swimlab.store.sweep_store import SweepStore
from synthetic_results import committed

SCORES = {"low": (0.14, 0.13, 0.12), "high": (0.61, 0.60, 0.605)}


@dataclass(frozen=True)
class Below(Claim):
    """A kind that no module of swimlab knows."""

    arm: str
    value: float
    margin: float = 0.0

    def __post_init__(self) -> None:
        check_margin(self.margin)

    @property
    def text(self) -> str:
        return f"{self.arm} < {self.value:g}"

    @property
    def threshold(self) -> float:
        return -self.value

    def weights(self, arms: Sequence[Arm]) -> dict[str, float]:
        return {self.arm: -1.0}


def ablation(claims, higher_is_better=True):
    return Ablation(
        name="kinds",
        arms=[Arm("low", {"objective.mask_weight": 0}), Arm("high")],
        seeds=(0, 1, 2),
        metrics=[Metric("attention.ap", higher_is_better=higher_is_better)],
        paper=Paper("T", claims=claims),
        recipe="tiny-smoke",
    )


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_a_kind_in_a_file_of_its_own_is_declared_announced_judged_and_printed(tmp_path, higher_is_better):
    table = ablation([Below("low", 0.2), Below("high", 0.5)], higher_is_better)
    store = SweepStore(str(tmp_path / "plan"))
    plan = make_plan(table, recipes.named(table.recipe), Settings(cache=tmp_path / "cache"))
    (declared,) = protocol.declare(plan, store).history
    assert declared.protocol["claims"]["low < 0.2"] == {
        "kind": "Below",
        "margin": 0.0,
        "contrast": {"low": -1.0},
        "above": -0.2,
    }
    run_manifest.announce(plan, store, plan.trial_ids)
    (announced,) = run_manifest.announcements(store)
    assert [(claim.text, claim.weights, claim.above) for claim in announced.claims] == [
        ("low < 0.2", {"low": -1.0}, -0.2),
        ("high < 0.5", {"high": -1.0}, -0.5),
    ]
    power = sensitivity(table, 3, {}, {"low": "low", "high": "high"})
    assert [claim.text for claim in power.by_claim] == ["low < 0.2", "high < 0.5"]
    shown = summarise(committed(table, tmp_path / "results", lambda arm, seed: {"attention.ap": SCORES[arm][seed]}))
    first, second = (claim.outcome for claim in shown.claims)
    assert first.evidence.differences == pytest.approx((0.06, 0.07, 0.08))
    assert (first.verdict, second.verdict) == (Verdict.REPRODUCED, Verdict.CONTRADICTED)
    assert "low < 0.2" in terminal.render_terminal(shown)


def test_the_metrics_direction_turns_comparisons_round_and_thresholds_not():
    claims = [Better("high", "low"), NotWorse("high", "low", 0.1), Above("high", 0.3)]
    comparison = {"high": 1.0, "low": -1.0}
    assert [ablation(claims).oriented_weights(claim) for claim in claims] == [comparison, comparison, {"high": 1.0}]
    turned = {"high": -1.0, "low": 1.0}
    assert [ablation(claims, False).oriented_weights(claim) for claim in claims] == [turned, turned, {"high": 1.0}]


def test_the_papers_gap_is_measured_from_the_threshold_as_our_differences_are(tmp_path):
    paper = Paper("T", {"low": 0.15}, claims=[Above("low", 0.1), Below("low", 0.2)], recipe="tiny-smoke")
    table = replace(ablation([]), paper=paper)
    shown = summarise(committed(table, tmp_path, lambda arm, seed: {"attention.ap": SCORES[arm][seed]}))
    assert [claim.outcome.evidence.paper_gap for claim in shown.claims] == pytest.approx([0.05, 0.05])
    assert [claim.outcome.verdict for claim in shown.claims] == [Verdict.REPRODUCED, Verdict.REPRODUCED]


def test_what_a_kind_says_of_itself():
    claims = [Better("a", "b", 0.1), NotWorse("a", "b", 0.1), Above("a", 0.3), Trend("clips", rising=False)]
    assert [claim.text for claim in claims] == ["a > b", "a ≥ b − 0.1", "a > 0.3", "falls along clips"]
    assert [claim.name for claim in claims] == ["a > b", "a ≥ b", "a > 0.3", "falls along clips"]
    assert [claim.threshold for claim in claims] == [None, None, 0.3, None]
    assert [claim.non_inferiority for claim in claims] == [False, True, False, False]
    assert [claim.trend_axis for claim in claims] == [None, None, None, "clips"]


def test_a_contrast_between_arms_with_the_same_trials_cancels():
    weights = {"a": 0.5, "b": 0.5, "c": -1.0}
    assert not cancels(weights, {"a": "a", "b": "b", "c": "c"})
    assert not cancels(weights, {"a": "a", "b": "a", "c": "c"})
    assert cancels(weights, {"a": "a", "b": "a", "c": "a"})
