"""What the GPU check has measured so far, in one JSON file that is whole after every value, and its bars."""

from __future__ import annotations

import json
import math
import os
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swimlab.experiment.cards import CARDS
from swimlab.stats.intervals import interval

PEAK_FLOPS = CARDS["H200"].flops_per_s  # an H100's, too


class Results:
    """Values by part and name, written to `path` as they come, so that a run that is cut keeps what it had."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.facts: dict[str, Any] = {"rows": [], "failures": []}
        if path.exists():
            self.facts = json.loads(path.read_text())

    def note(self, **facts: Any) -> None:
        """Facts about the whole run."""
        self.facts |= facts
        self._write()

    def add(self, part: str, name: str, unit: str, value: float, **facts: Any) -> None:
        """One more value (a round, a step) of a quantity. `facts` belong to the quantity."""
        row = self.row(part, name)
        if row is None:
            row = {"part": part, "name": name, "unit": unit, "values": []}
            self.facts["rows"].append(row)
        row["values"].append(value)
        row |= facts
        row |= summary(row["values"])
        self._write()

    def fail(self, part: str, error: str) -> None:
        """Something that could not be measured, and why."""
        self.facts["failures"].append({"part": part, "error": error})
        self._write()

    def row(self, part: str, name: str) -> dict[str, Any] | None:
        """The row of a quantity, None where nothing was measured."""
        rows = (row for row in self.facts["rows"] if (row["part"], row["name"]) == (part, name))
        return next(rows, None)

    def values(self, part: str, name: str) -> list[float]:
        """Its values, none where nothing was measured."""
        row = self.row(part, name)
        return row["values"] if row else []

    def _write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        whole = self.path.with_suffix(".tmp")
        whole.write_text(json.dumps(self.facts, indent=1))
        os.replace(whole, self.path)


def summary(values: list[float]) -> dict[str, float | None]:
    """Median, spread (standard deviation) and the 95 % t interval of the mean."""
    if not all(map(math.isfinite, values)):
        return {"median": None, "spread": None, "low": None, "high": None}
    of = interval(values)
    return {"median": statistics.median(values), "spread": of.sd, "low": of.low, "high": of.high}


def derive(results: Results, step_flops: float) -> None:
    """Quantities that follow from the measured ones: paired ratios to plain SFT, round by round, and MFU."""
    for kind in ("", "peak "):
        for name in ("small masks", "large masks"):
            pairs = zip(
                results.values("overhead", f"{kind}{name}"), results.values("overhead", f"{kind}sft"), strict=False
            )
            for value, base in pairs:
                results.add("overhead", f"{kind}{name} ÷ sft", "", value / base)
    for took_s in results.values("masters", "step, features given"):
        results.add("masters", "mfu, features given", "%", step_flops / took_s / PEAK_FLOPS * 100)


@dataclass(frozen=True)
class Bar:
    """What a quantity has to reach: its whole 95 % interval on the right side of `limit`, or (`every`) every value."""

    text: str
    part: str
    name: str
    limit: float
    most: bool = True
    every: bool = False

    def judge(self, results: Results) -> dict[str, Any]:
        """The bar with what was measured and a verdict: met, not met, undecided (the interval holds the limit, or
        there is none) or open (not measured)."""
        row = results.row(self.part, self.name)
        sign = 1 if self.most else -1
        judged = {"bar": f"{self.text} {'≤' if self.most else '≥'} {self.limit}", "median": None, "low": None}
        judged |= {"high": None, "n": 0, "verdict": "open"}
        if row is None or row["median"] is None:
            return judged
        judged |= {name: row[name] for name in ("median", "low", "high")} | {"n": len(row["values"])}
        if self.every or row["low"] is None:
            ends = min(row["values"]), max(row["values"])
        else:
            ends = row["low"], row["high"]
        worst, best = max(sign * end for end in ends), min(sign * end for end in ends)
        if not self.every and row["low"] is None:
            verdict = "undecided"
        else:
            within, beyond = worst <= sign * self.limit, best > sign * self.limit
            verdict = "met" if within else "not met" if beyond or self.every else "undecided"
        return judged | {"verdict": verdict}


BARS = (
    Bar("a conversation with the tower, fp32 + autocast, s", "autocast", "step", 1.12),
    Bar("a conversation with the tower, bf16 + masters, s", "masters", "step", 1.12),
    Bar("MFU with given features, bf16 + masters, %", "masters", "mfu, features given", 45, most=False),
    Bar("peak, fp32 + autocast, GB", "autocast", "peak", 141, every=True),
    Bar("peak, bf16 + masters, GB", "masters", "peak", 141, every=True),
    Bar("time of supervision ÷ SFT, 8 maps at 360p", "overhead", "small masks ÷ sft", 1.02),
    Bar("time of supervision ÷ SFT, 32 maps at 1080p", "overhead", "large masks ÷ sft", 1.02),
    Bar("peak of supervision ÷ SFT, 8 maps at 360p", "overhead", "peak small masks ÷ sft", 1.01, every=True),
    Bar("peak of supervision ÷ SFT, 32 maps at 1080p", "overhead", "peak large masks ÷ sft", 1.01, every=True),
)


def table(results: Results) -> str:
    """Everything measured, then the bars, as text."""

    def number(value: float | None) -> str:
        return "-" if value is None else f"{value:.4g}"

    lines = [f"{'part':10} {'quantity':46} {'n':>3} {'median':>9} {'spread':>9} {'95 % interval':>21}  unit"]
    for row in results.facts["rows"]:
        between = f"[{number(row['low'])}, {number(row['high'])}]"
        numbers = f"{len(row['values']):3} {number(row['median']):>9} {number(row['spread']):>9} {between:>21}"
        unchecked = f" ({row['unchecked']} layers unchecked)" if "unchecked" in row else ""
        lines.append(f"{row['part']:10} {row['name']:46} {numbers}  {row['unit']}{unchecked}")
    lines += [f"FAILED     {failure['part']}: {failure['error']}" for failure in results.facts["failures"]]
    lines.append("")
    for judged in results.facts.get("bars", ()):
        between = f"{number(judged['median'])} [{number(judged['low'])}, {number(judged['high'])}]"
        lines.append(f"{judged['verdict']:9} {judged['bar']:56} {between} n={judged['n']}")
    return "\n".join(lines)
