"""VideoRefer-Bench-Q: a question about a folder of frames, its options, and the letter of the right one.

The question of the turn is `Question` with one option a line below it, as written ("(A) …"); the answer is `Answer`.
Objects are `<region>` or `<object0><region>`, or `<ins>` tags in NL-Refer's version and its synonyms; options and
answer may name them again. The evaluation adds the rest of the prompt (one letter, no explanation).
"""

from __future__ import annotations

import re
from typing import Any

from swim.data.annotations.fields import (
    MarkedText,
    RowContent,
    RowFormat,
    has_field,
    names_its_video,
    plain_text,
    read_supervision,
    read_text,
    read_video,
)
from swim.data.types import DataError, Turn

_LETTER = re.compile(r"\s*\(([A-Z])\)")


def matches(raw: dict[str, Any]) -> bool:
    return has_field(raw, "Question") and names_its_video(raw)


def parse(raw: dict[str, Any]) -> RowContent:
    if has_field(raw, "conversations"):
        hint = "a row has one question: remove one of the two"
        raise DataError("beside a Question", field="conversations", hint=hint)
    question = read_text(raw["Question"], field="Question", first_question=True)
    options = _options(raw.get("options"))
    answer = read_text(raw.get("Answer"), field="Answer")
    letter, letters = _LETTER.match(answer.plain), sorted(options)
    if letter is None or letter[1] not in options:
        hint = f"start it with the letter of an option: {', '.join(f'({letter})' for letter in letters)}"
        raise DataError("not one of the options", field="Answer", hint=hint)
    tracks, marks = read_supervision(raw, (question, *options.values(), answer))
    lines = [question.value, *(option.value for option in options.values())]
    return RowContent(
        video=read_video(raw),
        turns=(Turn(human="\n".join(lines), gpt=answer.value),),
        tracks=tracks,
        marks=marks,
        question_type=plain_text(raw.get("type"), field="type", hint="accuracy is counted by type: name one"),
        options=tuple(option.value for option in options.values()),
    )


def _options(raw: Any) -> dict[str, MarkedText]:
    """Letter → option, in their order."""
    if not isinstance(raw, list) or len(raw) < 2:
        raise DataError("not a list of two or more", field="options", hint='give ["(A) …", "(B) …"]')
    options: dict[str, MarkedText] = {}
    for i, text in enumerate(raw):
        option = read_text(text, field=f"options[{i}]")
        letter = _LETTER.match(option.plain)
        if letter is None:
            raise DataError("no letter", field=f"options[{i}]", hint='start it with a capital letter: "(A) …"')
        if letter[1] in options:
            raise DataError(f"a second ({letter[1]})", field=f"options[{i}]", hint="give each option its own letter")
        options[letter[1]] = option
    return options


FORMAT = RowFormat(
    decides="`Question`, with `options`, `Answer` and `type`",
    fields=("video", "Question", "options", "Answer", "type", "annotation"),
    matches=matches,
    parse=parse,
    example={
        "video": "dog",
        "Question": "What does the <ins>dog</ins> do?",
        "options": ["(A) It runs.", "(B) It sleeps."],
        "Answer": "(A) It runs.",
        "type": "Basic Questions",
        "annotation": [{"0": {"segmentation": {"size": [4, 6], "counts": [8, 4, 12]}}}],
    },
)
