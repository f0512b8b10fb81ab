"""The part of the calibration that is about replicates and looks: what is simulated, and its tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from simulated_ablations import CERTAIN, WIDE, Rate, tables_with
from simulated_looks import LooksCase, judged, replicates_used
from swim.worlds import Replicate
from swimlab.report.grids import Grid
from swimlab.stats.hypothesis_tests import Finding
from swimlab.stats.intervals import ALPHA
from swimlab.store import provenance

CLAIMS, BETWEEN = (1, 3, 12), (1.0, 3.0, 5.0)
REPLICATES: tuple[Replicate, ...] = ("world", "order")
LOOKS = (4, 8)
SCHEDULES = (LOOKS, (4,), (8,))  # the book's, and one look at as many
EFFECTS = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
MARGINS = (1.0, 2.0, 3.0, 4.0)
SAMPLE = 1017
PREFIX = "looks: "

# A rate of a scheme under some conditions, as `CalibrationRun.rate`.
Ask = Callable[..., Rate | None]


def cases(replicate: Replicate, claims: int) -> Iterator[tuple[str, LooksCase, np.ndarray, tuple[Finding, ...]]]:
    """(what is planted, the case, the claims asked about, the findings asked for)."""
    first, every = np.arange(claims) == 0, np.ones(claims, bool)
    none, half = (0.0,) * claims, tuple(CERTAIN * (i < claims // 2) for i in range(claims))
    for between in BETWEEN:
        yield "no effect", LooksCase(LOOKS, none, replicate, between), every, (Finding.ABOVE, Finding.BELOW)
        if claims > 1:
            yield "half true", LooksCase(LOOKS, half, replicate, between), np.array(half) == 0, (Finding.ABOVE,)
        edge = LooksCase(LOOKS, (-WIDE,) * claims, replicate, between, WIDE)
        yield "at the margin", edge, every, (Finding.INSIDE,)
    if replicate == "order":
        return  # what it finds is not what is claimed, so it has no power to compare
    for looks in SCHEDULES:
        for effect in EFFECTS:
            yield "one true", LooksCase(looks, (effect, *none[1:]), replicate), first, (Finding.ABOVE,)
        for margin in MARGINS:
            yield "the same", LooksCase(looks, none, replicate, margin=margin), first, (Finding.INSIDE,)


def simulate(replicate: Replicate, claims: int, tables: int) -> list[dict[str, Any]]:
    """The fields of measurements."""
    rows = []
    for number, (scheme, case, about, asked) in enumerate(cases(replicate, claims)):
        outcome = judged(case, tables, seed=SAMPLE + number)
        fields = {
            "scheme": PREFIX + scheme,
            "size": replicate,
            "round": 0,
            "seeds": case.looks[-1],
            "looks": case.looks,
            "between": case.between,
            "claims": claims,
            "tables": tables,
            "effect_sds": case.effects[0],
            "margin_sds": case.margin,
            "replicates": float(replicates_used(case, outcome)[:, about].mean()),
            "machine": provenance.processor(),
        }
        rows += [
            fields | {"asked": finding.name, "count": tables_with(outcome.finding, finding, about).count}
            for finding in asked
        ]
    return rows


def errors_grid(ask: Ask, percent: Callable[[Rate | None], str]) -> Grid:
    """Wrong verdicts in any claim of a table, by what is replicated."""
    rows = []
    for replicate in REPLICATES:
        for claims in CLAIMS:
            for between in BETWEEN:
                where = {"size": replicate, "claims": claims, "between": between}
                wrong = [
                    ask(f"{PREFIX}no effect", "ABOVE", **where),
                    ask(f"{PREFIX}half true", "ABOVE", **where),
                    ask(f"{PREFIX}no effect", "BELOW", **where),
                    ask(f"{PREFIX}at the margin", "INSIDE", **where),
                ]
                worst = max(rate.low for rate in wrong if rate)
                held = "within" if worst <= ALPHA / 2 else "ABOVE"
                cells = [f"{replicate}s", f"{between:g} ×", str(claims), *map(percent, wrong)]
                rows.append([*cells, f"{held} {100 * ALPHA / 2:g} %"])
    heads = ["replicates", "SD between bases ÷ orders", "claims", "REPRODUCED, no effect"]
    heads += ["REPRODUCED of the false half", "CONTRADICTED, no effect", "EQUIVALENT at −δ", "each"]
    at = " and ".join(map(str, LOOKS))
    return f"Tables with a wrong verdict, looks at {at}, % [95 % CI]", heads, rows


def power_grid(ask: Ask, used: Callable[..., float | None]) -> Grid:
    """How often a true claim among false ones is found, and how many worlds it took."""
    rows = []
    for claims in CLAIMS:
        for looks in SCHEDULES:
            where = {"size": "world", "claims": claims, "looks": looks}
            cells = []
            for effect in EFFECTS:
                rate = ask(f"{PREFIX}one true", "ABOVE", effect_sds=effect, **where)
                worlds = used(f"{PREFIX}one true", "ABOVE", effect_sds=effect, **where)
                shown = "–" if rate is None or worlds is None else f"{100 * rate.value:.0f} ({worlds:.1f})"
                cells.append(shown)
            same = [ask(f"{PREFIX}the same", "INSIDE", margin_sds=margin, **where) for margin in MARGINS]
            cells += ["–" if rate is None else f"{100 * rate.value:.0f}" for rate in same]
            rows.append([str(claims), " and ".join(map(str, looks)), *cells])
    heads = ["claims", "looks at", *(f"{effect:g} SD" for effect in EFFECTS), *(f"same, δ = {m:g} SD" for m in MARGINS)]
    return "REPRODUCED where one claim is true, % (worlds used), and EQUIVALENT where none differs, %", heads, rows


NOTE = (
    "worlds: a replicate draws data, model, base and order anew. orders: one base for all, so that the replicates "
    "agree on that base's effect, which is not the claimed one where effects differ between bases; the rule has no way "
    "to see it. Effects and margins are in SDs of a world's difference."
)
