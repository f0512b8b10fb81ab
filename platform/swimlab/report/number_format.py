"""How numbers are written, one rule for the page, Markdown and the terminal."""

from collections.abc import Iterable

from swimlab.stats.intervals import Interval
from swimlab.stats.verdicts import JudgedClaim, Verdict

NO_VALUE = "–"


def number(value: float | None, signed: bool = False) -> str:
    """Three decimals below 10, fewer above; a true minus sign; a dash for None."""
    if value is None:
        return NO_VALUE
    digits = 3 if abs(value) < 10 else 2 if abs(value) < 100 else 1
    return f"{value:{'+' if signed else ''}.{digits}f}".replace("-", "−")


def decimals(values: Iterable[float]) -> int:
    """The most digits after the point that any of the values is written with."""
    return max((len(f"{value:g}".partition(".")[2]) for value in values), default=0)


def as_printed(value: float | None, digits: int) -> str:
    """The paper's own digits: as many after the point as its column has."""
    return NO_VALUE if value is None else f"{value:.{digits}f}".replace("-", "−")


def mean_ci(seen: Interval | None, signed: bool = False) -> str:
    """`mean ± half-width` of the 95 % interval; a dash where one seed has none."""
    if seen is None:
        return NO_VALUE
    if seen.high is None:
        return f"{number(seen.mean, signed)} ± {NO_VALUE}"
    return f"{number(seen.mean, signed)} ± {number(seen.high - seen.mean)}"


def p_value(p: float | None) -> str:
    if p is None:
        return NO_VALUE
    return "< .001" if p < 0.001 else f"{p:.3f}".removeprefix("0")


def duration(seconds: float) -> str:
    """`4.2 s`, `42 s`, `7.1 min`, `3.2 h`."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def seeds_needed(outcome: JudgedClaim) -> str:
    """The seeds column of a claim: only an open question has one."""
    if outcome.verdict is not Verdict.UNDERPOWERED:
        return NO_VALUE
    if len(outcome.evidence.differences) < 2:
        return "at least 2"  # no spread yet, so no estimate
    return f"≈ {outcome.seeds_needed}" if outcome.seeds_needed else "out of reach"


def moment(iso: str) -> str:
    """`2026-01-05 10:00 UTC` of a time as records hold it; a dash for none."""
    return f"{iso[:10]} {iso[11:16]} UTC" if iso else NO_VALUE


def short(value: object, signs: int) -> str:
    """A recipe's value that would not fit under an arm's name, cut at its end."""
    text = str(value)
    return text if len(text) <= signs else f"{text[: signs - 1]}…"
