"""The findings of `swimlab doctor` on annotation files and videos.

`DoctorFindings` is the JSON beside the report. The examination is in `examination.py`; text and page are in
`swimlab.report.doctor_text` and `swimlab.report.doctor_page`.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from scipy import stats

from swim.recipe import FramePolicy, Frozen
from swimlab.data.doctor.examination import Examination
from swimlab.data.doctor.row_checks import ROWS_IN, STATES, InspectionConfig
from swimlab.data.doctor.scenes import Case
from swimlab.data.doctor.tally import EDGES, Tally
from swimlab.data.doctor.video_checks import DecodeTrial
from swimlab.data.rejected_rows import BrokenRow

MOST_LABELS = 30
MOST_REASONS = 200
CONFIDENCE = 0.95
COUNTED = (
    "encoding",
    "mask size",
    "noun",
    "special token",
    "caution",
    "video",
    "access",
    "frame rate",
    "video size",
)


class FileSeen(Frozen):
    """An annotation file. `problem` says why it could not be read to its end; `rows` counts those before."""

    file: str
    size_bytes: int
    rows: int
    problem: str = ""


class Reason(Frozen):
    """Why rows are broken; reasons that differ in numbers and names alone are one."""

    reason: str
    rows: int
    examples: tuple[BrokenRow, ...]


class Range(Frozen):
    """An estimate and its 95 % interval (None for a single trial)."""

    low: float | None
    mean: float
    high: float | None

    def scaled(self, by: float) -> Range:
        """The estimate multiplied by a factor."""
        low, high = (None if end is None else end * by for end in (self.low, self.high))
        return Range(low=low, mean=self.mean * by, high=high)


class ClipSummary(Frozen):
    """The clips that the rows become under the frame policy. `by_masks`: the videos were not examined, so each is taken
    to be as large as its row's masks and long enough; rows without masks are then not counted in `clips`."""

    by_masks: bool
    clips: int
    frames: int
    tokens: int
    raw_bytes: int


class DecodeCost(Frozen):
    """From `tried` rows, of which `failed` could not be decoded. `frames_per_s` of one core; `core_hours` and
    `stored_bytes` of all clips."""

    tried: int
    failed: int
    frames_per_s: Range
    core_hours: Range
    stored_bytes: Range
    errors: tuple[str, ...] = ()


class DoctorFindings(Frozen):
    """All content of the report. `kinds` are rows by format and state; `histograms` map lower edges to counts; `counts`
    hold the commonest labels of each subject, `distinct` how many labels there are; `cases` are the rows that are
    drawn, the worst first; `positions` are those of the recipe's model, None where its tokenizer is not on this machine
    and text tokens are not counted."""

    schema_version: int = 2
    name: str
    files: tuple[FileSeen, ...]
    videos: str | None
    recipe: str
    frames: FramePolicy
    formats: tuple[str, ...]
    positions: int | None = None
    rows: int
    kinds: dict[str, dict[str, int]]
    reasons: tuple[Reason, ...]
    histograms: dict[str, dict[int, int]]
    counts: dict[str, dict[str, int]]
    distinct: dict[str, int]
    totals: dict[str, int]
    clips: ClipSummary | None
    decode: DecodeCost | None
    cases: tuple[Case, ...]
    broken_files: tuple[str, ...]

    def state(self, state: str) -> int:
        """Rows in a state, of all kinds."""
        return sum(states.get(state, 0) for states in self.kinds.values())

    @property
    def problems(self) -> tuple[FileSeen, ...]:
        """The files that could not be read to their end."""
        return tuple(file for file in self.files if file.problem)


def findings(exam: InspectionConfig, outcome: Examination, *, name: str, recipe: str) -> DoctorFindings:
    """The findings of an examination."""
    tally = outcome.tally
    kinds: dict[str, dict[str, int]] = {}
    for state in STATES:
        for kind, rows in tally.most(state, len(tally.counts[state])).items():
            if rows:
                kinds.setdefault(kind, {})[state] = rows
    clips = _clips(exam, tally)
    return DoctorFindings(
        name=name,
        files=tuple(
            FileSeen(
                file=file,
                size_bytes=outcome.sizes.get(file, 0),
                rows=tally.totals[f"{ROWS_IN}{file}"],
                problem=outcome.problems.get(file, ""),
            )
            for file in exam.annotations
        ),
        videos=exam.videos,
        recipe=recipe,
        frames=exam.frames,
        formats=exam.formats,
        positions=exam.context.positions if exam.context else None,
        rows=tally.totals["rows"],
        kinds=dict(sorted(kinds.items(), key=lambda item: (-sum(item[1].values()), item[0]))),
        reasons=tuple(
            Reason(reason=reason, rows=rows, examples=tuple(tally.examples.get(reason, ())))
            for reason, rows in tally.most("reason", MOST_REASONS).items()
        ),
        histograms={subject: tally.histogram(subject) for subject in EDGES},
        counts={subject: tally.most(subject, MOST_LABELS) for subject in COUNTED},
        distinct={subject: len(tally.counts[subject]) for subject in (*COUNTED, "reason")}
        | {"video": len(tally.videos)},
        totals={name: n for name, n in sorted(tally.totals.items()) if not name.startswith(ROWS_IN)},
        clips=clips,
        decode=decode_cost(outcome.trials, clips) if clips and outcome.trials else None,
        cases=tuple(scene.case for scene in outcome.scenes),
        broken_files=tuple(outcome.broken_files),
    )


def _clips(exam: InspectionConfig, tally: Tally) -> ClipSummary | None:
    totals = tally.totals
    if not totals["clips"]:
        return None
    return ClipSummary(
        by_masks=exam.videos is None,
        clips=totals["clips"],
        frames=totals["clip frames"],
        tokens=totals["tokens"],
        raw_bytes=totals["clip bytes"],
    )


def decode_cost(trials: Sequence[DecodeTrial], clips: ClipSummary) -> DecodeCost | None:
    """Estimated cost of decoding all clips, from the trials; None when no trial could be decoded."""
    done = [trial for trial in trials if not trial.error]
    if not done:
        return None
    return DecodeCost(
        tried=len(trials),
        failed=len(trials) - len(done),
        frames_per_s=_range([trial.frames / trial.seconds for trial in done]),
        core_hours=_range([trial.seconds for trial in done]).scaled(clips.clips / 3600),
        stored_bytes=_range([trial.bytes_stored / trial.bytes_raw for trial in done]).scaled(clips.raw_bytes),
        errors=tuple(trial.error for trial in trials if trial.error),
    )


def _range(values: Sequence[float]) -> Range:
    """Mean and its Student-t interval, which does not go below 0."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return Range(low=None, mean=mean, high=None)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
    return Range(low=max(mean - half, 0.0), mean=mean, high=mean + half)


def failed(result: DoctorFindings, max_broken_share: float) -> bool:
    """Whether the check failed: a file could not be read to its end, or too many rows are broken."""
    return bool(result.problems) or not result.rows or result.state("broken") > max_broken_share * result.rows
