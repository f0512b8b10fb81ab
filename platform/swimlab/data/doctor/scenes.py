"""The rows that the doctor draws: which ones, and their frames, masks, outlines and texts.

A refused row is read as far as it can be: what is wrong with it is seen best on its own frames. Only a few rows are
drawn, and of each a few small frames, so that neither time nor the size of the page grows with the data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swim.data.annotations.samples import parse_row
from swim.data.masks import encodings, polygon_units
from swim.data.rows.read import Part, read_part
from swim.data.types import DataError, ReferSample, Rle
from swim.data.video.decoder import Decoder
from swim.data.video.frame_choice import VideoInfo, by_number, smart_resize
from swim.data.video.numbering import positions
from swim.recipe import FramePolicy, Frozen
from swimlab.data.doctor import cautions
from swimlab.data.doctor.row_checks import BY_CHANCE
from swimlab.data.doctor.tally import MAX_LABEL_CHARS, Suspect, Tally, shown

PICTURE = FramePolicy(max_frames=4, min_pixels=16_384, max_pixels=320 * 180, cell_px=2)
DECODE_S = 60.0  # of one row's frames; a row that takes longer is drawn without them
MAX_OBJECTS = 8
SMALL_PX = 50
MAX_TEXT_CHARS = 400
REASONS, CASES_OF_A_REASON = 12, 1
CASES_OF_A_CAUTION = 2
CASES_BY_CHANCE = 4


class Case(Frozen):
    """A row that is drawn. `texts` are its turns with their tags, cut to length; `nouns` name its objects; `problem`
    says why there is no frame."""

    concern: str
    text: str
    broken: bool
    file: str
    row: int
    video: str
    nouns: tuple[str, ...]
    texts: tuple[str, ...]
    problem: str = ""


@dataclass(frozen=True)
class ScenePicture:
    """One frame: `title` says which; H × W × 3 pixels, grey where there is no video; of the objects (by number) the
    masks H × W, and the outlines as x, y in shares of the picture's sides, which may lie outside of it."""

    title: str
    frame_HWC: NDArray[np.uint8]
    masks: tuple[tuple[int, NDArray[np.bool_]], ...]
    outlines: tuple[tuple[int, NDArray[np.float64]], ...]


@dataclass(frozen=True)
class Scene:
    """A case and its pictures."""

    case: Case
    pictures: tuple[ScenePicture, ...]


def chosen(tally: Tally) -> list[Suspect]:
    """The rows to draw, the worst first: broken ones by reason, those with cautions, and some by chance."""
    rows: list[Suspect] = []
    reasons = [concern for concern, worst in tally.suspects.items() if worst[0].broken]
    for reason in sorted(reasons, key=lambda name: (-tally.counts["reason"][name], name))[:REASONS]:
        rows += tally.suspects[reason][:CASES_OF_A_REASON]
    for caution in cautions.WORST_FIRST:
        worst = tally.suspects.get(caution, [])
        # A row that is drawn already makes room for another one, unless there is none.
        rows += _others(worst, rows)[:CASES_OF_A_CAUTION] or worst[:1]
    return rows + _others(tally.suspects.get(BY_CHANCE, []), rows)[:CASES_BY_CHANCE]


def _others(suspects: Sequence[Suspect], drawn: Sequence[Suspect]) -> list[Suspect]:
    places = {(row.file, row.row) for row in drawn}
    return [suspect for suspect in suspects if (suspect.file, suspect.row) not in places]


def load_scene(suspect: Suspect, decoder: Decoder | None) -> Scene:
    """Reads a row again and decodes the frames that show it; `decoder` None: no videos were given."""
    part = Part.model_validate_json(suspect.part)
    try:
        raw = next(raw for row, raw in read_part(part) if row == suspect.row)
    except (DataError, StopIteration):
        return Scene(_case(suspect, "", (), (), "the file has changed since it was read"), ())
    try:
        sample = parse_row(raw, file=suspect.file, row=suspect.row)
    except Exception:  # whatever made the row a broken one
        sample = None
    return _draw(suspect, raw, sample, decoder)


