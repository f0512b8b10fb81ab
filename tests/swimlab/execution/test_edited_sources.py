"""Sources that are edited while a sweep runs on them: no result bears the name of code that did not make it."""

import shutil
import time
from pathlib import Path

import pytest
import sweep_process

from swimlab.store.sweep_store import SweepStore

REPO = Path(__file__).parents[3]


@pytest.mark.fault(
    injection="a source file is edited while a sweep runs",
    symptom="later trials run other code under the planned names",
    expected="error says that the file changed; what is committed stays",
)
@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(300)
def test_code_edited_under_a_running_sweep_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the base trains; the arms begin in processes of their own, which read the edited file."""
    copy, store = tmp_path / "code", SweepStore(str(tmp_path / "store"))
    for name in ("swim", "platform/swimlab"):
        shutil.copytree(REPO / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.chdir(copy)  # workers of Ray import from the driver's folder first
    roots = {"PYTHONPATH": f"{copy}:{copy / 'platform'}"}
    driver = sweep_process.start(store.uri, tmp_path, seeds=(0,), steps=40, variables=roots)
    while driver.poll() is None and not any("/steps/" in path for path in store.list_files("attempts")):
        time.sleep(0.1)
    with (copy / "swim" / "train.py").open("a") as source:
        source.write("\nEDITED = True\n")
    printed, _ = driver.communicate(timeout=200)
    assert driver.returncode == 1, printed
    assert printed.count("a source file changed since the sweep began") >= 2, printed
    assert "run the same command again" in printed
    (base,) = store.records().values()
    assert base.recipe_name == "nano-base"
