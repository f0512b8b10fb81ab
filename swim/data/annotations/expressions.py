"""Referring expressions with masks (MeViS, Ref-YouTube-VOS) as a question, its answer and a tagged noun.

Such data have no conversation, so this one is asked: the expression with its noun tagged, and the noun again as the
answer. The noun is found by the rules of `swim.data.nl_refer.rules`; where they allow two readings the row is refused.
"""

from __future__ import annotations

from typing import Any

from swim.data.annotations.fields import RowContent, plain_text, read_text
from swim.data.annotations.listed_tracks import single
from swim.data.limits import MAX_TEXT_CHARS
from swim.data.nl_refer.rules import noun_span
from swim.data.types import DataError, Rle, Turn
from swim.data_config import Numbering

_QUESTION = "Which object of the video is meant: {}?"
_ANSWER = "The <ins>{}</ins>."


def expression_rows(content: dict[str, Any], path: str) -> list[dict[str, Any]]:
    """One row for each expression of `meta_expressions.json`, its video and the expression alone. Raises DataError
    naming a video that has none."""
    rows: list[dict[str, Any]] = []
    for video, entry in content["videos"].items():
        expressions = entry.get("expressions") if isinstance(entry, dict) else None
        if not isinstance(expressions, dict):
            hint = "give {'expressions': {'0': {'exp': …}}, 'frames': […]}"
            raise DataError("no expressions", field=f"videos[{video!r:.60}]", hint=hint, file=path)
        for name, expression in expressions.items():
            rows.append({"id": f"{video}-{name}", "videos": {video: entry | {"expressions": {name: expression}}}})
    return rows


def read_expression(raw: dict[str, Any]) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """(name of the video, its entry, its one expression). Raises DataError."""
    video, entry = single(raw["videos"], "videos", "video")
    plain_text(video, field="videos", hint="a video is a folder of pictures: give its name")
    expressions = entry.get("expressions") if isinstance(entry, dict) else None
    name, expression = single(expressions, f"videos[{video!r:.60}].expressions", "expression")
    if not isinstance(expression, dict):
        raise DataError("not an object", field=f"expressions[{name!r:.60}]", hint="give {'exp': …, 'obj_id': …}")
    if video in (".", "..") or "/" in video or "\\" in video:
        raise DataError("no name of a folder", field="videos", hint="a video is a folder of pictures: give its name")
    return video, entry, expression


def expression_content(video: str, expression: dict[str, Any], track: dict[int, Rle], frames: Numbering) -> RowContent:
    """The content of a row: `track` is what the expression means, by `frames`. Raises DataError (field "exp")."""
    hint = "give the expression in words"
    text = plain_text(expression.get("exp"), field="exp", hint=hint, max_chars=MAX_TEXT_CHARS).strip().rstrip(".")
    start, end = noun_span(text, field="exp")
    noun = text[start:end]
    question = read_text(_QUESTION.format(f"{text[:start]}<ins>{noun}</ins>{text[end:]}"), field="exp")
    answer = read_text(_ANSWER.format(noun.lower() if start == 0 else noun), field="exp")
    if (question.tags, question.regions) != (1, 0):
        raise DataError("tags or placeholders in an expression", field="exp", hint="give the words alone")
    turns = (Turn(human=question.value, gpt=answer.value),)
    return RowContent(video, turns, (track, track), "ins", frames=frames)
