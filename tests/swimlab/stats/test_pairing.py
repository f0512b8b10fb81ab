"""Which trials may be compared: the rule of `swimlab.stats.pairing`, case by case."""

import pytest

from swim.recipe import HubModel, Lora
from swim.recipes import tiny
from swimlab.stats.pairing import Group, Origin, comparable, mixed_of, mixture, table_mixture
from swimlab.store.flat_rows import trial_row

AVX512 = {"torch": "2", "device": "cpu", "cpu_capability": "AVX512"}
LORA = HubModel(lora=Lora()).model_dump(mode="json")


@pytest.fixture
def origin(trial_record):
    def build(numerics=AVX512, weights="aaaa", init="base", seed=0, model=None, **changes):
        recipe = tiny().override(changes).model_dump(mode="json")
        recipe["model"] = model or recipe["model"]
        record = trial_record(recipe=recipe, start_weights=weights, init_trial_id=init, seed=seed)
        made = record.provenance.model_copy(update={"numerics": numerics})
        return Origin.of(trial_row(record.model_copy(update={"provenance": made})))

    return build


def test_one_class_and_one_start_may_be_compared(origin):
    # Seeds, objectives, data fractions and 0 steps are what tables compare.
    arms = [{"objective.mask_weight": 0.0}, {"optim.steps": 0}, {"data.fraction": 0.5}, {"objective.fusion": "max"}]
    assert comparable([origin(), origin(seed=1), *(origin(**arm) for arm in arms)])


@pytest.mark.parametrize(
    "other",
    [
        {"numerics": AVX512 | {"cpu_capability": "DEFAULT"}},
        {"numerics": AVX512 | {"switches": "MKL_CBWR=AVX2"}},
        {"numerics": {k: v for k, v in AVX512.items() if k != "cpu_capability"}},
        {"weights": "bbbb"},
        {"weights": None},
        {"weights": "bbbb", "seed": 1},
    ],
)
def test_another_class_or_start_may_not(origin, other):
    assert not comparable([origin(), origin(**other)])


@pytest.mark.parametrize(
    "other", [{"init": "another"}, {"init": None}, {"model": tiny().model.model_dump(mode="json") | {"seed": 1}}]
)
def test_a_recipe_that_states_another_start_is_compared_for_that(origin, other):
    assert comparable([origin(), origin(weights="bbbb", **other)])
    assert not comparable([origin(), origin(weights="bbbb", **other), origin(weights="cccc", **other)])


def test_adapters_are_drawn_from_the_seed(origin):
    seeds = [origin(model=LORA, init=None, weights=str(seed), seed=seed) for seed in (0, 1)]
    assert comparable(seeds)
    assert not comparable([*seeds, origin(model=LORA, init=None, weights="x", seed=1)])
    # Checkpointing changes memory, not weights.
    plain = HubModel().model_dump(mode="json")
    without = plain | {"gradient_checkpointing": False}
    assert not comparable([origin(model=plain, init=None), origin(model=without, init=None, weights="b")])


def test_old_records_are_compared_among_each_other_only(origin):
    old = {"numerics": {"torch": "2", "device": "cpu"}, "weights": None}
    assert comparable([origin(**old), origin(**old, seed=1)])
    groups = mixture({"a": origin(), "b": origin(**old)})
    assert groups == (
        Group("cpu_capability AVX512", ("a",)),
        Group("cpu_capability not recorded", ("b",)),
        Group("start weights aaaa", ("a",)),
        Group("start weights not recorded", ("b",)),
    )


def test_a_mixture_names_what_differs_and_nothing_else(origin):
    default = AVX512 | {"cpu_capability": "DEFAULT"}
    origins = {"a": origin(), "b": origin(seed=1), "c": origin(default), "d": origin(init="other", weights="dddd")}
    groups = mixture(origins)
    assert groups == (Group("cpu_capability AVX512", ("a", "b", "d")), Group("cpu_capability DEFAULT", ("c",)))
    assert mixed_of(groups) == "cpu_capability AVX512: 3 trials; cpu_capability DEFAULT: 1 trial"
    assert mixture({"a": origin(), "b": origin(seed=1)}) == ()


def test_worlds_may_be_of_several_machines_and_not_of_several_judges():
    def origin(**numerics):
        return Origin(tuple(sorted(numerics.items())), (), None)

    judge = "bench-d by judge-1: judge"
    may = {f"{arm}0": origin(cpu="a", **{judge: "judge-1-may"}) for arm in ("swim", "control")}
    also_may = {f"{arm}1": origin(cpu="b", **{judge: "judge-1-may"}) for arm in ("swim", "control")}
    june = {f"{arm}2": origin(cpu="a", **{judge: "judge-1-june"}) for arm in ("swim", "control")}
    not_judged = {f"{arm}3": origin(cpu="a") for arm in ("swim", "control")}
    assert table_mixture({0: may, 1: also_may, 3: not_judged}, "world") == ()
    groups = table_mixture({0: may, 1: also_may, 2: june}, "world")
    assert [(group.label, len(group.trial_ids)) for group in groups] == [
        ("bench-d by judge-1: judge judge-1-may", 4),
        ("bench-d by judge-1: judge judge-1-june", 2),
    ]
