"""Whether looking helps answering: what its pages compare, and how they read planted outcomes."""

import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from swim import recipes
from swimlab.report.summarise import summarise
from swimlab.stats.verdicts import Verdict
from synthetic_results import committed

FILE = runpy.run_path(str(Path(__file__).parents[2] / "experiments" / "answers.py"))
PAGES = {page.name: page for page in FILE["PAGES"]}


def test_the_arms_of_a_page_differ_in_what_is_supervised_alone():
    assert next(iter(PAGES.values())) is FILE["PRIMARY"]
    for name, page in PAGES.items():
        trained = {arm.name: page.resolve(recipes.named(page.recipe), arm, 0) for arm in page.arms}
        assert {recipe.blind_answers for recipe in trained.values()} == {"blind" in name}
        assert {recipe.data.fraction * recipe.data.clips for recipe in trained.values()} == {int(name.split("-")[-1])}
        assert (
            len({recipe.model_dump_json(include={"model", "data", "init", "seed"}) for recipe in trained.values()}) == 1
        )
        assert {name for name, recipe in trained.items() if recipe.optim.steps == 0} == {"base"}
        assert trained["swim"].objective.target != trained["swim, wrong object"].objective.target


# (contested accuracy beyond the control's, what is lost of it with the noun's rows blind) → how it is read.
PLANTED = {
    "looking helps": (0.10, 0.30, Verdict.REPRODUCED, False),
    "nobody looks": (0.0, 0.0, Verdict.EQUIVALENT, True),
    "looking hurts": (-0.10, 0.30, Verdict.CONTRADICTED, False),
    "something else helps": (0.10, 0.001, Verdict.REPRODUCED, True),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_outcome_is_read_as_what_it_is(tmp_path, planted):
    """And SWIM on the wrong object, from which answers come as much and are not better, is not read as a help."""
    gain, mediated, verdict, qualified = PLANTED[planted]
    effects = {"swim": (gain, mediated), "swim, wrong object": (-0.01, mediated)}

    def metrics(arm, seed):
        more, by_noun = effects.get(arm, (0.0, 0.0))
        of_world, of_arm = np.random.default_rng(seed).normal(), np.random.default_rng([seed, *arm.encode()]).normal()
        accuracy = 0.6 + more + 0.03 * of_world + 0.006 * of_arm
        return {"mediation.accuracy": accuracy, "mediation.by_noun": by_noun + 0.001 * seed, "mediation.by_answer": 0.2}

    page = replace(FILE["PRIMARY"], tuned=None, looks=(), seeds=range(8))
    claims = {claim.text: claim for claim in summarise(committed(page, tmp_path, metrics, nouns=(), steps=0)).claims}
    assert claims["swim > control"].outcome.verdict is verdict
    assert claims["swim > control"].not_mediated is qualified
    assert claims["swim, wrong object > control"].outcome.verdict is not Verdict.REPRODUCED
