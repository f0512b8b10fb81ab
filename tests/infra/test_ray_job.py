"""The literal `ray job submit` command lines, against a Ray head with token authentication."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from ray_cluster import REPO, Head, clean_copy, ray_head, venv_without_swimlab
from readme_lab import STEPS, small
from readme_table import INFRA_EXPORT, INFRA_TOKEN, README_TOKEN, START, SUBMIT, UPLOAD, run_as_printed

from swimlab.store.sweep_store import SweepStore

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1800)]

UPLOADED = run_as_printed(UPLOAD).removesuffix("sweep_fusion.py smoke")
TRIALS = 10  # six arms of Table 4 and six of its interaction, which share two; one seed
WHERE = """
import json, ray, swim, swimlab.experiment.plan
ray.init(logging_level="error")

@ray.remote
def worker():
    import swim, swimlab.experiment.plan
    return [swim.__file__, swimlab.experiment.plan.__file__]

print("WHERE", json.dumps([[swim.__file__, swimlab.experiment.plan.__file__], ray.get(worker.remote())]))
"""


def nano(folder: Path) -> Path:
    """A recipe of two steps, as a file."""
    (folder / "nano.json").write_text(small().model_dump_json())
    return folder / "nano.json"


@dataclass(frozen=True)
class Submitted:
    head: Head
    output: str
    store: SweepStore


@pytest.fixture(scope="module")
def submitted(tmp_path_factory: pytest.TempPathFactory, swept: list[Path]) -> Iterator[Submitted]:
    """A head in the repo, environment active, then a job: the printed lines. Only recipe and seeds are small."""
    folder = tmp_path_factory.mktemp("job")
    places = {"SWIMLAB_STORE": str(folder / "store"), "SWIMLAB_CACHE": str(folder / "cache")}
    sizes = {"SWIMLAB_RECIPE": str(nano(folder)), "SWIMLAB_SEEDS": "1"}
    lines = run_as_printed(README_TOKEN), run_as_printed(START)
    with ray_head(REPO, Path(sys.executable).parent, *lines, **sizes, **places) as head:
        output = head.shell(run_as_printed(SUBMIT))
        swept.append(folder / "store")
        yield Submitted(head, output, SweepStore(str(folder / "store")))


def test_the_job_prints_its_table_and_leaves_its_records(submitted: Submitted) -> None:
    assert "Table 4: How should the attention maps of the supervised layers be fused?" in submitted.output
    assert "succeeded" in submitted.output
    records = submitted.store.records()
    assert len(records) == TRIALS
    assert {record.recipe["optim"]["steps"] for record in records.values()} == {STEPS}


def test_the_dashboard_shows_the_job_to_whoever_has_the_token(submitted: Submitted) -> None:
    status, jobs = submitted.head.get("/api/jobs/", submitted.head.token())
    seen = [(job["entrypoint"], job["status"]) for job in jobs if job["type"] == "SUBMISSION"]
    assert (status, seen) == (200, [("python experiments/sweep_fusion.py", "SUCCEEDED")])
    assert submitted.head.get("/api/jobs/", None)[0] == 401
    assert submitted.head.get("/api/jobs/", "0" * 64)[0] == 403


def test_the_token_is_in_no_command_line_and_no_log(submitted: Submitted) -> None:
    token = submitted.head.token()
    assert len(token) == 64
    assert token not in submitted.output
    for process in psutil.Process(submitted.head.process.pid).children(recursive=True):
        try:
            assert token not in " ".join(process.cmdline())
        except psutil.NoSuchProcess:
            continue


def test_the_log_in_the_dashboard_is_plain_lines(submitted: Submitted) -> None:
    _, jobs = submitted.head.get("/api/jobs/", submitted.head.token())
    _, answer = submitted.head.get(f"/api/jobs/{jobs[0]['submission_id']}/logs", submitted.head.token())
    ours = answer["logs"].partition("Running entrypoint")[2].splitlines()
    assert f"together {TRIALS} to run" in ours
    assert re.search(rf"\w+ · seed 0: done \({TRIALS} of {TRIALS}\)", answer["logs"])
    assert not [line for line in ours if "\x1b" in line or "\r" in line or "WARNING" in line or "Traceback" in line]
    # Addresses stay on one line, to be copied; all else fits a page.
    assert not [line for line in ours if len(line) > 120 and not line.startswith(("store", "report"))]


def test_the_job_leaves_nothing_running(submitted: Submitted) -> None:
    assert "still held" not in submitted.output
    assert submitted.head.left_over() == []
    code = "from swimlab.execution import cluster\nwith cluster.ray_session(): print('WHOLE', cluster.whole(60))"
    assert "WHOLE True" in submitted.head.shell(f'RAY_ADDRESS={submitted.head.gcs} python -c "{code}"')


@pytest.mark.slow  # PlanErrors are tested on the shared Ray, and below that one fails a job
def test_a_plan_too_large_for_the_cluster_fails_the_job(submitted: Submitted) -> None:
    code, output = submitted.head.attempt(
        f"ray job submit -- python experiments/sweep_fusion.py --workers 4 --store {submitted.store.uri}-2"
    )
    assert code == 1
    assert "PlanError: a trial needs 4 CPU at once and the cluster has 2 CPU: lower --workers or add nodes" in output
    assert not SweepStore(f"{submitted.store.uri}-2").records()


@pytest.mark.slow
def test_a_driver_with_another_token_is_told_so(submitted: Submitted) -> None:
    wrong = f"RAY_ADDRESS={submitted.head.gcs} RAY_AUTH_TOKEN={'0' * 64}"
    code, output = submitted.head.attempt(f"{wrong} python experiments/sweep_fusion.py --store {submitted.store.uri}-3")
    assert code == 1
    assert f"PlanError: the Ray cluster at {submitted.head.gcs} refused us" in output
    assert "Traceback" not in output


@dataclass(frozen=True)
class Elsewhere:
    head: Head
    repo: Path


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elsewhere]:
    """A cluster whose environment has every dependency but not our package, and a clean copy of the repo to upload."""
    folder = tmp_path_factory.mktemp("elsewhere")
    bin_dir = venv_without_swimlab(folder / "venv")
    for module, present in (("ray", True), ("swimlab", False), ("swim", False)):
        found = subprocess.run([bin_dir / "python", "-I", "-c", f"import {module}"], cwd=folder, capture_output=True)
        assert (found.returncode == 0) is present, f"{module}: {found.stderr.decode()}"
    repo = clean_copy(folder / "repo")
    (repo / "experiments" / "where.py").write_text(WHERE)
    lines = f"{run_as_printed(INFRA_EXPORT)}\n{run_as_printed(INFRA_TOKEN)}", run_as_printed(f"{START} --block")
    with ray_head(folder, bin_dir, *lines, SWIMLAB_RECIPE=str(nano(folder))) as head:
        yield Elsewhere(head, repo)


def test_driver_and_workers_import_the_uploaded_code(elsewhere: Elsewhere) -> None:
    output = elsewhere.head.shell(UPLOADED + "where.py", cwd=elsewhere.repo)
    line = next(line for line in output.splitlines() if line.startswith("WHERE "))
    for swim_file, plan_file in json.loads(line.removeprefix("WHERE ")):
        root = Path(swim_file).parents[1]
        assert "working_dir_files" in root.parts
        assert Path(plan_file) == root / "platform" / "swimlab" / "experiment" / "plan.py"


def test_an_uploaded_job_trains(elsewhere: Elsewhere) -> None:
    output = elsewhere.head.shell(run_as_printed(UPLOAD), cwd=elsewhere.repo)
    assert "Smoke of Table 4: How should the attention maps of the supervised layers be fused?" in output
    records = SweepStore(str(elsewhere.head.home / "swimlab-store")).records()  # as infra/runtime-env.yaml says
    assert len(records) == 3  # two arms of either table, which share one
    # The upload has no .git: trials that ran the checkout's code would know its commit.
    assert {record.provenance.git_sha for record in records.values()} == {None}
    assert elsewhere.head.left_over() == []


def test_an_uploaded_job_may_not_store_in_its_scratch_copy(elsewhere: Elsewhere) -> None:
    code, output = elsewhere.head.attempt(UPLOADED + "sweep_fusion.py smoke --store swimlab-store", elsewhere.repo)
    assert code == 1
    assert "set SWIMLAB_STORE to a folder or s3://bucket/prefix that outlives the job" in output
