"""A sweep of the nano recipe in a process of its own, as a user starts it."""

import json
import os
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Mapping
from pathlib import Path

from store_kit import all_results

from swimlab.store.records import TrialRecord
from swimlab.store.sweep_store import SweepStore

DECIDED = ("/metrics.parquet", "/samples.parquet", "/overlays.parquet", "/film.parquet", "/model.safetensors")
# Sockets need a short path: not the folder that a test may have for its temporary files.
RAY_TMPDIR = os.environ.get("RAY_TMPDIR", tempfile.gettempdir())
Process = subprocess.Popen[str]
EXPERIMENT = """
    import sys
    sys.path.insert(0, {here!r})
    import nano
    from swimlab.cli.experiment_file import run, settings
    from swimlab.experiment.run_settings import Settings

    if __name__ == "__main__":
        run([nano.ablation(seeds={seeds})], settings(Settings), lambda: nano.recipe(steps={steps}))
"""


def start(
    store: str, folder: Path, seeds: tuple[int, ...], steps: int, variables: Mapping[str, str] | None = None
) -> Process:
    """Starts it, with temporary files in `folder`/scratch and its output in one pipe."""
    scratch, file = folder / "scratch", folder / "experiment.py"
    scratch.mkdir(exist_ok=True)
    # A Ray of the tests is not the sweep's.
    ours = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    temporary = {"TMPDIR": str(scratch), "RAY_TMPDIR": RAY_TMPDIR}
    file.write_text(textwrap.dedent(EXPERIMENT.format(here=str(Path(__file__).parent), seeds=seeds, steps=steps)))
    return subprocess.Popen(
        [sys.executable, file, "--store", store, "--cache", folder / "cache"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=ours | temporary | dict(variables or {}),
    )


def decided(record: TrialRecord) -> dict[str, str]:
    """Hashes of everything that time and place must not touch."""
    hashes = {name: entry.sha256 for name, entry in record.files.items() if f"/{name}".endswith(DECIDED)}
    kinds = {f"/{name.rpartition('/')[2]}" for name in hashes}
    assert kinds | {"/overlays.parquet"} == set(DECIDED)  # of data without nouns there are no overlays
    return hashes | {"metrics": json.dumps(record.metrics)}


def results(store: SweepStore) -> dict[str, dict[str, str]]:
    """Trial id → what is decided of the trial, and all that was measured of it."""
    records = store.records()
    measured = {trial_id: result.metrics for trial_id, result in all_results(store).items()}
    return {t: decided(record) | {"all metrics": json.dumps(measured[t])} for t, record in records.items()}