def _draw(suspect: Suspect, raw: Any, sample: ReferSample | None, decoder: Decoder | None) -> Scene:
    video = sample.video if sample else _text(raw, "video")
    texts = [text for turn in sample.turns for text in (turn.human, turn.gpt)] if sample else _texts(raw)
    tracks = list(sample.tracks) if sample else _readable_tracks(raw)
    outlines: dict[tuple[int, int], list[NDArray[np.float64]]] = {}
    for number, frame, points_N2, (height, width) in cautions.outlines(raw):
        outlines.setdefault((number, frame), []).append(points_N2 / (width, height))
    annotated = sorted({frame for track in tracks for frame in track} | {frame for _, frame in outlines})
    frames = _frames(suspect.frames, annotated)
    size = next(((rle.height, rle.width) for track in tracks for rle in track.values()), (180, 320))
    decoded, info, problem = _decode(video, frames, decoder, sample, suspect)
    pictures = []
    if info and frames and cautions.stretch(size, (info.height, info.width)) > cautions.STRETCHED_SHARE:
        title = f"masks' own {size[0]} × {size[1]}"
        pictures.append(_picture(title, frames[0], _grey(size), tracks, {}))
    for frame in frames or sorted(decoded):
        frame_HWC = decoded.get(frame)
        if frame_HWC is None:
            frame_HWC = _grey(size)
        past = (
            f", past the end: {info.frames - 1} is shown" if info and not info.numbers and frame >= info.frames else ""
        )
        pictures.append(_picture(f"frame {frame}{past}", frame, frame_HWC, tracks, outlines))
    nouns = cautions.nouns_of(sample) if sample else cautions.tagged_nouns(texts)
    return Scene(_case(suspect, video, nouns, texts, problem, _measured(sample, nouns)), tuple(pictures))


def _picture(
    title: str,
    frame: int,
    frame_HWC: NDArray[np.uint8],
    tracks: Sequence[dict[int, Rle]],
    outlines: Mapping[tuple[int, int], list[NDArray[np.float64]]],
) -> ScenePicture:
    """A frame with its masks and outlines."""
    height, width = frame_HWC.shape[:2]
    return ScenePicture(
        title=title,
        frame_HWC=frame_HWC,
        masks=tuple(
            (number, _resized(track[frame], height, width))
            for number, track in enumerate(tracks[:MAX_OBJECTS])
            if frame in track
        ),
        outlines=tuple(
            (number, points_N2)
            for number in range(MAX_OBJECTS)
            for points_N2 in outlines.get((number, frame), [])[:MAX_OBJECTS]
        ),
    )


def _case(
    suspect: Suspect, video: str, nouns: Sequence[str], texts: Iterable[str], problem: str, measured: str = ""
) -> Case:
    return Case(
        concern=suspect.concern,
        text=suspect.text or measured,
        broken=suspect.broken,
        file=suspect.file,
        row=suspect.row,
        video=shown(video, 200),
        nouns=tuple(shown(noun) for noun in nouns[:MAX_OBJECTS]),
        texts=tuple(shown(text, MAX_TEXT_CHARS) for text in list(texts)[:6]),
        problem=shown(problem, MAX_TEXT_CHARS),
    )


def _measured(sample: ReferSample | None, nouns: Sequence[str]) -> str:
    """The objects of a row with their frames and sizes."""
    if sample is None:
        return ""
    objects = []
    for noun, track in list(zip(nouns, sample.tracks, strict=False))[:3]:
        shares = [f"{100 * encodings.area(rle) / (rle.height * rle.width):.2g} %" for rle in track.values()]
        frames = ", ".join(f"{frame} ({share})" for frame, share in list(zip(track, shares, strict=True))[:4])
        objects.append(f"{shown(noun, MAX_LABEL_CHARS)!r} in frames {frames}{', …' * (len(track) > 4)}")
    return "; ".join(objects) or "text only"


