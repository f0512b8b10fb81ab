"""The rewriting task of a VideoRefer row: its placeholders, its objects, and the part of NL-Refer that it belongs to.

The writer of the expressions (rules, a model, a person) returns one `Referent` per object and nothing else. The row is
built here, so that its questions, answers and masks cannot change otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

from swim.data.annotations.samples import locate, parse_row
from swim.data.types import DataError, ReferSample
from swim.recipe import Frozen

AnnotationKind = Literal["detailed", "short", "qa"]
INDEX: dict[AnnotationKind, str] = {
    "detailed": "videorefer_detailed_caption",
    "short": "videorefer_short_caption",
    "qa": "qa",
}
# The question types of VideoRefer, in its data and in its benchmark.
_QUESTION_TYPES = {"basic", "sequential", "relationship", "reasoning", "future", "question", "questions"}
_QA = {"qa"}
# `<object0><region>` is one unit; `<object0>` alone names it again.
_MARK = re.compile(r"<object([0-9]+)>(\s*<region>)?|<region>")
_SENTENCE_END = re.compile(r"(?:\A|[.!?:]\s+|\n\s*)\Z")
_LAST_WORD = re.compile(r"([^\W\d_]+)\s*\Z")
ARTICLES = ("the", "a", "an")
_DETERMINERS = (*ARTICLES, "this", "that", "these", "those", "his", "her", "its", "their", "each", "every")


class Referent(Frozen):
    """An object in words: a noun phrase ("the brown dog"), and the one word of it that is tagged ("dog")."""

    expression: str
    noun: str


@dataclass(frozen=True)
class Mark:
    """A placeholder: characters [start, end) of the value of `conversations[entry]`. `object` is the number of its
    object. Only a `<region>` has masks and is `tagged`; `<object0>` alone is a mention."""

    entry: int
    start: int
    end: int
    object: int
    tagged: bool


@dataclass(frozen=True)
class Task:
    """A VideoRefer row that can be rewritten. Objects are numbered from 0 in the order of their `<region>`."""

    raw: dict[str, Any]
    sample: ReferSample
    kind: AnnotationKind
    marks: tuple[Mark, ...]
    objects: int

    @property
    def answers(self) -> str:
        """All answers of the row, one per line."""
        return "\n".join(turn.gpt for turn in self.sample.turns)

    def introduced(self, number: int) -> Mark:
        """The placeholder that has the object's masks."""
        return next(mark for mark in self.marks if mark.tagged and mark.object == number)


def read_task(raw: Any, *, file: str, row: int, kind: AnnotationKind | None = None) -> Task:
    """The task of a row; `kind` overrules `kind_of`.

    Raises DataError naming file, row, field and what to do, for anything but a readable VideoRefer row with masks, and
    for placeholders in an answer, since answers are not rewritten.
    """
    sample = parse_row(raw, file=file, row=row, formats=("videorefer",))
    try:
        if sample.marks != "region":
            hint = "each object needs one <region> in a question and its masks in `annotation`"
            raise DataError("no <region> with masks", field="conversations", hint=hint)
        marks, objects = _marks(raw["conversations"])
    except DataError as error:
        raise locate(error, file=file, row=row, key=sample.key) from error
    return Task(raw=raw, sample=sample, kind=kind or kind_of(raw, file), marks=marks, objects=objects)


def kind_of(raw: dict[str, Any], file: str) -> AnnotationKind:
    """The part of NL-Refer that a row belongs to. Its own `index` or `type` decides, then labels (`<object0><region>`,
    which only questions with answers have), then the name of its file; else it is a detailed caption. Both captions
    train alike, "qa" trains on its text alone."""
    for field in ("index", "type"):
        if isinstance(label := raw.get(field), str) and (kind := _kind_in(label, _QA | _QUESTION_TYPES)):
            return kind
    if any("<object" in entry["value"] for entry in raw["conversations"]):
        return "qa"
    return _kind_in(PurePosixPath(file).stem, _QA) or "detailed"


