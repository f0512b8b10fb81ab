"""A smoke judges the arm with the paper's objective, on two arms that train, and leaves the real run's page alone."""

import io
import re
import runpy
from pathlib import Path

import pytest
from rich.console import Console

from swim import recipes
from swimlab import Ablation, Arm, Better, Metric, Paper
from swimlab.experiment import smoke
from synthetic_results import committed

EXPERIMENTS = Path(__file__).parents[3] / "experiments"


def tables():
    for path in sorted(EXPERIMENTS.glob("*.py")):
        if re.search(r"^[A-Z0-9_]+ = Ablation\(", path.read_text(), re.MULTILINE):
            names = runpy.run_path(str(path))
            yield from (value for value in names.values() if isinstance(value, Ablation))


def three_arms(**changes):
    fields = {
        "name": "three",
        "arms": [Arm("base", {"optim.steps": 0}), Arm("control", {"objective.mask_weight": 0}), Arm("swim")],
        "seeds": (0, 1, 2),
        "metrics": [Metric("attention.ap", primary=True), Metric("attention.pointing")],
        "paper": Paper("Three", claims=[Better("swim", "base")]),
        "recipe": "tiny-smoke",
        "reference": "control",
    }
    return Ablation(**fields | changes)


def test_every_table_has_a_smoke_of_at_most_two_trained_arms():
    recipe = recipes.named(smoke.RECIPE)
    reduced = {table.name: smoke.reduced(table, recipe) for table in tables()}
    assert {"control", "fusion", "layers", "loss", "noun-vs-attribute"} <= set(reduced)
    for name, table in reduced.items():
        arms = [table.resolve(recipe, arm, 0) for arm in table.arms]
        assert len(arms) == (1 if name == "train" else 2)
        assert all(arm.optim.steps > 0 and arm.init is None for arm in arms)
        assert (table.seeds, table.paper.claims, table.tuned) == ((0,), (), None)
        assert table.name == f"{name}-smoke"
    assert [arm.name for arm in reduced["control"].arms] == ["swim", "control"]
    assert [arm.name for arm in reduced["fusion"].arms] == ["mean", "control"]


@pytest.mark.parametrize(("swim", "code"), [(0.985, 0), (0.1, 1)])
def test_the_arm_of_the_paper_is_judged_and_no_other(tmp_path, swim, code):
    table = smoke.reduced(three_arms(), recipes.named(smoke.RECIPE))
    pointing = {"swim": swim, "control": 0.05}
    results = committed(
        table,
        tmp_path,
        lambda arm, _: {"attention.ap": 0.5, "attention.pointing": pointing[arm]},
        recipe_name="tiny-smoke",
    )
    printed = io.StringIO()
    assert smoke.judge(results, Console(file=printed, width=200)) == code
    assert f"arm swim (the paper's objective) points at {swim:.2f}" in printed.getvalue()
    assert ("BROKEN" in printed.getvalue()) == bool(code)


def test_another_recipe_has_no_bar(tmp_path):
    table = smoke.reduced(three_arms(recipe="tiny-hard-look"), recipes.named("tiny-hard-look"))
    results = committed(table, tmp_path, lambda arm, _: {"attention.ap": 0.5, "attention.pointing": 0.0})
    assert smoke.judge(results, Console(file=io.StringIO())) == 0