def _frames(first: Sequence[int], annotated: Sequence[int]) -> list[int]:
    """At most four frames, ascending: those that show the case, else some of the annotated ones, evenly."""
    frames = list(first[: PICTURE.max_frames]) or [
        annotated[i] for i in np.unique(np.linspace(0, len(annotated) - 1, 3).round().astype(int)) if annotated
    ]
    return sorted(frames)


def _decode(
    video: str, frames: Sequence[int], decoder: Decoder | None, row: ReferSample | None, suspect: Suspect
) -> tuple[dict[int, NDArray[np.uint8]], VideoInfo | None, str]:
    """Frame as the row calls it → picture, the video, and why there are none."""
    if decoder is None:
        return {}, None, "no --videos were given: masks are drawn on grey"
    try:
        info = decoder.probe(video)
        at = {frame: frame for frame in frames}
        if row and by_number(row.frames, decoder.policy):
            at = positions(set(frames), info.numbers)
        at = {frame: min(position, info.frames - 1) for frame, position in at.items()}
        whole = Rle(height=info.height, width=info.width, counts="")
        track = dict.fromkeys(at.values(), whole)
        place = {"key": suspect.key, "file": suspect.file, "row": suspect.row}
        clip = decoder.clip(ReferSample(**place, video=video, turns=(), tracks=(track,), frames="position"))
    except (DataError, OSError) as error:
        return {}, None, error.reason if isinstance(error, DataError) else str(error)
    decoded = dict(zip(clip.frame_indices, clip.frames_THWC, strict=True))
    if not frames:
        return {frame: decoded[frame] for frame in list(decoded)[:: max(1, len(decoded) - 1)]}, info, ""
    return {frame: decoded[position] for frame, position in at.items()}, info, ""


def _readable_tracks(raw: Any) -> list[dict[int, Rle]]:
    """The masks of a refused row that can be read, object by object."""
    tracks: list[dict[int, Rle]] = []
    annotation = raw.get("annotation") if isinstance(raw, dict) else None
    for entry in annotation[:MAX_OBJECTS] if isinstance(annotation, list) else ():
        track = {}
        for frame, value in list(entry.items())[:64] if isinstance(entry, dict) else ():
            segmentation = value.get("segmentation") if isinstance(value, dict) else None
            if segmentation is None or not (frame.isdecimal() and len(frame) < 10):
                continue
            try:
                size = cautions.picture_size(value, raw) or (None, None)
                segmentation = polygon_units.in_pixels(segmentation, cautions.polygon_units_of(raw), *size)
                track[int(frame)] = encodings.to_rle(segmentation, *size)
            except DataError:
                continue
        tracks.append(track)
    return tracks


def _texts(raw: Any) -> list[str]:
    turns = raw.get("conversations") if isinstance(raw, dict) else None
    return [_text(turn, "value") for turn in turns[:6]] if isinstance(turns, list) else []


def _text(raw: Any, field: str) -> str:
    value = raw.get(field) if isinstance(raw, dict) else None
    return value if isinstance(value, str) else ""


def _grey(size: tuple[int, int]) -> NDArray[np.uint8]:
    try:
        height, width = smart_resize(*size, PICTURE)
    except DataError:
        height, width = 180, 320
    return np.full((height, width, 3), 200, np.uint8)


def _resized(rle: Rle, height: int, width: int) -> NDArray[np.bool_]:
    """The mask at the size of a picture; of a small one every pixel that it touches, so that no mask vanishes."""
    share_HW = encodings.to_grid(rle, height, width)
    mask_HW: NDArray[np.bool_] = share_HW >= 0.5
    return mask_HW if mask_HW.sum() >= SMALL_PX else share_HW > 0
