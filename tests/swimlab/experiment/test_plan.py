"""`plan`: prices from like trials, what the seeds detect, what moved, and arms that are the same trials."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from rich.console import Console

import nano
import swim
from swim import recipes
from swim.recipe import HubModel, NLReferFiles
from swimlab import Ablation, Arm, Axis, Better, Metric, Paper, Trend
from swimlab.cli import plan_view
from swimlab.experiment import protocol
from swimlab.experiment.cost_forecast import LIKE, ROUGH, SAME, estimate, totals
from swimlab.experiment.invalidation import Invalidation
from swimlab.experiment.plan import make_plan
from swimlab.experiment.run_settings import Settings
from swimlab.identity import naming
from swimlab.report import markdown, terminal
from swimlab.report.evidence import evidence_index
from swimlab.report.summarise import summarise
from swimlab.stats.power import detectable_in_sds
from swimlab.stats.verdicts import Verdict
from swimlab.store.records import Cost, FileEntry
from swimlab.store.sweep_store import SweepStore
from synthetic_results import committed


def planned(tmp_path, recipe=None, **changes):
    fields = {
        "name": "nano",
        "arms": [Arm("swim"), Arm("add", {"objective.fusion": "add"}), Arm("control", {"objective.mask_weight": 0})],
        "seeds": (0, 1, 2),
        "metrics": [Metric("attention.ap", primary=True)],
        "paper": Paper("Nano", claims=[Better("swim", "control"), Better("swim", "add")]),
        "recipe": "tiny-smoke",
    }
    return make_plan(Ablation(**fields | changes), recipe or nano.recipe(base=False), Settings(cache=tmp_path / "c"))


@pytest.fixture
def commit(tmp_path, trial_record, evaluate):
    """Commits a result of a planned trial; keywords replace fields of its record."""
    store = SweepStore(str(tmp_path / "store"))

    def write(spec, ap=0.5, wall_s=10.0, train_s=8.0, **changes):
        trial_id = changes.get("trial_id", spec.trial_id)
        attempt = store.claim(trial_id)
        attempt.put("weights.bin", bytes(1000))
        fields = {
            "trial_id": trial_id,
            "attempt": attempt.number,
            "nonce": attempt.nonce,
            "recipe": spec.recipe.training(),
            "seed": spec.recipe.seed,
            "code_fingerprint": spec.code_fingerprint,
            "data_fingerprint": spec.data_fingerprint,
            "metrics": {},
            "files": attempt.files,
            "cost": Cost(wall_s=wall_s, cpu_s=wall_s / 2, train_s=train_s, eval_s=1, peak_rss_bytes=1),
        }
        assert store.commit(attempt, trial_record(**fields | changes))
        if trial_id == spec.trial_id:
            evaluate(store, spec, {"attention.ap": ap})

    write.store = store
    return write


@pytest.fixture(scope="session")
def probed(tmp_path_factory):
    """A cache folder for all tests: the machine is probed once."""
    return tmp_path_factory.mktemp("probed")


@pytest.fixture(autouse=True)
def _probed(probed, monkeypatch):
    monkeypatch.setenv("SWIMLAB_CACHE", str(probed))


def look(plan, store, **settings):
    return plan_view.preview(plan, store, Settings(store=store.uri, **settings))


def said(seen):
    return "\n".join(plan_view.lines(seen))


def records(trial_record, recipe, *costs):
    return [
        trial_record(
            recipe=recipe.model_dump(mode="json"),
            files={"a": FileEntry(sha256="x", size_bytes=size)},
            cost=Cost(wall_s=wall, cpu_s=wall, train_s=train, eval_s=1, peak_rss_bytes=1),
        )
        for wall, train, size in costs
    ]


def test_an_arm_may_bring_the_suite_that_measures_the_primary_metric(tmp_path):
    suite = {"evaluation.alignment": {"conventions": ("release",)}}
    arms = [Arm("swim", suite), Arm("control", suite | {"objective.mask_weight": 0})]
    primary = [Metric("alignment.release.ap", primary=True)]
    claims = Paper("Nano", claims=[Better("swim", "control")])
    plan = planned(tmp_path, arms=arms, metrics=primary, paper=claims)
    assert all("alignment" in spec.recipe.evaluation for _, spec in plan.arms)
    with pytest.raises(ValueError, match=r"'alignment\.release\.ap', the primary metric of 'nano', is not measured"):
        planned(tmp_path, arms=[arms[0], Arm("control", {"objective.mask_weight": 0})], metrics=primary, paper=claims)


def test_an_estimate_comes_from_the_most_alike_and_never_from_another_model(tmp_path, trial_record):
    spec = planned(tmp_path).arms[0][1]
    recipe = spec.recipe
    same = records(trial_record, recipe.override({"seed": 7}), (10, 8, 100), (20, 8, 300), (12, 8, 200))
    like = records(trial_record, recipe.override({"optim.steps": 8, "objective.fusion": "max"}), (10, 8, 50))
    rough = records(trial_record, recipe.override({"optim.steps": 8, "optim.batch": 2}), (5, 4, 50))
    other = records(trial_record, recipe.override({"model": nano.SHAPE.model_copy(update={"hidden": 64})}), (900, 1, 9))
    found = estimate(spec, other + rough + like + same)
    assert (found.source, found.records, found.wall_s, found.cpu_s, found.size_bytes) == (SAME, 3, 12, 12, 200)
    # Four steps for its eight: half the training, all of the rest.
    found = estimate(spec, other + rough + like)
    assert (found.source, found.wall_s) == (LIKE, 2 + 4)
    # 4 × 4 conversations for 8 × 2.
    assert (estimate(spec, other + rough).source, estimate(spec, other + rough).wall_s) == (ROUGH, 5)
    assert estimate(spec, other) is None
    assert estimate(spec, [trial_record(recipe={})]) is None


def test_no_model_is_trained_on_placeholders(tmp_path):
    frames = nano.recipe(base=False).data.frames
    asked = NLReferFiles(annotations=("rows.json",), videos=".", frames=frames, placeholders="keep")
    with pytest.raises(ValueError, match="can be asked about, and not trained on"):
        planned(tmp_path, nano.recipe(base=False, data=asked))


def test_a_plan_with_decord_needs_decord(tmp_path, monkeypatch):
    by_decord = nano.recipe(base=False).override({"data.frames.decoder": "decord"})
    assert planned(tmp_path, by_decord).trial_ids != planned(tmp_path).trial_ids
    monkeypatch.setitem(sys.modules, "decord", None)  # as on macOS, for which it has no wheel
    with pytest.raises(ValueError, match=r'"decord" needs decord, which is not installed: .*"pyav"'):
        planned(tmp_path, by_decord)
    assert planned(tmp_path).trial_ids


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "gemma3"}, "models of type 'gemma3' are not supported, .*smolvlm are: .*families/gemma3.py"),
        (
            {"model_type": "smolvlm"},
            "model.family is 'qwen2-5-vl', and .* is a 'smolvlm': set model.family to 'smolvlm'",
        ),
        ({}, "config.json has no model_type"),
        (None, "is no checkpoint: its config.json cannot be read"),
    ],
)
def test_a_folder_of_another_family_is_refused(tmp_path, config, message):
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "config.json").write_text("{" if config is None else json.dumps(config))
    model = HubModel(path=str(folder), layers=3, cell_px=8)
    with pytest.raises(ValueError, match=message):
        planned(tmp_path, nano.recipe(base=False).override({"model": model}))
    (folder / "config.json").write_text('{"model_type": "qwen2_5_vl"}')
    assert planned(tmp_path, nano.recipe(base=False).override({"model": model})).trial_ids


def test_a_family_names_the_code_that_runs():
    model = {"model": HubModel(path="a/b", layers=3, cell_px=8)}
    qwen = nano.recipe(base=False).override(model)
    smol = qwen.override({"model.family": "smolvlm"})
    modules = [{name for name in naming.code_modules(recipe) if "families." in name} for recipe in (qwen, smol)]
    assert modules == [
        {f"swim.models.families.{name}" for name in ("qwen2_vl", "qwen2_5_vl")},
        {"swim.models.families.smolvlm"},
    ]
    with pytest.raises(ValueError, match=r"swim.models.families has no 'smolvml'; did you mean 'smolvlm'"):
        qwen.override({"model.family": "smolvml"})


def test_a_hub_model_is_forecast_on_a_card(tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text(5 * '{"id": "a"}\n')
    recipe = recipes.qwen2_5_vl_3b_lora((str(rows),), str(tmp_path)).override({"optim.epochs": 3})
    plan = planned(tmp_path, recipe)
    store = SweepStore(str(tmp_path / "store"))
    seen = look(plan, store, card="RTX 4090")
    text = said(seen)
    assert "GB a GPU of 25 (RTX 4090): frozen weights" in text
    assert "NOT" not in text  # the recipe is for 24 GB
    assert "a step of 8 conversations" in text
    assert "3,272 tokens, the longest 3,272: the most that data.frames allows" in text
    # Nine trials of two steps on one device each.
    assert seen.totals.device_hours == pytest.approx(9 * 2 * seen.on_gpu.step_s / 3600)
    assert f"≈ {seen.totals.device_hours * 0.5:,.3g} USD at 0.5 an hour of one RTX 4090 (assumed" in text
    assert " USD at 7 an hour of one H100 (--usd-per-hour)" in said(look(plan, store, usd_per_hour=7))
    assert seen.at_a_time is None
    whole = planned(tmp_path, recipe.override({"model.lora": None}))
    assert "does NOT fit" in said(look(whole, store, card="RTX 4090"))
    on_cpu = look(plan, store, gpu=False)
    assert on_cpu.on_gpu is None
    assert "memory" not in said(on_cpu)
    with pytest.raises(ValueError, match="no card 'H1000'"):
        look(plan, store, card="H1000")


def test_totals_follow_the_waves_and_say_what_is_unknown(tmp_path, trial_record):
    plan = planned(tmp_path, nano.recipe(base=True))
    bases, arms = plan.waves
    known = estimate(arms[0], records(trial_record, arms[0].recipe, (10, 8, 100)))
    everything = {spec.trial_id: known for wave in plan.waves for spec in wave}
    found = totals(plan.waves, everything, at_a_time=2, devices_a_trial=3)
    # The bases of three worlds side by side in two slots, two rounds; then nine trials, five rounds.
    assert (found.trials, found.trials_s, found.wall_s) == (12, 120, 20 + 50)
    assert found.device_hours == pytest.approx(360 / 3600)
    assert found.size_bytes == 1200
    found = totals(plan.waves, everything | {bases[0].trial_id: None}, at_a_time=2, devices_a_trial=1)
    assert (found.unknown, found.trials_s, found.wall_s) == (1, 110, None)


def test_an_empty_store_has_a_first_estimate_and_a_like_trial_a_better_one(tmp_path, commit):
    plan = planned(tmp_path)
    seen = look(plan, commit.store)
    assert "9 trials by the first estimate" in said(seen)
    assert "from the recipe's arithmetic and the probed speed of one thread of this CPU: right within" in said(seen)
    assert f"{detectable_in_sds(3, claims=2):.2f} SDs" in said(seen)
    assert "not declared yet; `run` declares it before any result" in said(seen)
    specs = {(p.arm, p.seed): spec for p, spec in plan.arms}
    for seed, ap in enumerate((0.60, 0.62, 0.61)):
        commit(specs["swim", seed], ap)
    commit(specs["control", 0], 0.50)
    commit(specs["control", 1], 0.51)
    seen = look(plan, commit.store, concurrency=1)
    lines = said(seen)
    assert "trials     4 to run; 5 of the table's 9 cached" in lines
    assert "time       ≈ 40 s of trials, 0.0111 device-hours (cpu)" in lines
    assert "wall-clock ≈ 40 s with 1 at a time" in lines
    assert "≈ 0.004 MB to write, and the decoded clips of 3 data sets" in lines
    assert "CPUs to draw 48 clips of 3 data sets before the first trial" in lines
    # Differences .10 and .11: an SD of .0071, known from two seeds.
    sd = 0.01 / 2**0.5
    assert f"swim > control: {sd * detectable_in_sds(3, claims=2):.3f} attention.ap (SD 0.007 over 2 seeds" in lines
    assert "swim > add: in attention.ap unknown" in lines
    assert seen.invalidations == {}
    shown = Console(width=200, record=True, quiet=True)
    shown.print(plan_view.render(seen))
    assert commit.store.list_files("protocols") == [], "plan wrote something"


def test_records_of_the_older_kind_are_read_and_the_move_is_named(tmp_path, commit):
    """Their recipes say how they were evaluated, in fields that no recipe has today."""
    plan = planned(tmp_path)
    spec = plan.arms[0][1]
    recipe = spec.recipe.training() | {"evaluation": {"readout": {"layers": "all"}, "overlays": 4}}
    recipe["init"] = recipe["init"] and recipe["init"] | {"evaluation": {"overlays": 4}}
    older = {"recipe": recipe, "schema_version": 1, "code_fingerprint": "c", "metrics": {"attention.ap": 0.5}}
    commit(spec, trial_id="older", **older)
    view = look(plan, commit.store)
    assert view.unread == 0
    assert view.invalidations[spec.trial_id].earlier == "older"
    many = Invalidation("older", tuple(f"swim.m{i}" for i in range(11)), data=False, base=False)
    assert many.text.endswith("swim.m7 and 3 more")


def test_plan_says_what_a_run_would_amend(tmp_path, commit):
    protocol.declare(planned(tmp_path), commit.store)
    commit(planned(tmp_path).arms[0][1])
    assert "declared before any result" in said(look(planned(tmp_path), commit.store))
    more = said(look(planned(tmp_path, seeds=range(4)), commit.store))
    assert "`run` would amend it after 1 results: seeds 3 → 4 (added 3)" in more


def older_sources(folder: Path) -> Path:
    """A copy of `swim` before a number moved, a comment was written, and two modules came and went."""
    package = Path(swim.__file__).parent
    shutil.copytree(package, folder / "swim", ignore=shutil.ignore_patterns("__pycache__"))
    train = folder / "swim/train.py"
    train.write_text(train.read_text() + "\n_MOVED = 3\n")
    checkpoint = folder / "swim/checkpoint.py"
    checkpoint.write_text("# a comment more\n" + checkpoint.read_text() + "\nimport swim.gone\n")
    (folder / "swim/gone.py").write_text("X = 1\n")
    return folder


def test_plan_names_the_module_that_moved(tmp_path, commit):
    plan = planned(tmp_path)
    spec = plan.arms[0][1]
    root = older_sources(tmp_path / "older")
    earlier = naming.code_fingerprint(spec.recipe, root)
    commit(spec, trial_id="earlier", code_fingerprint=earlier)
    seen = look(plan, commit.store)
    assert seen.invalidations[spec.trial_id].modules is None
    assert "its earlier sources are not in the store" in said(seen)
    commit.store.put_create_only(f"code/{earlier}.tar.gz", naming.source_archive(spec.recipe, root))
    seen = look(plan, commit.store)
    assert seen.invalidations[spec.trial_id].modules == ("swim.checkpoint", "swim.gone (gone)", "swim.train")
    assert "moved      swim.checkpoint, swim.gone (gone), swim.train (1 of the new trials ran before that)" in said(
        seen
    )
    # The trial itself is there: nothing is new.
    commit(spec)
    assert spec.trial_id not in look(plan, commit.store).invalidations


def test_moved_data_and_bases_are_told_from_moved_code(tmp_path, commit):
    plan = planned(tmp_path, nano.recipe(base=True))
    first, second = plan.arms[0][1], plan.arms[1][1]
    commit(first, trial_id="a", data_fingerprint="other")
    commit(second, trial_id="b", init_trial_id="other", data_fingerprint=second.data_fingerprint)
    moves = look(plan, commit.store).invalidations
    assert (moves[first.trial_id].data, moves[first.trial_id].modules) == (True, ())
    assert moves[second.trial_id].text == "what it starts from"
    assert "of recipes that this code cannot read" not in said(look(plan, commit.store))
    commit(first, trial_id="c", recipe={"from": "another time"})
    assert "1 results in the store are of recipes that this code cannot read" in said(look(plan, commit.store))


def test_tables_of_a_file_say_what_they_take_together(tmp_path, commit):
    plans = [
        planned(tmp_path),
        planned(
            tmp_path, name="other", arms=[Arm("swim"), Arm("max", {"objective.fusion": "max"})], paper=Paper("Other")
        ),
    ]
    settings = Settings(store=commit.store.uri, concurrency=2)

    def together():
        return plan_view.together(
            [plan_view.preview(plan, commit.store, settings) for plan in plans], commit.store, settings
        )

    lines = together()
    # Three arms and two, of three seeds each; `swim` is in both.
    assert lines[0] == (
        "together   12 trials to run for 2 tables; 3 of the 15 above are shared by tables, and run once"
    )
    assert "draw 48 clips of 3 data sets" in lines[1]  # of three worlds, which the tables share
    assert "12 trials by the first estimate" in lines[2]
    for plan in plans:
        for _, spec in plan.arms:
            if commit.store.record(spec.trial_id) is None:
                commit(spec)
    assert together() == ["together   0 trials to run for 2 tables"]


LAYERS = Axis("objective.layers", {"six": "first:1.0", "all": "all", "last": "last:1"})


def layers(**changes):
    claims = [Better("six", "all"), Better("six", "last"), Trend("layers", arms=("six", "all", "last"), rising=False)]
    fields = {"arms": [*LAYERS], "paper": Paper("Table 3", {"six": 3.78, "all": 3.7}, claims), "name": "layers"}
    return fields | changes


def test_arms_that_are_the_same_trials_run_once_and_are_never_tested_against_each_other(tmp_path, commit):
    plan = planned(tmp_path, **layers())
    assert plan.shared == {"six": "six", "all": "six", "last": "last"}
    assert len(plan.trial_ids) == 6
    seen = look(plan, commit.store)
    assert "3 more cells show trials that arms share" in said(seen)
    assert "six > all: the same trials under this recipe, never tested" in said(seen)
    assert (seen.sensitivity.claims, seen.sensitivity.at) == (2, {3: detectable_in_sds(3, claims=2)})


def test_a_table_shows_the_same_trials_as_equal_and_counts_no_claim_between_them(tmp_path):
    def table(claims):
        ablation = Ablation(
            **layers(paper=Paper("Table 3", {}, claims)),
            seeds=(0, 1, 2),
            metrics=[Metric("attention.ap", primary=True)],
            reference="six",
        )
        results = committed(ablation, tmp_path / str(len(claims)), lambda arm, s: {"attention.ap": AP[arm][s]})
        same = {t.seed: t for t in results.trials if t.arm == "six"}
        trials = [
            t if t.arm != "all" else type(t)("all", t.seed, same[t.seed].trial_id, same[t.seed].record, None)
            for t in results.trials
        ]
        return summarise(type(results)(ablation, results.recipe, tuple(trials), results.store, {}, 0.0))

    AP = {"six": (0.60, 0.65, 0.62), "all": (0, 0, 0), "last": (0.55, 0.58, 0.57)}
    both, alone = table([Better("six", "all"), Better("six", "last")]), table([Better("six", "last")])
    equal, tested = both.claims
    assert equal.outcome.verdict is Verdict.NOT_RUN
    assert "the same trials under this recipe" in equal.outcome.reason
    assert (equal.outcome.p_holm, equal.outcome.interval) == (None, None)
    # Out of Holm's family: the other claim is judged as if it stood alone.
    assert tested.outcome.p_holm == alone.claims[0].outcome.p_holm
    assert (both.tested("attention.ap"), len(both.claims)) == (1, 2)
    assert [row.same_as for row in both.rows] == [None, "six", None]
    assert both.rows[1].over_reference is None
    assert both.trials_wall_s == sum(row.wall_s for row in both.rows[::2])
    assert "all = six" in terminal.render_terminal(both)
    assert "| all = six |" in markdown.render_markdown(both, evidence_index(both))
