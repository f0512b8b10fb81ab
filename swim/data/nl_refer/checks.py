"""May these expressions stand? The checks a rebuilt row must pass before anybody trains on it.

What the paper says of its rewriting, as far as text can decide it: the expression is made of the answer's words, its
noun is one word of it, no two objects are called the same, no placeholder is left, every object has its tag, and the
tag is found again in the tokens. Whether the expression fits nothing else in the picture nobody checks here: `known`
measures it on rows where that is known.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from swim.data.frames import MASK_ASPECT_TOLERANCE, VideoInfo
from swim.data.markup import MarkupError, strip_tags, token_positions
from swim.data.nl_refer.tasks import ARTICLES, Referent, Task, find_noun, substitute
from swim.data.nl_refer.words import FUNCTION_WORDS
from swim.data.samples import locate, parse_row
from swim.data.types import DataError, ReferSample

# Inflected forms count as said ("sits", "sitting"), synonyms do not. Three in four: a phrase of four content words may
# have one of the writer's own, a shorter one none.
LEAST_SHARE = 0.75
MAX_WORDS = 25
_WORD = re.compile(r"[^\W_]+(?:[-'’][^\W_]+)*")
_NOUN = re.compile(r"[^\W_]+(?:-[^\W_]+)*")
_LEFT = re.compile(r"<\s*/?\s*(?:region|object)\s*[0-9]*\s*>", re.IGNORECASE)
_ENDINGS = ("ing", "ies", "ied", "ed", "es", "s", "d", "y", "e")
_HINT = "ask again, or write the expression by hand"


@dataclass(frozen=True)
class Rewritten:
    """A row that passed. `shares`: of each object's expression, the share of content words that the answers say."""

    row: dict[str, Any]
    referents: tuple[Referent, ...]
    shares: tuple[float, ...]


class Checks:
    """The checks for one tokenizer (a fast one of transformers, with offsets). `least_share` (0 to 1): how many of an
    expression's content words the row's answers must say."""

    def __init__(self, tokenizer: Any, least_share: float = LEAST_SHARE) -> None:
        self._tokenizer, self.least_share = tokenizer, least_share

    def __call__(self, task: Task, referents: Sequence[Referent]) -> Rewritten:
        """The rewritten row. Raises DataError naming file, row, field and what to do."""
        sample = task.sample
        try:
            if len(referents) != task.objects:
                raise _error(f"{len(referents)} expressions for {task.objects} objects", "conversations")
            cleaned = tuple(_cleaned(referent) for referent in referents)
            shares = tuple(self._checked(task, number, referent) for number, referent in enumerate(cleaned))
            _different(task, cleaned)
            row = substitute(task, cleaned)
            for number, entry in enumerate(row["conversations"]):
                self._found_again(entry["value"], f"conversations[{number}].value")
            tags = sum(len(strip_tags(entry["value"])[1]) for entry in row["conversations"])
            if tags != len(sample.tracks):
                raise _error(f"{tags} tags for the masks of {len(sample.tracks)} objects", "conversations")
            parse_row(row, file=sample.file, row=sample.row, formats=("nl-refer",))
        except MarkupError as error:
            raise locate(
                _error(str(error), "conversations"), file=sample.file, row=sample.row, key=sample.key
            ) from error
        except DataError as error:
            raise locate(error, file=sample.file, row=sample.row, key=sample.key) from error
        return Rewritten(row=row, referents=cleaned, shares=shares)

    def _checked(self, task: Task, number: int, referent: Referent) -> float:
        text, noun = referent.expression, referent.noun
        field = f"conversations[{task.introduced(number).entry}].value"
        which = f"{text[:80]!r} for object {number + 1}"
        if not text or not all(character.isprintable() and character not in "<>[]{}|" for character in text):
            raise _error(f"an expression is empty, or has brackets or control characters: {which}", field)
        if len(_WORD.findall(text)) > MAX_WORDS:
            raise _error(f"an expression of more than {MAX_WORDS} words: {which}", field)
        if not _NOUN.fullmatch(noun) or noun.isdigit() or noun.lower() in FUNCTION_WORDS:
            raise _error(f"a noun is not one word, or a hyphenated one, that names a thing: {noun[:40]!r}", field)
        if find_noun(text, noun) is None:
            raise _error(f"a noun is no word of its expression: {noun!r} in {which}", field)
        share = said_share(text, task.answers)
        if share < self.least_share:
            least = f"at least {self.least_share:.0%} must be"
            raise _error(f"not taken from the answers: they say {share:.0%} of the words of {which}, {least}", field)
        return share

    def _found_again(self, value: str, field: str) -> None:
        if left := _LEFT.search(value):
            raise _error(f"a placeholder is left: {left.group()}", field)
        plain, spans = strip_tags(value)
        if not spans:
            return
        encoded = self._tokenizer(
            plain, add_special_tokens=False, return_offsets_mapping=True, split_special_tokens=True
        )
        offsets = encoded["offset_mapping"]
        for span in spans:
            try:
                tokens = token_positions(offsets, span)
            except ValueError as error:
                raise _error(f"a tag is not found in the tokens: {error}", field) from error
            start, end = offsets[tokens[0]][0], offsets[tokens[-1]][1]
            # A token may begin with the blank before the noun; more than that would supervise a neighbour.
            if plain[start:end].strip() != span.text:
                reason = f"a tag is not found in the tokens: they say {plain[start:end]!r}, the tag {span.text!r}"
                raise _error(reason, field)


