"""How often are our verdicts wrong, and what do they find?  Ten thousand ablations with planted effects for every case.

`python experiments/systems/verdict_calibration.py`, about a minute on one core; it needs no Ray. Effects and margins
are in SDs of the paired differences; every table is judged by the rules that judge real ones (`swimlab.stats`:
`hypothesis_tests` and `looks`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal

import numpy as np
from pydantic import Field
from pydantic_settings import CliPositionalArg
from rich.console import Console

import looks_calibration
import measurement_report
import measuring
import power_curves
from measurements import Measurement, MeasurementRun
from measuring import MeasuringSettings, Task
from simulated_ablations import CERTAIN, NOISES, WIDE, Case, Rate, findings, tables_with
from swimlab.cli import experiment_file
from swimlab.report.grids import Grid
from swimlab.stats.hypothesis_tests import Finding
from swimlab.stats.intervals import ALPHA
from swimlab.stats.power import detectable_in_sds
from swimlab.store import provenance
from swimlab.store.sweep_store import SweepStore

NAME = "verdict_calibration"
TITLE, QUESTION = "Calibration of the verdicts", "How often is a verdict wrong, and how large an effect does it find?"
SEEDS, CLAIMS = (3, 5, 8), (1, 3, 12)
EFFECTS = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)
MARGINS = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)
SAMPLE = 17  # the draws; every case has its own


class Calibration(Measurement):
    """`scheme`: what was planted; `size`: the noise. `count` of `tables` tables had the finding that `asked` names, in
    any of the claims asked about. Of the cases with looks, `size` is the replicate, `between` the SD of effects between
    bases over that between orders, and `replicates` how many a claim took on average."""

    seeds: int
    claims: int
    effect_sds: float
    margin_sds: float
    asked: str
    count: int
    tables: int
    looks: tuple[int, ...] = ()
    between: float = 0.0
    replicates: float | None = None

    @property
    def rate(self) -> Rate:
        return Rate(self.count, self.tables)


class CalibrationRun(MeasurementRun):
    rows: tuple[Calibration, ...]

    def rate(self, scheme: str, finding: str = "ABOVE", **filters: Any) -> Rate | None:
        """Of the one row with these values."""
        row = self._row(scheme, finding, **filters)
        return None if row is None else row.rate

    def replicates(self, scheme: str, finding: str = "ABOVE", **filters: Any) -> float | None:
        """As `rate`, the replicates that a claim took."""
        row = self._row(scheme, finding, **filters)
        return None if row is None else row.replicates

    def _row(self, scheme: str, finding: str, **filters: Any) -> Calibration | None:
        rows = (row for row in self.rows if row.scheme == scheme and row.asked == finding)
        return next((r for r in rows if all(getattr(r, name) == value for name, value in filters.items())), None)


class CalibrationSettings(MeasuringSettings):
    """Simulate, and report what was simulated."""

    command: CliPositionalArg[Literal["run", "smoke", "report"]] = Field(
        "run", description="run: simulate, then report; smoke: few tables; report: the latest run again"
    )
    rounds: int = Field(1, ge=1, le=1, description="always one: the draws are fixed")
    tables: int = Field(10_000, ge=100, description="simulated ablations a case")

    @property
    def simulated(self) -> int:
        return 500 if self.command == "smoke" else self.tables


def cases(seeds: int, claims: int) -> Iterator[tuple[str, Case, np.ndarray, tuple[Finding, ...]]]:
    """(what is planted, the case, the claims asked about, the findings asked for)."""
    first = np.arange(claims) == 0
    every = np.ones(claims, bool)
    yield "no effect", Case(seeds, (0.0,) * claims), every, (Finding.ABOVE, Finding.BELOW)
    if claims > 1:
        half = tuple(CERTAIN * (i < claims // 2) for i in range(claims))
        yield "half of the claims true", Case(seeds, half), np.array(half) == 0, (Finding.ABOVE,)
    for effect in EFFECTS:
        yield "one claim true", Case(seeds, (effect, *(0.0,) * (claims - 1))), first, (Finding.ABOVE,)
    yield "at the margin", Case(seeds, (-WIDE,) * claims, margin=WIDE), every, (Finding.INSIDE, Finding.BELOW)
    at_edge = Case(seeds, (-WIDE,) * claims, margin=WIDE, non_inferiority=True)
    yield "non-inferiority at the margin", at_edge, every, (Finding.ABOVE,)
    for margin in MARGINS:
        yield "truly the same", Case(seeds, (0.0,) * claims, margin=margin), first, (Finding.INSIDE,)


def simulate(seeds: int, claims: int, noise: str, tables: int) -> list[dict[str, Any]]:
    """The fields of measurements."""
    answers = []
    for number, (scheme, case, about, judged) in enumerate(cases(seeds, claims)):
        case = Case(case.seeds, case.effects, case.margin, case.non_inferiority, noise)
        results = findings(case, tables, seed=SAMPLE + number)
        fields = {"scheme": scheme, "size": noise, "round": 0, "seeds": seeds, "claims": claims, "tables": tables}
        fields |= {"effect_sds": case.effects[0], "margin_sds": case.margin, "machine": provenance.processor()}
        answers += [
            fields | {"asked": finding.name, "count": tables_with(results, finding, about).count} for finding in judged
        ]
    return answers


def run(settings: CalibrationSettings, store: SweepStore, console: Console) -> CalibrationRun:
    """Simulate every case and commit the rates as a new run."""
    tasks = [
        Task(f"{noise}, {claims} claims, {seeds} seeds", partial(simulate, seeds, claims, noise, settings.simulated))
        for noise in NOISES
        for claims in CLAIMS
        for seeds in SEEDS
    ]
    tasks += [
        Task(
            f"looks, {replicate}s, {claims} claims",
            partial(looks_calibration.simulate, replicate, claims, settings.simulated),
        )
        for replicate in looks_calibration.REPLICATES
        for claims in looks_calibration.CLAIMS
    ]
    return measuring.measure(
        CalibrationRun,
        Calibration,
        tasks,
        experiment=NAME,
        store=store,
        settings=settings.model_dump(mode="json") | {"alpha": ALPHA, "sample": SAMPLE},
        numerics={"device": "cpu", "dtype": "float64", "world_size": 1},
        console=console,
    )


Ask = Callable[..., Rate | None]


def percent(rate: Rate | None) -> str:
    """`2.4 [2.1, 2.7]`; a dash where nothing was simulated."""
    return "–" if rate is None else f"{100 * rate.value:.1f} [{100 * rate.low:.1f}, {100 * rate.high:.1f}]"


def errors_grid(done: CalibrationRun, noise: str) -> Grid:
    """Wrong verdicts, in any claim of a table."""
    rows = []
    for claims in CLAIMS:
        for seeds in SEEDS:
            ask: Ask = partial(done.rate, size=noise, claims=claims, seeds=seeds)
            wrong = [
                ask("no effect"),
                ask("half of the claims true"),
                ask("no effect", "BELOW"),
                ask("at the margin", "BELOW"),
                ask("at the margin", "INSIDE"),
                ask("non-inferiority at the margin"),
            ]
            worst = max((rate.low for rate in wrong if rate), default=0.0)
            outcome = "within" if worst <= ALPHA else "ABOVE"
            rows.append([str(claims), str(seeds), *map(percent, wrong), f"{outcome} {100 * ALPHA:g} %"])
    heads = ["claims", "seeds", "REPRODUCED, no effect", "REPRODUCED of the false half", "CONTRADICTED, no effect"]
    heads += ["CONTRADICTED at −δ", "EQUIVALENT at −δ", "not worse, at −δ", "each"]
    return f"Tables with a wrong verdict, % [95 % CI], {noise} noise", heads, rows


def power_grid(done: CalibrationRun, noise: str) -> Grid:
    """How often a true claim among false ones is found."""
    rows = []
    for claims in CLAIMS:
        for seeds in SEEDS:
            ask = partial(done.rate, "one claim true", size=noise, claims=claims, seeds=seeds)
            cells = [f"{100 * rate.value:.0f}" if (rate := ask(effect_sds=d)) else "–" for d in EFFECTS]
            rows.append([str(claims), str(seeds), *cells, f"{detectable_in_sds(seeds, claims=claims):.2f}"])
    heads = ["claims", "seeds", *(f"{effect:g} SD" for effect in EFFECTS), "80 % by `plan` (SD)"]
    return f"REPRODUCED where one claim is true, %, {noise} noise", heads, rows


def same_grid(done: CalibrationRun, noise: str) -> Grid:
    """How often two arms that are the same are called EQUIVALENT."""
    rows = []
    for claims in CLAIMS:
        for seeds in SEEDS:
            ask = partial(done.rate, "truly the same", "INSIDE", size=noise, claims=claims, seeds=seeds)
            cells = [f"{100 * rate.value:.0f}" if (rate := ask(margin_sds=m)) else "–" for m in MARGINS]
            rows.append([str(claims), str(seeds), *cells])
    return (
        f"EQUIVALENT where nothing differs, %, by margin, {noise} noise",
        ["claims", "seeds", *(f"δ = {margin:g} SD" for margin in MARGINS)],
        rows,
    )


def show(done: CalibrationRun, store: SweepStore, console: Console) -> None:
    """Print the grids and write the report."""
    grids = [errors_grid(done, noise) for noise in NOISES]
    grids += [power_grid(done, noise) for noise in ("normal", "heavy", "skewed")]
    grids.append(same_grid(done, "normal"))
    grids.append(looks_calibration.errors_grid(done.rate, percent))
    grids.append(looks_calibration.power_grid(done.rate, done.replicates))
    tables = done.rows[0].tables
    notes = [
        f"{tables:,} simulated ablations a case, judged as real ones are (paired t over seeds, Holm over the claims, "
        f"α = {ALPHA:g} two-sided, so that {100 * ALPHA / 2:g} % is the most in one direction). A table counts as "
        "wrong when any claim asked about is. "
        f"At −δ: every true difference lies exactly on the margin, {WIDE:g} SDs wide, where the tests err most.",
        "normal: what the t test assumes, claims independent. shared: every claim compares the same arm with another. "
        "heavy: the same with arms of Student's t, 3 degrees of freedom. skewed: the claimed arm collapses for some "
        "seeds (an exponential tail) and the other never does. Then the t test is wrong at any of these numbers of "
        "seeds: look at the seeds of an arm before believing its verdict.",
        looks_calibration.NOTE,
    ]
    curves = {
        (noise, claims): {
            seeds: [
                (d, rate.value)
                for d in EFFECTS
                if (rate := done.rate("one claim true", size=noise, claims=claims, seeds=seeds, effect_sds=d))
            ]
            for seeds in SEEDS
        }
        for noise in ("normal", "heavy")
        for claims in CLAIMS
    }
    picture = power_curves.power_figure(curves)
    measurement_report.show_report(store, done, TITLE, QUESTION, grids, notes, picture, console)


def main(settings: CalibrationSettings) -> int:
    """The exit code: see `measuring.main`."""
    return measuring.main(settings, NAME, CalibrationRun, work=list, run=partial(run, settings), show=show)


if __name__ == "__main__":
    raise SystemExit(main(experiment_file.settings(CalibrationSettings)))
