"""Counts the contents of a row: mask encodings, masks, texts, tagged nouns, and the size of its clip."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from swim.data.annotations.markup import strip_tags
from swim.data.masks.encodings import area
from swim.data.types import ReferSample
from swim.recipe import FramePolicy
from swimlab.data.context_limit import ContextLimit
from swimlab.data.doctor.cautions import SPECIAL, TWICE, UNTAGGED, Note
from swimlab.data.doctor.tally import Tally
from swimlab.experiment.model_shape import visual_tokens

_SPECIAL = re.compile(r"<\|[^<>|]{1,40}\|>")


def count_encodings(raw: Any, tally: Tally) -> None:
    """Counts how the masks of a row are written, whether or not the row can be used."""
    annotation = raw.get("annotation") if isinstance(raw, dict) else None
    sized = bool(annotation) and raw.get("height") is not None and raw.get("width") is not None
    for entry in annotation if isinstance(annotation, list) else ():
        for value in entry.values() if isinstance(entry, dict) else ():
            tally.count("encoding", _encoding(value, sized))


def _encoding(value: Any, sized: bool) -> str:
    segmentation = value.get("segmentation") if isinstance(value, dict) else value
    if segmentation is None:
        return "null (frame not annotated)"
    if isinstance(segmentation, dict):
        counts = segmentation.get("counts")
        if counts is None:
            return "null (frame not annotated)"
        if isinstance(counts, str):
            return "compressed RLE"
        return "uncompressed RLE" if isinstance(counts, list) else "unknown"
    if isinstance(segmentation, list):
        of_frame = isinstance(value, dict) and (value.get("size") is not None or value.get("height") is not None)
        return "polygons" if sized or of_frame else "polygons without a picture size"
    return "unknown"


def count_masks(sample: ReferSample, tally: Tally) -> None:
    """Objects and their masks: how many, in how many frames, how large."""
    tally.bin("objects a row", len(sample.tracks))
    if not sample.tracks:
        return
    shown: set[int] = set()
    sizes: set[tuple[int, int]] = set()
    empty = 0
    for track in sample.tracks:
        tally.bin("masks an object", len(track))
        shown.update(track)
        for rle in track.values():
            sizes.add((rle.height, rle.width))
            if pixels := area(rle):
                tally.bin("object area", pixels * 1_000_000 // (rle.height * rle.width))
            else:
                empty += 1
        tally.add("masks", len(track))
    tally.add("objects", len(sample.tracks))
    tally.add("rows with masks", 1)
    tally.add("empty masks", empty)
    tally.bin("frames annotated a row", len(shown))
    for height, width in sizes:
        tally.count("mask size", f"{height} × {width}")


def count_texts(sample: ReferSample, tally: Tally, note: Note) -> None:
    """Turns, tags and nouns, and cautions about them."""
    nouns: list[str] = []
    before = ""  # the text so far, tagged nouns blanked out
    untagged = ""
    special: set[str] = set()
    for text, subject in _texts(sample):
        if "<|" in text:
            special.update(_SPECIAL.findall(text))
        stripped, spans = strip_tags(text) if "<" in text else (text, [])
        tally.bin(subject, len(stripped))
        tally.add("text characters", len(stripped))
        if not spans and not nouns and sample.marks != "ins":
            continue
        low = stripped.casefold() if stripped.isascii() else "".join(_folded(c) for c in stripped)
        for span in spans:
            noun = low[span.start : span.end]
            nouns.append(noun)
            tally.count("noun", noun)
            low = f"{low[: span.start]}{' ' * (span.end - span.start)}{low[span.end :]}"
            if not untagged and (_contains_word(noun, before) or _contains_word(noun, low[: span.start])):
                untagged = noun
        before = f"{before}\n{low}"
    tally.bin("turns a row", len(sample.turns))
    tally.bin("tags a row", len(nouns))
    tally.add("tags", len(nouns))
    for token in special:
        tally.count("special token", token)
    if untagged:
        note(UNTAGGED, 0, (), f"{untagged!r} stands before its tag")
    if len(set(nouns)) < len(nouns):
        twice, times = Counter(nouns).most_common(1)[0]
        note(TWICE, times, (), f"{twice!r} is tagged {times} times")
    if special:
        note(SPECIAL, len(special), (), f"{', '.join(sorted(special)[:5])} in the text")


def _texts(sample: ReferSample) -> Iterator[tuple[str, str]]:
    for turn in sample.turns:
        yield turn.human, "question characters"
        yield turn.gpt, "answer characters"


def _folded(character: str) -> str:
    # "ß".casefold() is two characters: spans would no longer point at their nouns.
    low = character.casefold()
    return low if len(low) == 1 else character


def _contains_word(noun: str, text: str) -> bool:
    """Whether a noun occurs in a text as a whole word."""
    at = text.find(noun)
    while at >= 0:
        end = at + len(noun)
        if not (text[at - 1 : at].isalnum() or text[end : end + 1].isalnum()):
            return True
        at = text.find(noun, at + 1)
    return False


def add_clip(
    frames: int, height: int, width: int, policy: FramePolicy, tally: Tally, context: ContextLimit | None
) -> None:
    """Counts a clip of that many resized frames, in the visual tokens of the model where it is known."""
    tokens = visual_tokens(frames, height, width, policy.cell_px, context.frame_tokens if context else None)
    tally.bin("tokens a clip", tokens)
    tally.add("tokens", tokens)
    tally.add("clips", 1)
    tally.add("clip frames", frames)
    tally.add("clip bytes", frames * height * width * 3)
