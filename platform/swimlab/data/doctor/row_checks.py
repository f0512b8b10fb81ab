"""Checks rows without their videos: one part of a file → a tally, the broken rows, and the requirements of each
readable row on its video (its claim)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, cast

import pyarrow as pa

from swim import registry
from swim.data.annotations.fields import RowFormat
from swim.data.annotations.samples import FORMATS, parse_row, sample_key
from swim.data.context import require_positions
from swim.data.rows.read import Part, read_part
from swim.data.types import DataError, ReferSample
from swim.data.video.frame_choice import frame_needs, smart_resize
from swim.recipe import FramePolicy, Frozen
from swimlab.data.context_limit import ContextLimit
from swimlab.data.doctor.cautions import RowNotes, note_masks
from swimlab.data.doctor.row_counts import add_clip, count_encodings, count_masks, count_texts
from swimlab.data.doctor.tally import MAX_LABEL_CHARS, Pick, Suspect, Tally, place_of, shown
from swimlab.data.rejected_rows import BrokenRow, valid_text

State = Literal["usable", "to rewrite", "for evaluation", "broken"]
TRAINED_ON: tuple[State, ...] = ("usable", "to rewrite")
STATES: tuple[State, ...] = ("usable", "to rewrite", "for evaluation", "broken")
UNREADABLE = "unreadable"
ROWS_IN = "rows in "
MAX_TEXT_CHARS = 1000
MAX_MEASURED_CHARS = 200
BY_CHANCE = "rows drawn by chance"

BROKEN_SCHEMA = pa.schema(
    [
        ("file", pa.string()),
        ("row", pa.int64()),
        ("key", pa.string()),
        ("kind", pa.string()),
        ("field", pa.string()),
        ("reason", pa.string()),
        ("hint", pa.string()),
    ]
)
CLAIM_SCHEMA = pa.schema(
    [
        ("place", pa.uint64()),  # of the video's name
        ("video", pa.string()),
        ("file", pa.string()),
        ("row", pa.int64()),
        ("key", pa.string()),
        ("kind", pa.string()),
        ("state", pa.string()),
        ("frames", pa.list_(pa.int64())),
        ("sizes", pa.list_(pa.int64())),  # height, width, height, width, …
        ("numbering", pa.string()),
        ("text_tokens", pa.int64()),
        ("part", pa.string()),
    ]
)


class InspectionConfig(Frozen):
    """What to examine: `videos` is a folder or s3:// prefix (None: rows only), `frames` and `formats` are
    those of the training set that the rows are to become, `context` is the limit of its model (None: text tokens are
    not counted), `decode` rows are decoded to estimate the cost of all."""

    annotations: tuple[str, ...]
    videos: str | None = None
    frames: FramePolicy = FramePolicy()
    formats: tuple[str, ...] = ("nl-refer", "llava-video")
    decode: int = 16
    context: ContextLimit | None = None


@dataclass
class Inspection:
    """The result of checking one part. `problem` says why reading stopped; empty when it did not."""

    tally: Tally = field(default_factory=Tally)
    broken: list[BrokenRow] = field(default_factory=list)
    claims: list[dict[str, Any]] = field(default_factory=list)
    problem: str = ""


def check_part(part: Part, exam: InspectionConfig) -> Inspection:
    """Reads and checks the rows of a part. Claims are collected only when videos are examined."""
    inspection = Inspection()
    part_json = part.model_dump_json()
    try:
        for row, raw in read_part(part):
            _check_row(raw, part.file, row, exam, inspection, part_json)
    except DataError as error:
        inspection.problem = stopped(error)
    return inspection


def _check_row(raw: Any, file: str, row: int, exam: InspectionConfig, inspection: Inspection, part: str) -> None:
    tally = inspection.tally
    tally.add("rows", 1)
    tally.add(f"{ROWS_IN}{file}", 1)
    count_encodings(raw, tally)
    try:
        sample = parse_row(raw, file=file, row=row)
    except (DataError, MemoryError) as expected:
        if isinstance(expected, MemoryError):
            raise  # a problem of the machine, not of the row
        kind = kind_of(raw)
        tally.count("broken", kind)
        key = sample_key(raw, file=file, row=row)
        note_broken(inspection, expected, file=file, row=row, key=key, kind=kind, part=part)
        return
    except Exception as unexpected:
        hint = "unexpected: try the row alone with swim.data.annotations.samples.parse_row, and please report it"
        error = DataError(f"{type(unexpected).__name__}: {unexpected}", field="row", hint=hint)
        tally.count("broken", UNREADABLE)
        key = sample_key(raw, file=file, row=row)
        note_broken(inspection, error, file=file, row=row, key=key, kind=UNREADABLE, part=part)
        return
    state = state_of(sample, exam.formats)
    text = exam.context.text_tokens(sample.turns) if exam.context else 0
    if exam.context and state in TRAINED_ON:
        try:
            require_positions(text, 0, exam.context.positions, sample.key)
        except DataError as error:
            tally.count("broken", sample.kind)
            note_broken(inspection, error, file=file, row=row, key=sample.key, kind=sample.kind, part=part)
            return
    tally.count(state, sample.kind)
    notes = RowNotes()
    notes(BY_CHANCE, 0, (), "")
    count_texts(sample, tally, notes)
    if exam.context:
        tally.bin("text tokens a row", text)
        tally.add("text tokens", text)
    count_masks(sample, tally)
    note_masks(sample, raw, exam.frames, notes)
    note_cautions(tally, notes, file=file, row=row, key=sample.key, part=part)
    place = place_of(sample.video)
    tally.video(place)
    if exam.videos:
        requirements = frame_needs(sample)
        inspection.claims.append(
            {
                "place": place,
                "video": sample.video,
                "file": file,
                "row": row,
                "key": sample.key,
                "kind": sample.kind,
                "state": state,
                "frames": list(requirements.frames),
                "sizes": [side for size in requirements.mask_sizes for side in size],
                "numbering": requirements.numbering,
                "text_tokens": text,
                "part": part,
            }
        )
    elif sizes := {(rle.height, rle.width) for track in sample.tracks for rle in track.values()}:
        _guess_tokens(max(sizes), exam, tally)


def _guess_tokens(size: tuple[int, int], exam: InspectionConfig, tally: Tally) -> None:
    """Estimate without the video: it is taken to be as large as the mask, and long enough."""
    try:
        height, width = smart_resize(*size, exam.frames)
    except DataError:
        return  # such a video is reported when videos are examined
    add_clip(exam.frames.max_frames, height, width, exam.frames, tally, exam.context)


def state_of(sample: ReferSample, formats: tuple[str, ...]) -> State:
    """How a readable row can be used. `formats` are those allowed in a training set."""
    if sample.kind not in (*formats, "videorefer"):
        return "for evaluation"
    return "to rewrite" if sample.marks == "region" else "usable"


def kind_of(raw: Any) -> str:
    """The format that a broken row was probably meant to have."""
    if not isinstance(raw, dict):
        return UNREADABLE
    claims = [name for name, entry in _formats().items() if entry.matches(raw)]
    return claims[0] if len(claims) == 1 else UNREADABLE


@cache
def _formats() -> dict[str, RowFormat]:
    return {name: cast(RowFormat, registry.load(FORMATS, name)) for name in registry.names(FORMATS)}


def note_broken(
    inspection: Inspection, error: DataError, *, file: str, row: int, key: str, kind: str, part: str
) -> None:
    """Count a broken row by its reason, add it to the table of broken rows, and offer it to be drawn."""
    entry = BrokenRow.of(error, file=file, row=row, key=key, max_chars=MAX_TEXT_CHARS, kind=kind)
    inspection.broken.append(entry)
    inspection.tally.add_broken(entry.group, entry)
    inspection.tally.suspect(
        Suspect(
            concern=shown(entry.group, 2 * MAX_LABEL_CHARS),
            severity=0,
            place=place_of(key),
            file=file,
            row=row,
            key=key,
            part=part,
            frames=_frames_named(entry),
            text=shown(f"{entry.field}: {entry.reason} ({entry.hint})", 2 * MAX_MEASURED_CHARS),
            broken=True,
        )
    )


def note_cautions(tally: Tally, notes: RowNotes, *, file: str, row: int, key: str, part: str) -> None:
    """Count the cautions about a row, and offer it to be drawn for each of them."""
    place = place_of(key)
    for label, (severity, frames, text) in notes.worst.items():
        if label != BY_CHANCE:
            tally.count("caution", label)
        if tally.wants(label, severity, place):
            tally.suspect(
                Suspect(
                    concern=label,
                    severity=severity,
                    place=place,
                    file=file,
                    row=row,
                    key=key,
                    part=part,
                    frames=frames,
                    text=shown(text, MAX_MEASURED_CHARS),
                )
            )


def _frames_named(entry: BrokenRow) -> tuple[int, ...]:
    """The frame that a broken row's error is about, where it names one."""
    named = re.search(r"\['(\d{1,9})'\]", entry.field) or re.search(r"frame (\d{1,9}) is annotated", entry.hint)
    return (int(named[1]),) if named else ()


def stopped(error: DataError) -> str:
    """Why a file could not be read further, without its name."""
    prefix = f"row {error.row}: " if error.row >= 0 else ""
    return valid_text(f"{prefix}{error.reason} ({error.hint})", MAX_TEXT_CHARS)


def picked(claim: dict[str, Any]) -> Pick:
    """The candidate for timed decoding that a claim gives."""
    return Pick(place=place_of(claim["key"]), key=claim["key"], row=claim["row"], part=claim["part"])
