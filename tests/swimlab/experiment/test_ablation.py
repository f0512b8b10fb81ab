import dataclasses
import subprocess
import sys

import pytest

from swim import recipes
from swimlab import Ablation, Arm, Axis, Better, Metric, NotWorse, Paper, Trend

AP = Metric("bench_d.avg", standin={"tiny": "attention.ap", "tiny-hard-twins": "answer.accuracy"}, primary=True)


def ablation(**changes):
    fields = {
        "name": "fusion",
        "arms": [*Axis("objective.fusion", {"mean": "mean", "pool": "max"}), Arm("released", preset="released-fusion")],
        "seeds": (0, 1),
        "metrics": (AP, Metric("attention.mass")),
        "paper": Paper("Table 4", rows={"mean": 3.78}, claims=(Better("mean", "pool"),)),
    }
    return Ablation(**{**fields, **changes})


def test_plan_is_arms_by_seeds_with_overrides_applied():
    plan = ablation().plan(recipes.named("tiny"), seeds=(7, 8))
    assert [(t.arm, t.seed) for t in plan] == [(a, s) for a in ("mean", "pool", "released") for s in (7, 8)]
    assert [t.recipe.seed for t in plan] == [7, 8] * 3
    assert [t.recipe.objective.fusion for t in plan][::2] == ["mean", "max", "released-product"]
    assert plan[-1].recipe.objective.normalise == "minmax"
    assert {t.recipe.name for t in plan} == {"tiny"}
    assert [t.seed for t in ablation().plan(recipes.named("tiny"))] == [0, 1] * 3


def test_overrides_win_over_the_preset():
    arm = Arm("r", {"objective.normalise": "none"}, preset="released-fusion")
    recipe = ablation(arms=[arm], paper=Paper("")).plan(recipes.named("tiny"))[0].recipe
    assert (recipe.objective.fusion, recipe.objective.normalise) == ("released-product", "none")


def test_arms_do_not_follow_later_changes_of_the_callers_mapping():
    overrides = {"objective.fusion": "mean"}
    arm = Arm("a", overrides)
    overrides["objective.fusion"] = "max"
    assert arm.overrides == {"objective.fusion": "mean"}
    with pytest.raises(dataclasses.FrozenInstanceError):
        arm.name = "b"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": [Arm("a", {"objective.fussion": "mean"})], "paper": Paper("")}, "'a'.*nearest is 'objective.fusion'"),
        ({"arms": [Arm("a", {"objective.fusion": "meen"})], "paper": Paper("")}, "did you mean 'mean'"),
        ({"arms": [Arm("a"), Arm("a")], "paper": Paper("")}, "names arms twice: \\['a'\\]"),
        ({"arms": []}, "no arms"),
        ({"seeds": ()}, "no seeds"),
        ({"seeds": (1, 1)}, "repeats a seed"),
        ({"metrics": ()}, "exactly one metric with primary"),
        ({"metrics": (Metric("a"), Metric("b"))}, "exactly one metric with primary"),
        ({"paper": Paper("", claims=(Better("mean", "pol"),))}, "mean > pol.*no arm 'pol'; the nearest is 'pool'"),
        ({"paper": Paper("", rows={"meen": 1.0})}, "paper.rows.*nearest is 'mean'"),
        ({"reference": "contrl"}, "reference.*no arm 'contrl'"),
        ({"recipe": "tiny-hard-loook"}, "did you mean 'tiny-hard-look'"),
        ({"name": "../fusion"}, "names a folder"),
        ({"paper": Paper("", claims=(Trend("objective.fusion"),))}, "'mean', which has no order"),
        ({"paper": Paper("", claims=(Trend("data.clips"),))}, "at least three different arms"),
    ],
)
def test_what_cannot_run_is_refused_at_construction(changes, message):
    with pytest.raises(ValueError, match=message):
        ablation(**changes)


def test_arms_and_claims_refuse_nonsense_on_their_own():
    with pytest.raises(ValueError, match="nearest is 'released-fusion'"):
        Arm("a", preset="relased-fusion")
    with pytest.raises(ValueError, match="may not override \\['seed'\\]"):
        Arm("a", {"seed": 3})
    with pytest.raises(ValueError, match="needs a name"):
        Arm(" ")
    with pytest.raises(ValueError, match="both sides"):
        Better("a", "a")
    with pytest.raises(ValueError, match="margin"):
        NotWorse("a", "b", margin=-0.1)


def test_an_arm_that_does_not_fit_another_recipe_is_named():
    deep = ablation(arms=[Arm("seven", {"objective.layers": (7,)})], recipe="qwen2.5-vl-7b", paper=Paper(""))
    with pytest.raises(ValueError, match=r"arm 'seven'.*layers"):
        deep.plan(recipes.named("tiny"))


def test_standins_follow_the_recipes_family_and_the_longest_name():
    assert AP.measured("tiny-hard-look") == AP.measured("tiny") == "attention.ap"
    assert AP.measured("tiny-hard-twins") == "answer.accuracy"
    assert AP.measured("tinyish") == AP.measured("qwen2.5-vl-7b") == "bench_d.avg"


def test_claims_as_contrasts():
    assert NotWorse("a", "b").weights(()) == {"a": 1, "b": -1}
    clips = Axis("data.clips", {"all": 900, "third": 300, "two": 600})
    data = ablation(arms=list(clips), paper=Paper("Fig. 4", claims=(Trend("clips"), Trend("data.clips", rising=False))))
    rises, falls = (data.contrast(claim) for claim in data.paper.claims)
    assert rises == {"third": -1, "two": 0, "all": 1}
    assert falls == {"third": 1, "two": 0, "all": -1}
    # On a straight line of slope 0.2 a step the fitted rise is that of the ends, whatever the number of arms.
    weights = Trend("x", arms=("p", "q", "r", "s")).weights(())
    assert sum(w * 0.2 * i for i, w in enumerate(weights.values())) == pytest.approx(0.6)


def test_importing_an_experiments_names_loads_neither_ray_nor_torch():
    code = "import sys, swimlab; swimlab.Ablation; sys.exit('ray' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
