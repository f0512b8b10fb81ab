"""The calibration as its user runs it, with few tables."""

import sys
from pathlib import Path

import pytest

from measurements import runs
from swimlab.store.sweep_store import SweepStore

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments" / "systems"))
import verdict_calibration as calibration


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[SweepStore, calibration.CalibrationRun, str]:
    store = SweepStore(str(tmp_path_factory.mktemp("store")))
    chosen = calibration.CalibrationSettings(_cli_parse_args=["smoke", "--store", store.uri])
    assert calibration.main(chosen) == 0
    (found,) = runs(store, calibration.NAME, calibration.CalibrationRun)
    (page,) = [path for path in store.list_files("reports") if path.endswith("index.html")]
    return store, found, store.read(page).decode()


def test_every_case_is_simulated_and_the_draws_are_fixed(done) -> None:
    _, run, page = done
    for noise in calibration.NOISES:
        for claims in calibration.CLAIMS:
            for seeds in calibration.SEEDS:
                found = run.rate("no effect", size=noise, claims=claims, seeds=seeds)
                assert found is not None
                assert found.of == 500
        assert f"{noise} noise" in page
    again = calibration.simulate(5, 3, "shared", 500)
    stored = [row for row in run.rows if (row.seeds, row.claims, row.size) == (5, 3, "shared")]
    assert [row["count"] for row in again] == [row.count for row in stored]


def test_the_page_says_where_the_rule_holds_and_where_not(done) -> None:
    _, run, page = done
    normal, skewed = (calibration.errors_grid(run, noise)[2] for noise in ("normal", "skewed"))
    assert {row[-1] for row in normal} == {"within 5 %"}
    assert {row[-1] for row in skewed} == {"ABOVE 5 %"}
    assert "ABOVE 5 %" in page
    by_replicate: dict[str, set[str]] = {}
    for replicates, *_, each in calibration.looks_calibration.errors_grid(run.rate, calibration.percent)[2]:
        by_replicate.setdefault(replicates, set()).add(each)
    assert by_replicate == {"worlds": {"within 2.5 %"}, "orders": {"ABOVE 2.5 %"}}
    assert "looks at 4 and 8" in page
    # What `plan` promises lies between the simulated effects around it.
    for row in calibration.power_grid(run, "normal")[2]:
        shares, promised = list(map(int, row[2:-1])), float(row[-1])
        below = [share for effect, share in zip(calibration.EFFECTS, shares, strict=True) if effect < 0.8 * promised]
        above = [share for effect, share in zip(calibration.EFFECTS, shares, strict=True) if effect > 1.25 * promised]
        assert max(below) < 80 < min(above, default=100)


def test_a_run_needs_a_hundred_tables() -> None:
    with pytest.raises(SystemExit) as ended:
        calibration.experiment_file.settings(calibration.CalibrationSettings, ["--tables", "10"])
    assert ended.value.code == 2