def content_words(text: str) -> list[str]:
    """The words that say something, in lower case."""
    return [word for word in map(str.lower, _WORD.findall(text)) if word not in FUNCTION_WORDS]


def said_share(expression: str, answers: str) -> float:
    """The share of an expression's content words that the answers say too, inflection aside; 1 for none."""
    words = content_words(expression)
    known = {_stem(word) for word in content_words(answers)}
    known |= {_stem(part) for word in content_words(answers) for part in word.split("-")}
    found = [_stem(word) in known or all(_stem(part) in known for part in word.split("-")) for word in words]
    return sum(found) / len(found) if found else 1.0


def check_video(sample: ReferSample, probe: Callable[[str], VideoInfo]) -> None:
    """Whether the masks fit their video: frames that exist, and its proportions. Raises DataError, located."""
    try:
        info = probe(sample.video)
        for number, track in enumerate(sample.tracks):
            if max(track) >= info.frames:
                hint = f"frame {max(track)} is annotated, the video shows {info.frames}: is it the right one?"
                raise DataError("a mask past the end of the video", field=f"annotation[{number}]", hint=hint)
            for frame, rle in track.items():
                ratio = (rle.width / rle.height) / (info.width / info.height)
                if not 1 / MASK_ASPECT_TOLERANCE <= ratio <= MASK_ASPECT_TOLERANCE:
                    hint = f"the video is {info.height} × {info.width}; is the mask's size [height, width]?"
                    reason = f"a mask of {rle.height} × {rle.width} does not fit"
                    raise DataError(reason, field=f"annotation[{number}]['{frame}']", hint=hint)
    except DataError as error:
        raise locate(error, file=sample.file, row=sample.row, key=sample.key) from error


def _cleaned(referent: Referent) -> Referent:
    """Without blanks at the edges and a sentence's full stop."""
    text = " ".join(referent.expression.split()).rstrip(".,;:!?").strip()
    return Referent(expression=text, noun=referent.noun.strip())


def _different(task: Task, referents: Sequence[Referent]) -> None:
    seen: dict[tuple[str, ...], int] = {}
    for number, referent in enumerate(referents):
        name = tuple(word for word in map(str.lower, _WORD.findall(referent.expression)) if word not in ARTICLES)
        if name in seen:
            field = f"conversations[{task.introduced(number).entry}].value"
            which = f"objects {seen[name] + 1} and {number + 1}, {referent.expression!r}"
            reason = f"two objects are called the same: {which}"
            raise _error(reason, field)
        seen[name] = number


def _stem(word: str) -> str:
    """Enough to match inflected forms: without its ending, and without the letter that doubled before it."""
    word = word.replace("’", "'").removesuffix("'s")
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word.removesuffix(ending)
            break
    return word[:-1] if len(word) > 3 and word[-1] == word[-2] else word


def _error(reason: str, field: str) -> DataError:
    return DataError(reason, field=field, hint=_HINT)
