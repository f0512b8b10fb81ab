"""Components of variance as their user measures them: planted differences, and a small table that is really trained."""

import sys
from pathlib import Path

import numpy as np
import pytest
from store_kit import all_results

import nano
from measurements import runs
from swimlab.execution import cluster
from swimlab.experiment.plan import make_plan
from swimlab.stats.variance_components import margin_in_sds
from swimlab.store.sweep_store import SweepStore

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments" / "systems"))
import component_grids
import variance_components


def settings(*flags: str) -> variance_components.ComponentSettings:
    return variance_components.ComponentSettings(_cli_parse_args=list(flags))


def test_the_table_of_a_file_is_planned_in_worlds_and_orders(tmp_path: Path) -> None:
    chosen = settings("plan", "--worlds", "3", "--orders", "2", "--cache", str(tmp_path))
    table = variance_components.table_of(chosen.file)
    assert table.name == "fusion"
    plans = variance_components.planned(table, nano.recipe(name="tiny-nano"), chosen)
    assert [plan.recipe.name for plan in plans] == [f"tiny-nano-world-{number}" for number in range(3)]
    ids = [{spec.trial_id for _, spec in plan.arms} for plan in plans]
    assert [len(of_world) for of_world in ids] == [2 * len(table.arms)] * 3
    assert len(set().union(*ids)) == 3 * 2 * len(table.arms)
    assert [len(plan.waves[0]) for plan in plans] == [1] * 3  # the base that the orders of a world share
    in_worlds = make_plan(nano.ablation(seeds=(0, 1), replicate="world"), nano.recipe(), chosen.running)
    plans = variance_components.planned(nano.ablation(), nano.recipe(), chosen)
    shared = {spec.trial_id for _, spec in in_worlds.arms}
    assert shared <= {spec.trial_id for plan in plans for _, spec in plan.arms}  # world 1, order 1 is seed 1 there


def test_a_file_without_a_table_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.py").write_text("X = 1\n")
    flags = ("--file", str(tmp_path / "empty.py"), "--store", str(tmp_path / "store"))
    with pytest.raises(SystemExit) as ended:
        variance_components.main(settings("plan", *flags))
    assert ended.value.code == 1
    assert "empty.py declares no Ablation: name an experiment file with --file" in " ".join(
        capsys.readouterr().out.split()
    )
    with pytest.raises(SystemExit) as ended:
        variance_components.main(settings("report", *flags))
    assert ended.value.code == 1


def test_planted_differences_give_their_components_and_margins() -> None:
    rng = np.random.default_rng(5)
    planted = 0.03 + 0.024 * rng.normal(size=(400, 1)) + 0.008 * rng.normal(size=(400, 3))
    claims = {"mean > product": planted.tolist(), "mean > add": np.zeros((4, 3)).tolist()}
    differences, margins = component_grids.component_grids(
        "attention.ap", claims, {}, {"mean > product": [0.003, 0.004]}, dict.fromkeys(claims, 0.0)
    )
    cells = dict(zip(differences[1], differences[2][0], strict=True))
    assert float(cells["SD between bases"].split()[0]) == pytest.approx(0.024, rel=0.1)
    assert float(cells["SD between orders"].split()[0]) == pytest.approx(0.008, rel=0.1)
    assert cells["test clips"] == "0.0035"
    reach = margin_in_sds(8, 0.05 / 2, claims=2)
    proposed = [float(row[-1]) for row in margins[2]]
    assert proposed[0] == pytest.approx(reach * float(cells["SD over worlds"]), rel=0.05)
    assert proposed[0] >= reach * (float(cells["SD over worlds"]) - 5e-5)  # rounded upwards
    assert proposed[1] == 0.0
    assert component_grids.rounded_up(0.0312) == 0.032
    assert component_grids.rounded_up(0.03) == 0.03
    few = {name: values[:4] for name, values in claims.items()}
    assert component_grids.component_figure(few).startswith(b"\x89PNG")


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(550)
def test_a_small_table_is_trained_measured_and_never_trained_again(
    two_cpus: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--worlds", "2", "--orders", "2", "--store", str(tmp_path / "store"), "--cache", str(tmp_path / "cache"))

    def main(command: str) -> int:
        with pytest.raises(SystemExit) as ended:
            variance_components.main(settings(command, *flags), nano.ablation(), nano.recipe())
        return int(ended.value.code or 0)

    assert main("run") == 0
    store = SweepStore(str(tmp_path / "store"))
    (run,) = runs(store, variance_components.NAME, variance_components.ComponentRun)
    places = {(row.kind, row.scheme, row.world, row.order): row for row in run.rows}
    assert len(places) == len(run.rows) == 3 * 4
    records = list(all_results(store).values())
    assert len(records) == 2 + 2 * 4
    for world in (0, 1):
        for order in (0, 1):
            swim, control = (places["arm", arm, world, order] for arm in ("swim", "control"))
            claim = places["claim", "swim > control", world, order]
            assert claim.value == pytest.approx(swim.value - control.value)
            assert swim.value in {record.metrics.get("attention.ap") for record in records if record.seed == order}
            assert swim.clips_error
            assert swim.clips_error > 0
    shown = capsys.readouterr().out
    assert "SD between bases" in shown
    assert "margin proposed" in shown
    monkeypatch.setattr(cluster, "ray_session", lambda: pytest.fail("a cached run started Ray"))
    assert main("run") == 0
    assert main("report") == 0
    assert len(runs(store, variance_components.NAME, variance_components.ComponentRun)) == 2
    (page, _) = [path for path in store.list_files("reports/variance_components") if path.endswith("index.html")]
    assert "swim &gt; control" in store.read(page).decode()
