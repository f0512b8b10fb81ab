"""The findings in sentences: the verdict, what to do next, and one line a subject. The page, Markdown and the terminal
print the same ones."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from itertools import pairwise

from swimlab.data.doctor.findings import DoctorFindings, Range
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
    """Percent to one digit; 100 % and 0 % stand for all and none only."""
    if not of or n == 0 or n == of:
        return "100 %" if n and n == of else "0 %"
    percent = 100 * n / of
    if percent < 0.1:
        return "< 0.1 %"
    return "> 99.9 %" if percent > 99.9 else f"{percent:.1f} %"


def rows(n: int) -> str:
    """`1 row`, `2 rows`."""
    return f"{count(n)} row{'' if n == 1 else 's'}"


def spread(estimate: Range, printed: Callable[[float], str]) -> str:
    """`12 (95 %: 10 to 14)`; `printed` writes one number."""
    if estimate.low is None or estimate.high is None:
        return f"{printed(estimate.mean)} (one trial: no spread)"
    return f"{printed(estimate.mean)} (95 %: {printed(estimate.low)} to {printed(estimate.high)})"


def verdict(findings: DoctorFindings) -> str:
    """How many rows can be trained on, in one sentence or two."""
    usable, broken = findings.state("usable"), findings.state("broken")
    if not findings.rows:
        return "No row could be read."
    text = f"{count(usable)} of {rows(findings.rows)} ({share(usable, findings.rows)}) can be trained on as they are"
    if findings.videos is None and usable:
        text += ", if their videos are all right"
    remainder = [
        f"{count(n)} {state}"
        for n, state in (
            (findings.state("to rewrite"), "need rewriting"),
            (findings.state("for evaluation"), "are for evaluation"),
            (broken, f"({share(broken, findings.rows)}) are broken" if broken else ""),
        )
        if n
    ]
    text = f"{text}; {', '.join(remainder)}." if remainder else f"{text}."
    if findings.problems:
        files = "1 file" if len(findings.problems) == 1 else f"{len(findings.problems)} files"
        text += f" {files} could not be read to the end: they hold more rows than were counted."
    return text


def next_steps(findings: DoctorFindings) -> list[str]:
    """What to do next, as sentences in order."""
    steps = [f"Repair {shown(file.file, 200)}: {shown(file.problem, 400)}" for file in findings.problems]
    if findings.reasons:
        first = findings.reasons[0]
        hint = f" ({shown(first.examples[0].hint, 200)})" if first.examples else ""
        steps.append(f"Look at the broken rows, most of all at {shown(first.reason, 160)}, {rows(first.rows)}{hint}.")
    if missing := findings.counts["video"].get("missing", 0):
        steps.append(f"Copy the {count(missing)} missing videos, or correct the paths or --videos.")
    if findings.state("to rewrite"):
        steps.append("Rewrite the rows with <region> placeholders: experiments/build_nl_refer.py.")
    if findings.videos is None and findings.rows:
        steps.append("Give --videos DIR: without it nothing is known about the clips.")
    if not findings.problems and findings.state("usable"):
        step = f"Train on the {rows(findings.state('usable'))} that are usable: experiments/train.py"
        if findings.decode:
            step += f"; decoding everything takes about {duration(3600 * findings.decode.core_hours.mean)} on one core"
        steps.append(f"{step}.")
    return steps


def command(findings: DoctorFindings, store_uri: str) -> str:
    """The shell command to run next, with the names of these files: it plans the training, or prints the broken rows
    where there is nothing to train on yet."""
    if findings.problems or not findings.state("usable"):
        if not findings.reasons:
            return "swimlab doctor --help"
        file = f"{store_uri}/reports/doctor/{findings.name}/{findings.broken_files[0]}"
        return shlex.join(["python", "-c", f"import pandas; print(pandas.read_parquet({file!r}).to_string())"])
    names = [file.file for file in findings.files]
    plain = names[0] if len(names) == 1 and not set(names[0]) & set("[]{},\"'") else json.dumps(names)
    flags = ["--annotations", plain]
    if findings.videos is not None:
        flags += ["--videos", findings.videos]
    return shlex.join(["python", "experiments/train.py", "plan", *flags, "--store", store_uri])


def lines(findings: DoctorFindings) -> list[tuple[str, str]]:
    """(subject, sentence) pairs for one screen; subjects without content are left out."""
    entries = [("masks", _masks(findings)), ("encodings", _labels(findings, "encoding", 6)), ("tags", _tags(findings))]
    entries += [("text", _text(findings)), ("videos", _videos(findings)), ("clips", _clips(findings))]
    entries.append(("decoding", _decoding(findings)))
    entries.append(("notice", "; ".join(f"{rows(n)}: {label}" for label, n in findings.counts["caution"].items())))
    return [(subject, text) for subject, text in entries if text]


def area_classes(findings: DoctorFindings) -> dict[str, int]:
    """Number of non-empty masks by their share of the picture."""
    histogram = findings.histograms["object area"]
    return {
        name: sum(n for edge, n in histogram.items() if low <= edge < high)
        for name, (low, high) in AREA_CLASSES.items()
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


def _labels(findings: DoctorFindings, subject: str, most: int) -> str:
    counts = findings.counts[subject]
    named = [f"{label} ({count(n)})" for label, n in list(counts.items())[:most]]
    if (more := findings.distinct[subject] - len(named)) > 0:
        named.append(f"and {count(more)} more")
    return ", ".join(named)


def _masks(findings: DoctorFindings) -> str:
    masks, objects = findings.totals.get("masks", 0), findings.totals.get("objects", 0)
    if not masks:
        return ""
    classes = ", ".join(f"{name} {share(n, masks)}" for name, n in area_classes(findings).items())
    empty = findings.totals.get("empty masks", 0)
    with_masks = findings.totals["rows with masks"]
    return (
        f"{count(masks)} of {count(objects)} objects in {rows(with_masks)}, {masks / objects:.2g} an object; of the "
        f"picture: {classes}; {count(empty)} empty"
    )


def _tags(findings: DoctorFindings) -> str:
    if not findings.totals.get("tags"):
        return ""
    nouns = count(findings.distinct["noun"])
    if findings.distinct["noun"] >= MAX_LABELS:
        nouns = f"more than {nouns}"
    return f"{count(findings.totals['tags'])} tags, {nouns} nouns: {_labels(findings, 'noun', 10)}"


def _text(findings: DoctorFindings) -> str:
    turns = sum(n for edge, n in findings.histograms["turns a row"].items())
    if not turns:
        return ""
    several = turns - findings.histograms["turns a row"][1]
    special = findings.distinct["special token"]
    text = (
        f"{count(findings.totals['text characters'] / turns)} characters a row; {rows(several)} with more than one turn"
    )
    if findings.positions is None:
        text += f"; text tokens not counted: the tokenizer of {findings.recipe} is not on this machine (see --recipe)"
    else:
        tokens = count(findings.totals.get("text tokens", 0) / turns)
        text += f"; {tokens} text tokens a row, of {count(findings.positions)} positions of the model"
    return text + (f"; {special} kinds of special tokens: {_labels(findings, 'special token', 5)}" if special else "")


def _videos(findings: DoctorFindings) -> str:
    named = f"{count(findings.distinct['video'])} named"
    if findings.videos is None:
        return f"{named}; not examined (--videos)"
    videos = findings.counts["video"]
    states = ", ".join(f"{count(videos.get(state, 0))} {state}" for state in ("readable", "missing", "unreadable"))
    text = f"{named}: {states}"
    if slow := findings.counts["access"].get("from the start only"):
        text += f"; {count(slow)} can only be decoded from the start (edit list, odd times, pictures)"
    if readable := videos.get("readable"):
        mean_s = findings.totals.get("video milliseconds", 0) / 1000 / readable
        text += f"; {mean_s:.3g} s on average; frames/s {_labels(findings, 'frame rate', 4)}"
        text += f"; size {_labels(findings, 'video size', 4)}"
    return text


def _clips(findings: DoctorFindings) -> str:
    clips = findings.clips
    if clips is None:
        return ""
    text = (
        f"{count(clips.tokens)} visual tokens in {count(clips.clips)} clips, {count(clips.tokens / clips.clips)} each; "
        f"decoded and raw {size(clips.raw_bytes)}"
    )
    if clips.by_masks:
        return f"{text} (at most: videos as large as their masks and long enough; rows with masks only)"
    return text


def _decoding(findings: DoctorFindings) -> str:
    cost = findings.decode
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
