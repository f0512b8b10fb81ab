"""The vocabulary of the embedded data set and its sentences, shared by the drawings and by the tiny tokenizer.

The noun means a colour only: a random, frozen vision tower encodes colour but not outlines, so attention could not
learn a noun that means an outline. Every value of an answer is one word, hence one token of the tiny tokenizer, and no
earlier word of the sentence depends on it ("moves nowhere", since "stays still" would reveal the value before its
token).
"""

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import product

from swim.data.annotations.markup import strip_tags
from swim.data.types import AnswerSlot

# RGB, 0-255. Hues far apart, and `cloud` apart from the grey background by brightness alone.
NOUNS: Mapping[str, tuple[int, int, int]] = {
    "tomato": (230, 50, 40),
    "leaf": (50, 170, 60),
    "wave": (45, 105, 230),
    "lemon": (245, 220, 45),
    "plum": (160, 55, 180),
    "cloud": (240, 240, 245),
}
# Two sizes and two patterns: objects then share values so often that answering without knowing which object is meant
# scores .67 with three objects, .58 with six (`swim.evaluation.answer_ceiling`). A third pattern would lower both.
SIZES = ("small", "large")
PATTERNS = ("plain", "striped")
# One step (down, right), in image coordinates.
MOTIONS: Mapping[str, tuple[int, int]] = {
    "left": (0, -1),
    "right": (0, 1),
    "up": (-1, 0),
    "down": (1, 0),
    "nowhere": (0, 0),
}
VALUES: Mapping[str, tuple[str, ...]] = {"size": SIZES, "pattern": PATTERNS, "motion": tuple(MOTIONS)}

# What is asked of one object for one word. The noun comes last, so that its row knows which property is wanted.
ASK_VALUE: Mapping[str, str] = {
    "size": "What size is the",
    "pattern": "What pattern is the",
    "motion": "What motion has the",
}

ASK_CAPTION = "Describe the video."
ASK_LIST = "Describe every object."

SlottedText = tuple[str, tuple[AnswerSlot, ...]]


def _fill(pieces: Sequence[str | tuple[str, str]], offset: int = 0) -> SlottedText:
    """Joins plain pieces and (slot name, value) pieces; spans count characters of the tag-stripped text."""
    text, slots = "", list[AnswerSlot]()
    for piece in pieces:
        if isinstance(piece, tuple):
            start = offset + len(plain(text))
            slots.append(AnswerSlot(name=piece[0], start=start, end=start + len(piece[1])))
            text += piece[1]
        else:
            text += piece
    return text, tuple(slots)


def plain(text: str) -> str:
    """The text without its `<ins>` tags."""
    return strip_tags(text)[0]


def caption(noun: str, size: str, pattern: str, motion: str, offset: int = 0) -> SlottedText:
    """One untagged sentence, "The lemon is small, striped and moves left.", its slots shifted by `offset`."""
    pieces = (f"The {noun} is ", ("size", size), ", ", ("pattern", pattern), " and moves ", ("motion", motion), ".")
    return _fill(pieces, offset)


def listing(objects: Sequence[tuple[str, str, str, str]]) -> SlottedText:
    """A caption for each (noun, size, pattern, motion), in the order given."""
    text, slots = "", list[AnswerSlot]()
    for attributes in objects:
        text += " " if text else ""
        sentence, caption_slots = caption(*attributes, offset=len(text))
        text += sentence
        slots += caption_slots
    return text, tuple(slots)


def question(noun: str, attribute: str = "") -> str:
    """ "Describe the <ins>lemon</ins>."; with an attribute word, "Describe the small <ins>lemon</ins>." """
    return f"Describe the {attribute}{' ' * bool(attribute)}<ins>{noun}</ins>."


def answer(noun: str, size: str, pattern: str, motion: str, revealed: str = "") -> SlottedText:
    """The tagged answer. `revealed` ("size" or "pattern") is the attribute that the question names. It moves in front
    of the noun, "The small <ins>lemon</ins> is striped and moves left.", and is no slot.

    Raises ValueError for another `revealed`.
    """
    values = {"size": size, "pattern": pattern}
    if revealed and revealed not in values:
        raise ValueError(f"revealed is {revealed!r}: a question can give away one of {sorted(values)}, or nothing ('')")
    head = f"The {values.pop(revealed)} " if revealed else "The "
    (first, *rest) = values.items()
    between: list[str | tuple[str, str]] = [part for item in rest for part in (", ", item)]
    return _fill([f"{head}<ins>{noun}</ins> is ", first, *between, " and moves ", ("motion", motion), "."])


def value_question(name: str, noun: str) -> str:
    """ "What pattern is the <ins>lemon</ins>?" """
    return f"{ASK_VALUE[name]} <ins>{noun}</ins>?"


def value_answer(name: str, value: str) -> SlottedText:
    """The value alone, "striped"."""
    return _fill([(name, value)])


@cache
def corpus() -> tuple[str, ...]:
    """Every sentence of the data set without tags, for one object each, and one list (for a capital after a space).

    A byte-level BPE trained on it with enough merges has one token for each word of a template.
    """
    texts = [ASK_CAPTION, ASK_LIST]
    for noun in NOUNS:
        texts += [plain(question(noun, attribute)) for attribute in ("", *SIZES, *PATTERNS)]
        for size, pattern, motion in product(SIZES, PATTERNS, MOTIONS):
            texts += [plain(answer(noun, size, pattern, motion, revealed)[0]) for revealed in ("", "size", "pattern")]
    texts.append(listing([(noun, SIZES[0], PATTERNS[0], "left") for noun in NOUNS])[0])
    return tuple(texts)


@cache
def ask_corpus() -> tuple[str, ...]:
    """The questions for one word and their answers, without tags. They begin with the word, which `corpus` has behind a
    space only: beside the sentences there they make it a token of its own, too."""
    questions = [plain(value_question(name, noun)) for name in VALUES for noun in NOUNS]
    return (*questions, *(value_answer(name, value)[0] for name, values in VALUES.items() for value in values))
