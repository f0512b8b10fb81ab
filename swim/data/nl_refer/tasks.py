"""What is to be rewritten in a VideoRefer row: its placeholders, its objects, and which part of NL-Refer it becomes.

Whoever writes the expressions (rules, a model, a person) returns one `Referent` an object and nothing else: the row is
put together here, so that the structure of its questions, its answers and its masks cannot change.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

from swim.data.samples import locate, parse_row
from swim.data.types import DataError, ReferSample
from swim.recipe import Frozen

Kind = Literal["detailed", "short", "qa"]
INDEX: dict[Kind, str] = {"detailed": "videorefer_detailed_caption", "short": "videorefer_short_caption", "qa": "qa"}
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
    """Characters [start, end) of the value of `conversations[entry]` that stand for an object. Only a `<region>` has
    masks, and is tagged; `<object0>` alone is a mention."""

    entry: int
    start: int
    end: int
    object: int
    tagged: bool


@dataclass(frozen=True)
class Task:
    """A VideoRefer row that can be rewritten. Objects are numbered from 0, by where their `<region>` stands."""

    raw: dict[str, Any]
    sample: ReferSample
    kind: Kind
    marks: tuple[Mark, ...]
    objects: int

    @property
    def answers(self) -> str:
        """All that the row says about its objects."""
        return "\n".join(turn.gpt for turn in self.sample.turns)

    def introduced(self, number: int) -> Mark:
        """The placeholder that has the object's masks."""
        return next(mark for mark in self.marks if mark.tagged and mark.object == number)


def read_task(raw: Any, *, file: str, row: int, kind: Kind | None = None) -> Task:
    """The task of a row; `kind` overrules what the row and its file say of its part (see `kind_of`).

    Raises DataError naming file, row, field and what to do: for whatever is no readable VideoRefer row, masks included,
    and for placeholders in an answer, since answers are kept as they are.
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


def kind_of(raw: dict[str, Any], file: str) -> Kind:
    """Which part of NL-Refer a row becomes. Its own `index` or `type` decides, then labels (`<object0><region>`, which
    only questions with answers have), then the name of its file; else it is a detailed caption. Both captions train
    alike, "qa" trains on its text alone."""
    for field in ("index", "type"):
        if isinstance(said := raw.get(field), str) and (found := _named(said, _QA | _QUESTION_TYPES)):
            return found
    if any("<object" in entry["value"] for entry in raw["conversations"]):
        return "qa"
    return _named(PurePosixPath(file).stem, _QA) or "detailed"


def _named(text: str, qa: set[str]) -> Kind | None:
    words = set(re.split(r"[^a-z]+", text.lower()))
    # In this order: behind a caption's name "qa" may be part of the clip's.
    return "detailed" if "detailed" in words else "short" if "short" in words else "qa" if qa & words else None


def _marks(conversations: list[dict[str, Any]]) -> tuple[tuple[Mark, ...], int]:
    """The marks in reading order, and how many objects they stand for. A label has one object, however often it has a
    `<region>`; without a label each is another object."""
    found: list[tuple[int, re.Match[str]]] = []
    for entry, said in enumerate(conversations):
        matches = list(_MARK.finditer(said["value"]))
        if matches and entry % 2:
            hint = "answers are kept as they are: write there what the object is called, or take the row out"
            raise DataError(f"{matches[0].group()} in an answer", field=f"conversations[{entry}].value", hint=hint)
        found += [(entry, match) for match in matches]
    introduced = [match[1] for _, match in found if match.group().endswith("<region>")]
    # Unlabelled ones by their place among those with a <region>, which no label (digits) can equal.
    names = list(dict.fromkeys(label or f"region {i}" for i, label in enumerate(introduced)))
    marks: list[Mark] = []
    for entry, match in found:
        tagged = match.group().endswith("<region>")
        name = match[1] or f"region {sum(mark.tagged for mark in marks)}"
        marks.append(Mark(entry, *match.span(), names.index(name), tagged))
    return tuple(marks), len(names)


def substitute(task: Task, referents: Sequence[Referent]) -> dict[str, Any]:
    """The row with every placeholder replaced by its object's expression, tagged where the placeholder had masks, and
    with an `index`. All else is as it was. The noun's first whole-word occurrence in the expression is tagged; the
    caller has checked that there is one (`checks`)."""
    conversations = [dict(entry) for entry in task.raw["conversations"]]
    for mark in reversed(task.marks):
        value = conversations[mark.entry]["value"]
        before = value[: mark.start]
        text = _fitted(referents[mark.object].expression, before)
        if mark.tagged:
            text = _tagged(text, referents[mark.object].noun)
        conversations[mark.entry]["value"] = before + text + value[mark.end :]
    # No id and no file name in it: a clip called "…qa…" would turn a caption into a row that trains on text alone.
    return task.raw | {"conversations": conversations, "index": f"{INDEX[task.kind]}_{task.sample.row:08d}"}


def find_noun(expression: str, noun: str) -> re.Match[str] | None:
    """Where a noun first stands in an expression as a word of its own, not as a part of a hyphenated one."""
    return re.search(rf"(?<![\w-]){re.escape(noun)}(?![\w-])", expression)


def _tagged(text: str, noun: str) -> str:
    # The expression's first letter may have changed its case, and with it a noun that stands first.
    found = find_noun(text, noun) or find_noun(text, noun[:1].swapcase() + noun[1:])
    if found is None:
        raise ValueError(f"{noun!r} is no word of {text!r}")
    return f"{text[: found.start()]}<ins>{found.group()}</ins>{text[found.end() :]}"


def _fitted(expression: str, before: str) -> str:
    """The expression as the text before it wants it: one article, and a capital only where a sentence begins."""
    first, _, rest = expression.partition(" ")
    previous = _LAST_WORD.search(before)
    if rest and first.lower() in ARTICLES and previous and previous[1].lower() in _DETERMINERS:
        expression = rest
    elif first.lower() in _DETERMINERS:
        expression = expression[0].lower() + expression[1:]
    begins = _SENTENCE_END.search(re.sub(r"\A<(?:video|image)>\n?", "", before))
    return expression[0].upper() + expression[1:] if begins else expression