def _kind_in(text: str, qa_words: set[str]) -> AnnotationKind | None:
    words = set(re.split(r"[^a-z]+", text.lower()))
    # In this order: after a caption's name, "qa" may be part of the clip's name.
    return "detailed" if "detailed" in words else "short" if "short" in words else "qa" if qa_words & words else None


def _marks(conversations: list[dict[str, Any]]) -> tuple[tuple[Mark, ...], int]:
    """The marks in reading order, and the number of their objects. A label is one object, however often it has a
    `<region>`; each `<region>` without a label is another object."""
    placeholders: list[tuple[int, re.Match[str]]] = []
    for entry, message in enumerate(conversations):
        matches = list(_MARK.finditer(message["value"]))
        if matches and entry % 2:
            hint = "answers are kept as they are: write there what the object is called, or take the row out"
            raise DataError(f"{matches[0].group()} in an answer", field=f"conversations[{entry}].value", hint=hint)
        placeholders += [(entry, match) for match in matches]
    introduced = [match[1] for _, match in placeholders if match.group().endswith("<region>")]
    # Objects without a label are named by the number of their <region>, which no label (digits) can equal.
    names = list(dict.fromkeys(label or f"region {i}" for i, label in enumerate(introduced)))
    marks: list[Mark] = []
    for entry, match in placeholders:
        tagged = match.group().endswith("<region>")
        name = match[1] or f"region {sum(mark.tagged for mark in marks)}"
        marks.append(Mark(entry, *match.span(), names.index(name), tagged))
    return tuple(marks), len(names)


def substitute(task: Task, referents: Sequence[Referent]) -> dict[str, Any]:
    """The row with every placeholder replaced by its object's expression, tagged where the placeholder had masks, and
    with an `index`. Nothing else changes. The noun's first whole-word occurrence in the expression is tagged; `checks`
    has checked that there is one."""
    conversations = [dict(entry) for entry in task.raw["conversations"]]
    for mark in reversed(task.marks):
        value = conversations[mark.entry]["value"]
        before = value[: mark.start]
        text = _fit_to_context(referents[mark.object].expression, before)
        if mark.tagged:
            text = _tag_noun(text, referents[mark.object].noun)
        conversations[mark.entry]["value"] = before + text + value[mark.end :]
    # No id and no file name in it: a clip called "…qa…" would turn a caption into a row that trains on text alone.
    return task.raw | {"conversations": conversations, "index": f"{INDEX[task.kind]}_{task.sample.row:08d}"}


def find_noun(expression: str, noun: str) -> re.Match[str] | None:
    """The first occurrence of a noun in an expression as a whole word, not as a part of a hyphenated one."""
    return re.search(rf"(?<![\w-]){re.escape(noun)}(?![\w-])", expression)


def _tag_noun(text: str, noun: str) -> str:
    # The expression's first letter may have changed its case, and with it a noun that is the first word.
    noun_match = find_noun(text, noun) or find_noun(text, noun[:1].swapcase() + noun[1:])
    if noun_match is None:
        raise ValueError(f"{noun!r} is no word of {text!r}")
    return f"{text[: noun_match.start()]}<ins>{noun_match.group()}</ins>{text[noun_match.end() :]}"


def _fit_to_context(expression: str, text_before: str) -> str:
    """The expression adapted to the text before it: one article, and a capital only where a sentence begins."""
    first, _, rest = expression.partition(" ")
    previous = _LAST_WORD.search(text_before)
    if rest and first.lower() in ARTICLES and previous and previous[1].lower() in _DETERMINERS:
        expression = rest
    elif first.lower() in _DETERMINERS:
        expression = expression[0].lower() + expression[1:]
    begins = _SENTENCE_END.search(re.sub(r"\A<(?:video|image)>\n?", "", text_before))
    return expression[0].upper() + expression[1:] if begins else expression
