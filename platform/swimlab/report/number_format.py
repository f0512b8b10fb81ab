"""How numbers are written on pages, in Markdown and in the terminal."""

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
    """The largest number of digits after the point among the values."""
    return max((len(f"{value:g}".partition(".")[2]) for value in values), default=0)


def as_printed(value: float | None, digits: int) -> str:
    """A number of the paper with the digits of its column; a dash for None."""
    return NO_VALUE if value is None else f"{value:.{digits}f}".replace("-", "−")


def mean_ci(interval: Interval | None, signed: bool = False) -> str:
    """`mean ± half-width` of the 95 % interval; a dash for what one seed cannot give."""
    if interval is None:
        return NO_VALUE
    if interval.high is None:
        return f"{number(interval.mean, signed)} ± {NO_VALUE}"
    return f"{number(interval.mean, signed)} ± {number(interval.high - interval.mean)}"


def p_value(p: float | None) -> str:
    if p is None:
        return NO_VALUE
    return "< .001" if p < 0.001 else f"{p:.3f}".removeprefix("0")


def duration(seconds: float) -> str:
    """`4.2 s`, `42 s`, `7.1 min`, `3.2 h`."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def throughput(tokens_per_s: float | None, mfu: float | None, unit: str = " tokens/s", between: str = ", ") -> str:
    """`7,420 tokens/s, MFU 37 %`; a dash for what was not measured."""
    if tokens_per_s is None:
        return NO_VALUE
    share = "" if mfu is None else f"{between}MFU {mfu:.0%}".replace("%", " %")
    return f"{tokens_per_s:,.0f}{unit}{share}"


def seeds_needed(outcome: JudgedClaim) -> str:
    """What would settle a claim: its next look, or the seeds of another run; a dash for one that is settled."""
    if outcome.verdict is not Verdict.UNDERPOWERED:
        return NO_VALUE
    if outcome.next_look is not None:
        return f"look {outcome.next_look}"
    if len(outcome.evidence.differences) < 2:
        return "at least 2"  # no spread yet, so no estimate
    return f"≈ {outcome.seeds_needed} new" if outcome.seeds_needed else "out of reach"


def moment(iso: str) -> str:
    """`2026-01-05 10:00 UTC` from an ISO 8601 time; a dash for ""."""
    return f"{iso[:10]} {iso[11:16]} UTC" if iso else NO_VALUE


def short(value: object, signs: int) -> str:
    """A value as text of at most `signs` characters, cut at its end."""
    text = str(value)
    return text if len(text) <= signs else f"{text[: signs - 1]}…"
