"""Tables whose seeds are worlds: what is planned, what is compared, and what their pages and protocols say."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

import nano
from swim.recipe import Recipe
from swim.recipes import named
from swimlab import Ablation, Arm, Better, Float, Metric, Paper, Tuned
from swimlab.experiment import protocol, run_manifest
from swimlab.experiment.plan import Plan, make_plan
from swimlab.experiment.run_settings import Settings
from swimlab.report import ablation_page, index_page, terminal
from swimlab.report.replication import of_tables, replication
from swimlab.report.summarise import summarise
from swimlab.stats.pairing import Origin
from swimlab.stats.verdicts import Verdict
from swimlab.store.flat_rows import trial_row
from swimlab.store.sweep_store import SweepStore
from synthetic_results import NUMERICS, START, committed

CACHE = TemporaryDirectory(prefix="swimlab-test-worlds-")  # one for all tests: sources are parsed once
SETTINGS = Settings(cache=Path(CACHE.name))
AVX2 = {**NUMERICS, "cpu_capability": "AVX2"}


def planned(recipe: Recipe | None = None, table: Ablation | None = None, **changes) -> Plan:
    table = table or nano.ablation(seeds=(0, 1, 2), **{"replicate": "world"} | changes)
    return make_plan(table, recipe or nano.recipe(), SETTINGS)


def ids(plan: Plan) -> dict[tuple[str, int], str]:
    return {(trial.arm, trial.seed): spec.trial_id for trial, spec in plan.arms}


def test_worlds_are_the_default_of_a_table_and_anything_else_is_refused():
    table = nano.ablation()
    fields = {"name": "x", "arms": table.arms, "seeds": (0,), "metrics": table.metrics}
    assert Ablation(**fields).replicate == "world"
    with pytest.raises(ValueError, match=r"replicate is 'worlds': choose one of \('world', 'order'\)"):
        Ablation(**fields, replicate="worlds")


def test_world_0_is_what_was_trained_before_and_other_worlds_share_nothing_with_it():
    worlds, orders = planned(), planned(replicate="order")
    assert (len(worlds.trial_ids), len(orders.trial_ids)) == (3 + 6, 1 + 6)
    assert [len(wave) for wave in worlds.waves] == [3, 6]  # bases side by side, then arms
    shared = ids(worlds).items() & ids(orders).items()
    assert {place for place, _ in shared} == {("swim", 0), ("control", 0)}
    by_world: dict[int, set[str]] = {}
    for spec in [spec for wave in worlds.waves for spec in wave]:
        parts = {
            spec.trial_id,
            spec.data_fingerprint,
            spec.clips_fingerprint,
            *(e.evaluation_id for e in spec.evaluations),
        }
        by_world.setdefault(spec.seed, set()).update(parts)
    assert sorted(by_world) == [0, 1, 2]
    assert len(set().union(*by_world.values())) == sum(map(len, by_world.values()))


def test_tables_on_recipes_of_one_base_share_it_in_each_world():
    look, easy = (planned(named(name)) for name in ("tiny-hard-look", "tiny"))
    for wave in (0, 1):  # captions, then lists
        assert [spec.trial_id for spec in look.waves[wave]] == [spec.trial_id for spec in easy.waves[wave]]
        assert [spec.seed for spec in look.waves[wave]] == [0, 1, 2]
    assert not set(ids(look).values()) & set(ids(easy).values())


def test_arms_of_a_world_start_from_its_base():
    plan = planned()
    base = {spec.seed: spec.trial_id for spec in plan.waves[0]}
    assert all(spec.init_trial_id == base[trial.seed] for trial, spec in plan.arms)


def test_an_untrained_arm_is_another_trial_in_each_world():
    arms = (Arm("base", {"optim.steps": 0}), Arm("swim"))
    assert len({trial_id for (arm, _), trial_id in ids(planned(arms=arms)).items() if arm == "base"}) == 3
    orders = ids(planned(arms=arms, replicate="order"))
    assert len({trial_id for (arm, _), trial_id in orders.items() if arm == "base"}) == 1


def test_replicates_are_declared_and_another_kind_amends(tmp_path):
    store = SweepStore(str(tmp_path))
    orders = planned(replicate="order")
    assert "replicate" not in protocol.declare(orders, store).history[0].protocol  # as an older swimlab wrote it
    plan = planned()
    assert "replicates order → world" in protocol.standing(plan, store).undeclared
    status = protocol.declare(plan, store)
    assert status.history[1].protocol["replicate"] == "world"
    assert "replicates order → world" in status.history[1].changes
    assert "replicates world → order" in protocol.standing(orders, store).undeclared
    fewer = make_plan(nano.ablation(seeds=(0, 1, 2), replicate="world"), nano.recipe(), SETTINGS, seeds=(0,))
    assert protocol.standing(fewer, store).part == "1 of the 3 declared seeds"


def test_a_tuned_table_is_tuned_in_a_world_that_it_does_not_show():
    tuned = Tuned([Float("optim.lr", 5e-4, 4e-3, log=True)], budget=2, seed=100)
    table = Ablation("nano", arms=[Arm("swim")], seeds=(0, 1), metrics=[Metric("attention.ap")], tuned=tuned)
    recipe = nano.recipe()
    arm_recipe = table.resolve(recipe, table.arms[0], tuned.seed)
    assert arm_recipe.seed == 100
    seeds = {r.data.seed for r in [arm_recipe, *(t.recipe for t in table.plan(recipe, chosen_values={"swim": {}}))]}
    assert len(seeds) == 3


def table_of(**changes) -> Ablation:
    arms = [Arm("swim"), Arm("control", {"objective.mask_weight": 0})]
    fields = {"paper": Paper("Nano", claims=[Better("swim", "control")]), "reference": "control"}
    return Ablation("nano", arms=arms, seeds=(0, 1, 2, 3), metrics=[Metric("attention.ap")], **fields | changes)


def ap(arm: str, seed: int) -> dict[str, float]:
    return {"attention.ap": 0.5 + 0.05 * seed + (0.2 + 0.01 * seed) * (arm == "swim")}


def test_worlds_of_two_machines_stand_in_one_table_and_the_page_names_them(tmp_path):
    def two_machines(arm: str, seed: int) -> dict[str, str | int]:
        return AVX2 if seed in (1, 3) else NUMERICS

    def own_base(arm: str, seed: int) -> str:
        return f"{seed}5ee" * 16

    planted = {"numerics": two_machines, "start_weights": own_base, "nouns": (), "steps": 0}
    results = committed(table_of(), tmp_path, ap, **planted)
    table = summarise(results)
    assert not table.mixed
    assert (table.claims[0].seeds, table.claims[0].outcome.verdict) == ((0, 1, 2, 3), Verdict.REPRODUCED)
    assert table.rows[0].over_reference.n == 4
    assert table.self_test is None  # it would compare machines
    where = "(seeds 0, 2: cpu_capability AVX512; seeds 1, 3: cpu_capability AVX2)"
    assert where in table.replication
    assert where in " ".join(terminal.render_terminal(table).split())
    assert where in ablation_page.write(results, table)["index.html"]
    orders = committed(table_of(replicate="order"), tmp_path / "orders", ap, **planted)
    assert summarise(orders).mixed


def test_trials_of_one_world_must_be_made_alike(tmp_path):
    def one_odd(arm: str, seed: int) -> dict[str, str | int]:
        return AVX2 if (arm, seed) == ("swim", 2) else NUMERICS

    table = summarise(committed(table_of(), tmp_path, ap, numerics=one_odd, nouns=(), steps=0))
    assert (table.claims[0].label, table.claims[0].seeds) == ("MIXED", (0, 1, 3))
    assert [group.label for group in table.mixture] == [
        "seed 2, cpu_capability AVX2",
        "seed 2, cpu_capability AVX512",
    ]
    other_start = committed(
        table_of(), tmp_path / "start", ap, nouns=(), steps=0,
        start_weights=lambda arm, seed: "be" * 32 if (arm, seed) == ("swim", 1) else START,
    )  # fmt: skip
    assert [group.label[:20] for group in summarise(other_start).mixture] == ["seed 1, start weights"[:20]] * 2


@pytest.mark.parametrize(("replicate", "verdict"), [("world", "REPRODUCED"), ("order", "MIXED")])
def test_a_run_that_is_watched_is_judged_by_the_same_rule(tmp_path, replicate, verdict):
    results = committed(
        table_of(replicate=replicate), tmp_path, ap, nouns=(), steps=0,
        numerics=lambda arm, seed: AVX2 if seed else NUMERICS,
    )  # fmt: skip
    rows = {t.trial_id: trial_row(t.record) for t in results.trials if t.record}
    assert len({Origin.of(row).numerics for row in rows.values()}) == 2
    trials = [
        run_manifest.AnnouncedTrial(trial_id=t.trial_id, arm=t.arm, seed=t.seed, steps=1, shown=True)
        for t in results.trials
    ]
    claim = run_manifest.AnnouncedClaim(
        text="swim > control", weights={"swim": 1.0, "control": -1.0}, margin=0.0, non_inferiority=False
    )
    manifest = run_manifest.RunManifest(
        experiment="nano", recipe="nano", announced_at="", metric="attention.ap", claims=(claim,),
        trials=tuple(trials), replicate=replicate,
    )  # fmt: skip
    ((_, judged, _, _),) = run_manifest.judged(manifest, rows)
    assert judged == verdict


def test_pages_say_what_a_seed_is():
    assert "one base (the weights of recipe tiny-base), one data draw" in replication(named("tiny"), "order")
    whole = replication(named("tiny"), "world")
    assert all(part in whole for part in ("the base (recipe tiny-base)", "the clips", "share the code alone"))
    hub = replication(named("qwen2.5-vl-7b-lora"), "world")
    assert "the order of batches and the adapters' first values. " in hub
    assert "The same in all: the checkpoint, your files" in hub
    own = replication(named("tiny-files"), "world")
    assert "the initial weights" in own
    assert "The same in all: your files;" in own


def test_the_index_names_the_tables_of_orders(tmp_path):
    for name in ("world", "order"):
        results = committed(replace(table_of(replicate=name), name=name), tmp_path, ap, nouns=(), steps=0)
        ablation_page.write_report(results, summarise(results))
    page = results.store.read(index_page.PAGE).decode()
    assert "In order they replicate the order of batches" in page
    assert of_tables({"a": "order"}).startswith("Seeds replicate the order of batches and nothing else")
    assert "replicate the order" not in of_tables({"a": "world"})
