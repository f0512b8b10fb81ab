"""Tasks of lmms-eval as tasks of Ray: the outcomes of one process, in the order of the jobs."""

from pathlib import Path

import lmms_kit
import pytest
from answering_kit import commit_trial

from swimlab.evaluating.lmms import environment
from swimlab.evaluating.lmms.runs import GeneralTask, Where
from swimlab.evaluating.lmms.schedule import Job, measure_all
from swimlab.store.sweep_store import SweepStore

DOES = """
if flags["--tasks"] == "broken":
    sys.exit("no such thing")
rows = [lmms_kit.videomme(n, f"v{n}", n != 1) for n in range(4)]
content = lmms_kit.results({"videomme": rows}, "videomme_perception_score", {"videomme": 75.0})
lmms_kit.write(Path(flags["--output_path"]), content, {"videomme": rows})
"""


@pytest.mark.ray
@pytest.mark.slow
def test_workers_give_the_outcomes_of_one_process(two_cpus: None, tmp_path: Path) -> None:
    store = SweepStore(str(tmp_path / "store"))
    trials = [commit_trial(store, f"t{seed}", seed) for seed in range(2)]
    where = Where(environment.probe(lmms_kit.python(tmp_path / "env", DOES)), tmp_path / "hf")
    jobs = [
        Job(trial, GeneralTask(task=task, lmms_eval="0.7.3", backend="qwen2_5_vl", model_args={}))
        for task in ("broken", "videomme")
        for trial in trials
    ]
    outcomes = measure_all(jobs, store, where, workers=2)
    assert [outcome.job.trial.trial_id for outcome in outcomes] == ["t0", "t1", "t0", "t1"]
    assert all("broken: it ended with code 1" in outcome.failure for outcome in outcomes[:2])
    assert outcomes[2:] == measure_all(jobs[2:], store, where)
    assert [outcome.scores.metrics["videomme.avg"] for outcome in outcomes[2:] if outcome.scores] == [75.0, 75.0]
