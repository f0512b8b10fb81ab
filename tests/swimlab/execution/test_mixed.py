"""A trial computed with other instructions of the same processor is not paired with the others of its table."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import trained

import nano
from swimlab.execution import run_ablations
from swimlab.experiment.plan import make_plan
from swimlab.experiment.run_settings import Settings
from swimlab.report import ablation_page
from swimlab.report.summarise import summarise
from swimlab.store.sweep_store import SweepStore

# As on a machine that can less; `trained.run` trains what has no record.
AGAIN = "import sys, pathlib, trained; from swimlab.store.sweep_store import SweepStore as S; "
AGAIN += "trained.run(S(sys.argv[1]), pathlib.Path(sys.argv[2]))"


@pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() == "DEFAULT", reason="torch uses no instructions that could be left out"
)
@pytest.mark.timeout(120)
def test_other_instructions_make_a_table_mixed(trained_store: SweepStore, tmp_path: Path) -> None:
    shutil.copytree(trained_store.uri, tmp_path / "store")
    store = SweepStore(str(tmp_path / "store"))
    ablation = nano.ablation(seeds=(0,))  # swim and control: the claim is swim > control
    plan = make_plan(ablation, nano.recipe(), Settings(store=store.uri, cache=tmp_path / "cache"))
    control = next(spec.trial_id for planned, spec in plan.arms if planned.arm == "control")
    before = store.record(control)
    assert before
    store.backend.delete(f"records/{control}.json")
    shutil.rmtree(tmp_path / "store/attempts" / control)  # its owner, this process, lives: it would be waited for
    command = [sys.executable, "-c", AGAIN, store.uri, str(tmp_path / "cache")]
    places = os.pathsep.join([*sys.path, str(Path(trained.__file__).parent)])
    settings = os.environ | {"ATEN_CPU_CAPABILITY": "default", "PYTHONPATH": places}
    subprocess.run(command, env=settings, check=True)

    after = store.record(control)
    assert after
    assert after.provenance.numerics == before.provenance.numerics | {"cpu_capability": "DEFAULT"}
    assert after.start_weights == before.start_weights  # the base is the same file
    results = run_ablations.gather(plan, store, 0.0)
    (claim,) = summarise(results).claims
    assert (claim.label, claim.seeds, claim.outcome.verdict) == ("MIXED", (), None)
    page = ablation_page.write(results, summarise(results))["index.html"]
    header = page[: page.index("<h2>Results")]
    assert "MIXED." in header
    assert "<li>cpu_capability DEFAULT: control, seed 0</li>" in header
