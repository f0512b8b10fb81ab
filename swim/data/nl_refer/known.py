"""VideoRefer rows whose referring expressions are known, to count how often a rewriter errs.

They are the embedded data set's, with the phrase of each question taken out again. The clip's other objects are known
too, so an expression can be held against all of them: whether it fits another one is what no check on a user's own rows
can tell. The sentences are simple: the errors counted here are the least to expect elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from swim.data import shapes_words as words
from swim.data.markup import strip_tags
from swim.data.nl_refer.tasks import Referent
from swim.data.shapes_draw import Thing, draw
from swim.data.shapes_world import row
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
class Known:
    """A row as VideoRefer would have it. `things` are the objects of its clip, `asked` which of them its placeholders
    stand for, in reading order; `phrases` are the expressions that stood there."""

    group: str
    raw: dict[str, Any]
    things: tuple[Thing, ...]
    asked: tuple[int, ...]
    phrases: tuple[str, ...]


def rows(clips: int, seed: int = 0) -> Iterator[Known]:
    """`clips` rows of each group."""
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
            yield _known(group, config, index)


def judge(known: Known, number: int, referent: Referent) -> Outcome:
    """How an expression for the `number`-th asked object does. Words that say nothing about the clip count neither for
    it nor against it."""
    meant = known.asked[number]
    if referent.noun.lower() != known.things[meant].noun:
        return "wrong noun"
    if not _fits(referent, known.things[meant]):
        return "wrong object"
    others = (thing for i, thing in enumerate(known.things) if i != meant)
    return "ambiguous" if any(_fits(referent, thing) for thing in others) else "right"


def read_back(known: Known, row: dict[str, Any]) -> list[Referent]:
    """The expressions that a rewritten row has where its placeholders were, in reading order. Raises ValueError when
    anything but the placeholders changed."""
    found: list[Referent] = []
    for before, after in zip(known.raw["conversations"], row["conversations"], strict=True):
        around = [re.escape(text) for text in _PLACEHOLDER.split(before["value"])]
        match = re.fullmatch("(.+?)".join(around), after["value"])
        if match is None:
            raise ValueError(f"{after['value']!r} is not {before['value']!r} with its placeholders replaced")
        for text in match.groups():
            plain, (noun,) = strip_tags(text)
            found.append(Referent(expression=plain, noun=noun.text))
    return found


def _fits(referent: Referent, thing: Thing) -> bool:
    said = set(re.findall(r"\w+", referent.expression.lower()))
    attributes = asdict(thing)
    values = all(not said & set(values) or attributes[name] in said for name, values in words.VALUES.items())
    return referent.noun.lower() == thing.noun and values


def _known(group: str, config: ShapesWorld, index: int) -> Known:
    raw, _ = row(config, "train", index)
    scene = draw(config, "train", index)
    asked = scene.order[: config.turns]
    told = [scene.objects[i] for i in asked]
    phrases = []
    conversations = [dict(entry) for entry in raw["conversations"]]
    for entry in conversations[::2]:
        phrases.append(words.plain(_PHRASE.findall(entry["value"])[0]))
        entry["value"] = _PHRASE.sub("<region>", entry["value"])
    for entry, thing in zip(conversations[1::2], told, strict=True):
        entry["value"] = words.plain(entry["value"])
        if group == "twins, told later":
            text, slots = words.answer(thing.noun, thing.size, thing.pattern, thing.motion)
            entry |= {"value": words.plain(text), "slots": [slot.model_dump() for slot in slots]}
    if group == "two in one":
        asking = "Describe " + " and ".join(f"<object{i}><region>" for i in range(len(asked))) + "."
        answer = " ".join(entry["value"] for entry in conversations[1::2])
        conversations = [{"from": "human", "value": f"<video>\n{asking}"}, {"from": "gpt", "value": answer}]
    name = f"{group.replace(', ', '-').replace(' ', '-')}_{index:06d}"
    kept = {key: raw[key] for key in ("video", "height", "width")}
    # A tag in the question and one in the answer had the same masks; now there is one placeholder.
    changed = {"conversations": conversations, "annotation": raw["annotation"][::2]}
    return Known(group, {"id": name, **kept, **changed}, scene.objects, tuple(asked), tuple(phrases))
