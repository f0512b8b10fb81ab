"""What interrupts a trial costs time and not the trial: the same command tries it again, from a step that is whole."""

from pathlib import Path

import pytest
from fault_table import fault
from store_kit import ended_owner
from test_sweep import OFTEN, run

import nano
from swimlab import Arm
from swimlab.cli.commands.show import attempts_of
from swimlab.experiment.plan import make_plan
from swimlab.experiment.run_settings import Settings
from swimlab.store.paths import folder_of
from swimlab.store.sweep_store import SweepStore

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(300)]


@fault(
    "a trial's curve cannot be written when it is trained: something is in its place",
    "the run ends without the trial",
    "right: it is tried again at the end of its wave, from its last step",
    "F4",
)
@fault(
    "a killed driver left a step whose done.json is cut", "every run of the trial fails", "right: it is skipped", "F13"
)
def test_a_trial_goes_on_after_a_failed_write_and_a_damaged_step(
    two_cpus: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first attempt is of a killed driver. The second cannot write its curve, and has saved steps by then."""
    one, recipe = nano.ablation(seeds=(0,), arms=(Arm("swim"),)), nano.recipe(base=False)
    store = SweepStore(str(tmp_path / "store"), owner=ended_owner())
    ((spec,),) = make_plan(one, recipe, Settings(store=store.uri, cache=tmp_path / "cache")).waves
    killed = store.claim(spec.trial_id)
    assert killed
    store.backend.create(f"{killed.folder}/steps/{recipe.optim.steps - 1}/done.json", b'{"numerics": {')
    (tmp_path / "store" / folder_of(spec.trial_id, 2) / "metrics.parquet").mkdir(parents=True)
    assert run(one, store.uri, tmp_path, recipe, checkpoint_minutes=OFTEN) == 0
    printed = capsys.readouterr().out
    assert printed.count("FAILED") == 1
    assert "\nagain, after the store or a process failed: swim: 1 to run\n" in printed
    record = store.record(spec.trial_id)
    assert record
    assert record.cost.resumed_step >= 1
    states = [attempt["state"] for attempt in attempts_of(store, spec.trial_id, record)]
    assert (len(states), states[-1]) == (3, "committed")
