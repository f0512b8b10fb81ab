"""VideoRefer rows whose referring expressions are known, to measure the error rate of a rewriter.

They are rows of the embedded data set with the phrase of each question removed. All objects of the clip are known, so
an expression can be compared with each of them: on a user's own rows nothing can tell whether it also fits another
object. The sentences are simple: the error rate measured here is a lower bound for other data.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from swim.data.annotations.markup import strip_tags
from swim.data.nl_refer.tasks import Referent
from swim.data.synthetic import vocabulary as words
from swim.data.synthetic.drawing import DrawnObject, draw
from swim.data.synthetic.shapes_world import row
from swim.recipe import ShapesWorld

Outcome = Literal["right", "wrong noun", "wrong object", "ambiguous", "rejected"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
GROUPS = {
    "distinct": "three objects with nouns of their own, one asked about at a time",
    "twins": "two of three objects share a noun; the answer begins with the word that tells them apart",
    "twins, told later": "as before, but one of them alone is asked about, and that word comes behind the subject",
    "two in one": "two objects in one question, described one after the other",
}
_PLACEHOLDER = re.compile(r"(?:<object[0-9]+>)?<region>")
_PHRASE = re.compile(r"the (?:\w+ )?<ins>\w+</ins>")


@dataclass(frozen=True)
class ReferenceRow:
    """A row in the format of VideoRefer. `objects` are all objects of its clip, `referred` the numbers of those that
    its placeholders refer to, in reading order; `phrases` are the removed expressions."""

    group: str
    raw: dict[str, Any]
    objects: tuple[DrawnObject, ...]
    referred: tuple[int, ...]
    phrases: tuple[str, ...]


def rows(clips: int, seed: int = 0) -> Iterator[ReferenceRow]:
    """`clips` rows for each group of `GROUPS`."""
    for group in GROUPS:
        twins = group.startswith("twins")
        config = ShapesWorld(
            clips=clips,
            seed=seed,
            prompts="attribute" if twins else "refer",
            difficulty="hard-twins" if twins else "easy",
            turns={"two in one": 2, "twins, told later": 1}.get(group, 3),
        )
        for index in range(clips):
            yield _reference_row(group, config, index)


def judge(reference: ReferenceRow, number: int, referent: Referent) -> Outcome:
    """Whether an expression for the `number`-th referred object is right. Words that are no attribute of the embedded
    data are ignored."""
    number_in_clip = reference.referred[number]
    if referent.noun.lower() != reference.objects[number_in_clip].noun:
        return "wrong noun"
    if not _fits(referent, reference.objects[number_in_clip]):
        return "wrong object"
    other_objects = (obj for i, obj in enumerate(reference.objects) if i != number_in_clip)
    return "ambiguous" if any(_fits(referent, obj) for obj in other_objects) else "right"


def read_back(reference: ReferenceRow, row: dict[str, Any]) -> list[Referent]:
    """The expressions that replaced the placeholders in a rewritten row, in reading order. Raises ValueError when
    anything else changed."""
    referents: list[Referent] = []
    for before, after in zip(reference.raw["conversations"], row["conversations"], strict=True):
        around = [re.escape(text) for text in _PLACEHOLDER.split(before["value"])]
        match = re.fullmatch("(.+?)".join(around), after["value"])
        if match is None:
            raise ValueError(f"{after['value']!r} is not {before['value']!r} with its placeholders replaced")
        for text in match.groups():
            plain, (noun,) = strip_tags(text)
            referents.append(Referent(expression=plain, noun=noun.text))
    return referents


def _fits(referent: Referent, obj: DrawnObject) -> bool:
    words_used = set(re.findall(r"\w+", referent.expression.lower()))
    attributes = asdict(obj)
    attributes_fit = all(
        not words_used & set(values) or attributes[name] in words_used for name, values in words.VALUES.items()
    )
    return referent.noun.lower() == obj.noun and attributes_fit


def _reference_row(group: str, config: ShapesWorld, index: int) -> ReferenceRow:
    raw, _ = row(config, "train", index)
    scene = draw(config, "train", index)
    referred = scene.order[: config.turns]
    referred_objects = [scene.objects[i] for i in referred]
    phrases = []
    conversations = [dict(entry) for entry in raw["conversations"]]
    for entry in conversations[::2]:
        phrases.append(words.plain(_PHRASE.findall(entry["value"])[0]))
        entry["value"] = _PHRASE.sub("<region>", entry["value"])
    for entry, obj in zip(conversations[1::2], referred_objects, strict=True):
        entry["value"] = words.plain(entry["value"])
        if group == "twins, told later":
            text, slots = words.answer(obj.noun, obj.size, obj.pattern, obj.motion)
            entry |= {"value": words.plain(text), "slots": [slot.model_dump() for slot in slots]}
    if group == "two in one":
        request = "Describe " + " and ".join(f"<object{i}><region>" for i in range(len(referred))) + "."
        answer = " ".join(entry["value"] for entry in conversations[1::2])
        conversations = [{"from": "human", "value": f"<video>\n{request}"}, {"from": "gpt", "value": answer}]
    name = f"{group.replace(', ', '-').replace(' ', '-')}_{index:06d}"
    copied = {key: raw[key] for key in ("video", "height", "width")}
    # A tag in the question and one in the answer had the same masks; now there is one placeholder.
    changed = {"conversations": conversations, "annotation": raw["annotation"][::2]}
    return ReferenceRow(group, {"id": name, **copied, **changed}, scene.objects, tuple(referred), tuple(phrases))
