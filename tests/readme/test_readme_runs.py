"""Every command and snippet of our Markdown files, run: see `readme_table` for what is replaced."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from readme_entries import Run
from readme_lab import Lab, lab
from readme_table import NANO, SWEEP, TABLE

from swim.recipe import Recipe
from swimlab.experiment.plan import make_plan
from swimlab.experiment.run_settings import Settings
from swimlab.store.sweep_store import SweepStore

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1800)]
WAYS = [(text, number) for text, entry in TABLE.items() if isinstance(entry, tuple) for number, _ in enumerate(entry)]


def way(text: str, number: int) -> Run:
    entry = TABLE[text]
    assert isinstance(entry, tuple)
    return entry[number]


def name(text: str, number: int) -> str:
    return " ".join(text.split())[:60] + (f" ({number + 1})" if number else "")


@pytest.fixture(scope="module")
def labs(swept: list[Path]) -> Iterator[Callable[[str], Lab]]:
    """`warm`: a process and a Ray for all commands, on the store that a Ray job has left, if one ran before; `cold`: an
    empty store, and for each command processes of its own, as a user's."""
    with ExitStack() as stack:
        open_labs: dict[str, Lab] = {}

        def get(kind: str) -> Lab:
            if kind not in open_labs:
                open_labs[kind] = stack.enter_context(
                    lab(warm=kind == "warm", swept=swept[-1] if swept and kind == "warm" else None)
                )
            return open_labs[kind]

        yield get


def check(found: Lab, text: str, number: int) -> None:
    run = way(text, number)
    if run.tool and shutil.which(run.tool) is None:
        pytest.skip(f"no {run.tool} on this machine")
    code, output = found.result(text, number)
    assert code == run.code, output
    flat = " ".join(output.split())
    assert [piece for piece in run.prints if piece not in flat] == [], output


@pytest.mark.parametrize(("text", "number"), [pytest.param(*key, id=name(*key)) for key in WAYS if not way(*key).slow])
def test_it_runs(labs: Callable[[str], Lab], text: str, number: int) -> None:
    check(labs("warm"), text, number)


@pytest.mark.slow
@pytest.mark.parametrize(("text", "number"), [pytest.param(*key, id=name(*key)) for key in WAYS])
def test_it_runs_in_a_process_of_its_own(labs: Callable[[str], Lab], text: str, number: int) -> None:
    check(labs("cold"), text, number)


def test_a_loss_of_ones_own_invalidates_no_trial(labs: Callable[[str], Lab], monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder has `huber.py` beside the other losses and the repository has not: trials have the same names."""
    found = labs("warm")
    assert found.result(SWEEP)[0] == 0
    assert (found.folder / "swim/supervision/losses/huber.py").exists()
    monkeypatch.syspath_prepend(found.folder / "experiments")
    from sweep_fusion import TABLE_4

    store = SweepStore(str(found.folder / "swimlab-store"))
    recipe = Recipe.model_validate_json((found.folder / NANO["SWIMLAB_RECIPE"]).read_text())
    plan = make_plan(TABLE_4, recipe, Settings(store=store.uri, cache=found.home / ".cache/swimlab"), seeds=(0,))
    assert set(plan.trial_ids) <= set(store.records())


def test_the_rows_that_the_builder_wrote_are_the_ones_trained_on(labs: Callable[[str], Lab]) -> None:
    found = labs("warm")
    code, output = found.result(
        "python experiments/build_nl_refer.py --annotations my/videorefer.json --out my/nl_refer.jsonl"
    )
    assert code == 0, output
    rows = [json.loads(line) for line in Path(found.folder, "my/nl_refer.jsonl").read_text().splitlines()]
    assert len(rows) == 8
    assert all("<ins>" in row["conversations"][0]["value"] for row in rows)
