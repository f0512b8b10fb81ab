"""What the findings say in words: the verdict, what to do next, and one line a subject. The page, Markdown and the
terminal share them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from swimlab.data.doctor.findings import Findings, Range
from swimlab.data.doctor.tally import EDGES, MAX_LABELS, shown
from swimlab.report.number_format import duration

AREA_CLASSES = {
    "small (under 1 %)": (0, 10_000),
    "medium (1 to 10 %)": (10_000, 100_000),
    "large (over 10 %)": (100_000, 10**6 + 1),
}
_UNITS = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


def size(n: float) -> str:
    """`5.1 GB`."""
    for unit, name in _UNITS:
        if n >= unit:
            return f"{n / unit:.3g} {name}"
    return f"{n:.0f} bytes"


def count(n: float) -> str:
    """`1,234,567`; from 10 million on `12.3 million`."""
    if n >= 10_000_000:
        return f"{n / 1e6:,.1f} million" if n < 1e9 else f"{n / 1e9:,.2f} billion"
    return f"{n:,.0f}"


def share(n: int, of: int) -> str:
    """Percent, exact at its ends: 100 % and 0 % are said of all and none only."""
    if not of or n == 0 or n == of:
        return "100 %" if n and n == of else "0 %"
    percent = 100 * n / of
    if percent < 0.1:
        return "< 0.1 %"
    return "> 99.9 %" if percent > 99.9 else f"{percent:.1f} %"


def rows(n: int) -> str:
    """`1 row`, `2 rows`."""
    return f"{count(n)} row{'' if n == 1 else 's'}"


def spread(seen: Range, say: Callable[[float], str]) -> str:
    """`12 (95 %: 10 to 14)`."""
    if seen.low is None or seen.high is None:
        return f"{say(seen.mean)} (one trial: no spread)"
    return f"{say(seen.mean)} (95 %: {say(seen.low)} to {say(seen.high)})"


def verdict(found: Findings) -> str:
    """The answer in one sentence or two."""
    usable, broken = found.state("usable"), found.state("broken")
    if not found.rows:
        return "No row could be read."
    text = f"{count(usable)} of {rows(found.rows)} ({share(usable, found.rows)}) can be trained on as they are"
    if found.videos is None and usable:
        text += ", if their videos are all right"
    others = [
        f"{count(n)} {what}"
        for n, what in (
            (found.state("to rewrite"), "need rewriting"),
            (found.state("for evaluation"), "are for evaluation"),
            (broken, f"({share(broken, found.rows)}) are broken" if broken else ""),
        )
        if n
    ]
    text = f"{text}; {', '.join(others)}." if others else f"{text}."
    if found.problems:
        files = "1 file" if len(found.problems) == 1 else f"{len(found.problems)} files"
        text += f" {files} could not be read to the end: there is more than was counted."
    return text


def next_steps(found: Findings) -> list[str]:
    """What to do, in that order."""
    steps = [f"Mend {shown(file.file, 200)}: {shown(file.problem, 400)}" for file in found.problems]
    if found.reasons:
        first = found.reasons[0]
        hint = f" ({shown(first.examples[0].hint, 200)})" if first.examples else ""
        steps.append(f"Look at the broken rows, most of all at {shown(first.reason, 160)}, {rows(first.rows)}{hint}.")
    if missing := found.counts["video"].get("missing", 0):
        steps.append(f"Copy the {count(missing)} missing videos, or correct the paths or --videos.")
    if found.state("to rewrite"):
        steps.append("Rewrite the rows with <region> placeholders: experiments/build_nl_refer.py.")
    if found.videos is None and found.rows:
        steps.append("Give --videos DIR: nothing is known about the clips yet.")
    if not found.problems and found.state("usable"):
        step = f"Train on the {rows(found.state('usable'))} that are usable: experiments/train.py"
        if found.decode:
            step += f"; decoding everything takes about {duration(3600 * found.decode.core_hours.mean)} on one core"
        steps.append(f"{step}.")
    return steps


def lines(found: Findings) -> list[tuple[str, str]]:
    """(subject, what there is) for one screen."""
    said = [("masks", _masks(found)), ("encodings", _labels(found, "encoding", 6)), ("tags", _tags(found))]
    said += [("text", _text(found)), ("videos", _videos(found)), ("clips", _clips(found))]
    said.append(("decoding", _decoding(found)))
    said.append(("notice", "; ".join(f"{rows(n)}: {label}" for label, n in found.counts["caution"].items())))
    return [(subject, text) for subject, text in said if text]


def area_classes(found: Findings) -> dict[str, int]:
    """Masks that are not empty by their share of the picture."""
    seen = found.histograms["object area"]
    return {
        name: sum(n for edge, n in seen.items() if low <= edge < high) for name, (low, high) in AREA_CLASSES.items()
    }


def bin_labels(subject: str) -> list[str]:
    """The bins of a histogram in words: `3`, `4–5`, `32+`."""
    edges = EDGES[subject]
    if subject == "object area":
        return [f"{low / 1e4:g}–{high / 1e4:g}" for low, high in zip(edges, (*edges[1:], 10**6), strict=True)]
    labels = [str(low) if high == low + 1 else f"{_short(low)}–{_short(high - 1)}" for low, high in pairwise(edges)]
    return [*labels, f"{_short(edges[-1])}+"]


def _short(n: int) -> str:
    return f"{n / 1000:.3g}k" if n >= 10_000 else str(n)


def _labels(found: Findings, subject: str, most: int) -> str:
    seen = found.counts[subject]
    named = [f"{label} ({count(n)})" for label, n in list(seen.items())[:most]]
    if (more := found.distinct[subject] - len(named)) > 0:
        named.append(f"and {count(more)} more")
    return ", ".join(named)


def _masks(found: Findings) -> str:
    masks, objects = found.totals.get("masks", 0), found.totals.get("objects", 0)
    if not masks:
        return ""
    classes = ", ".join(f"{name} {share(n, masks)}" for name, n in area_classes(found).items())
    empty = found.totals.get("empty masks", 0)
    with_masks = found.totals["rows with masks"]
    return (
        f"{count(masks)} of {count(objects)} objects in {rows(with_masks)}, {masks / objects:.2g} an object; of the "
        f"picture: {classes}; {count(empty)} empty"
    )


def _tags(found: Findings) -> str:
    if not found.totals.get("tags"):
        return ""
    nouns = count(found.distinct["noun"])
    if found.distinct["noun"] >= MAX_LABELS:
        nouns = f"more than {nouns}"
    return f"{count(found.totals['tags'])} tags, {nouns} nouns: {_labels(found, 'noun', 10)}"


def _text(found: Findings) -> str:
    turns = sum(n for edge, n in found.histograms["turns a row"].items())
    if not turns:
        return ""
    several = turns - found.histograms["turns a row"][1]
    special = found.distinct["special token"]
    text = f"{count(found.totals['text characters'] / turns)} characters a row; {rows(several)} with more than one turn"
    return text + (f"; {special} kinds of special tokens: {_labels(found, 'special token', 5)}" if special else "")


def _videos(found: Findings) -> str:
    named = f"{count(found.distinct['video'])} named"
    if found.videos is None:
        return f"{named}; not looked at (--videos)"
    seen = found.counts["video"]
    states = ", ".join(f"{count(seen.get(state, 0))} {state}" for state in ("readable", "missing", "unreadable"))
    text = f"{named}: {states}"
    if slow := found.counts["access"].get("from the start only"):
        text += f"; {count(slow)} can only be decoded from the start (edit list, odd times, pictures)"
    if readable := seen.get("readable"):
        mean_s = found.totals.get("video milliseconds", 0) / 1000 / readable
        text += f"; {mean_s:.3g} s on average; frames/s {_labels(found, 'frame rate', 4)}"
        text += f"; size {_labels(found, 'video size', 4)}"
    return text


def _clips(found: Findings) -> str:
    clips = found.clips
    if clips is None:
        return ""
    text = (
        f"{count(clips.tokens)} visual tokens in {count(clips.clips)} clips, {count(clips.tokens / clips.clips)} each; "
        f"decoded and raw {size(clips.raw_bytes)}"
    )
    if clips.by_masks:
        return f"{text} (at most: videos as large as their masks and long enough; rows with masks only)"
    return text


def _decoding(found: Findings) -> str:
    cost = found.decode
    if cost is None:
        return ""
    speed = spread(cost.frames_per_s, lambda frames: f"{frames:.3g}")
    time = spread(cost.core_hours, lambda hours: duration(3600 * hours))
    text = (
        f"estimated from {rows(cost.tried - cost.failed)}: {speed} frames/s a core; all clips take {time} on one core "
        f"and {spread(cost.stored_bytes, size)} in the store"
    )
    if cost.failed:
        text += f"; {cost.failed} of {cost.tried} could not be decoded: {shown(cost.errors[0], 200)}"
    return text
