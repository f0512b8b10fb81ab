"""The checks that a rewritten row must pass before it is used for training.

They are the paper's rules for its rewriting that can be decided from text: the expression consists of the answer's
words, its noun is one word of it, no two objects have the same expression, no placeholder is left, every object has its
tag, and the tag has tokens of its own. Whether an expression also fits another object in the picture is not checked
here: `reference_rows` measures that on rows where the objects are known.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from swim.data.annotations.markup import MarkupError, strip_tags, token_positions
from swim.data.annotations.samples import locate, parse_row
from swim.data.nl_refer.tasks import ARTICLES, Referent, Task, find_noun, substitute
from swim.data.nl_refer.words import FUNCTION_WORDS
from swim.data.types import DataError, ReferSample
from swim.data.video.frame_choice import VideoInfo, at_positions, check_proportions
from swim.recipe import FramePolicy

# Inflected forms count as equal ("sits", "sitting"), synonyms do not. Three in four: of four content words one may be
# missing in the answers, of fewer none.
LEAST_SHARE = 0.75
MAX_WORDS = 25
_WORD = re.compile(r"[^\W_]+(?:[-'’][^\W_]+)*")
_NOUN = re.compile(r"[^\W_]+(?:-[^\W_]+)*")
_LEFT = re.compile(r"<\s*/?\s*(?:region|object)\s*[0-9]*\s*>", re.IGNORECASE)
_ENDINGS = ("ing", "ies", "ied", "ed", "es", "s", "d", "y", "e")
_HINT = "ask again, or write the expression by hand"


@dataclass(frozen=True)
class Rewritten:
    """A row that passed. `shares`: for each object's expression, the share of its content words that the answers
    contain."""

    row: dict[str, Any]
    referents: tuple[Referent, ...]
    shares: tuple[float, ...]


class Checks:
    """The checks for one tokenizer (a fast one of transformers, with offsets). `least_share` (0 to 1): the share
    of an expression's content words that the row's answers must contain."""

    def __init__(self, tokenizer: Any, least_share: float = LEAST_SHARE) -> None:
        self._tokenizer, self.least_share = tokenizer, least_share

    def __call__(self, task: Task, referents: Sequence[Referent]) -> Rewritten:
        """The rewritten row. Raises DataError naming file, row, field and what to do."""
        sample = task.sample
        try:
            if len(referents) != task.objects:
                raise _error(f"{len(referents)} expressions for {task.objects} objects", "conversations")
            cleaned = tuple(_clean(referent) for referent in referents)
            shares = tuple(self._check_expression(task, number, referent) for number, referent in enumerate(cleaned))
            _check_distinct(task, cleaned)
            row = substitute(task, cleaned)
            for number, entry in enumerate(row["conversations"]):
                self._check_tokens(entry["value"], f"conversations[{number}].value")
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

    def _check_expression(self, task: Task, number: int, referent: Referent) -> float:
        text, noun = referent.expression, referent.noun
        field = f"conversations[{task.introduced(number).entry}].value"
        label = f"{text[:80]!r} for object {number + 1}"
        if not text or not all(character.isprintable() and character not in "<>[]{}|" for character in text):
            raise _error(f"an expression is empty, or has brackets or control characters: {label}", field)
        if len(_WORD.findall(text)) > MAX_WORDS:
            raise _error(f"an expression of more than {MAX_WORDS} words: {label}", field)
        if not _NOUN.fullmatch(noun) or noun.isdigit() or noun.lower() in FUNCTION_WORDS:
            raise _error(f"a noun is not one word, or a hyphenated one, that names a thing: {noun[:40]!r}", field)
        if find_noun(text, noun) is None:
            raise _error(f"a noun is no word of its expression: {noun!r} in {label}", field)
        share = answer_overlap(text, task.answers)
        if share < self.least_share:
            least = f"at least {self.least_share:.0%} must be"
            raise _error(f"not taken from the answers: they say {share:.0%} of the words of {label}, {least}", field)
        return share

    def _check_tokens(self, value: str, field: str) -> None:
        if placeholder := _LEFT.search(value):
            raise _error(f"a placeholder is left: {placeholder.group()}", field)
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
            # A token may include the blank before the noun; any other character would supervise a neighbouring word.
            if plain[start:end].strip() != span.text:
                reason = f"a tag is not found in the tokens: they say {plain[start:end]!r}, the tag {span.text!r}"
                raise _error(reason, field)


def content_words(text: str) -> list[str]:
    """The words that are not function words, in lower case."""
    return [word for word in map(str.lower, _WORD.findall(text)) if word not in FUNCTION_WORDS]


def answer_overlap(expression: str, answers: str) -> float:
    """The share of an expression's content words that the answers contain too, inflection aside; 1 for none."""
    words = content_words(expression)
    stems = {_stem(word) for word in content_words(answers)}
    stems |= {_stem(part) for word in content_words(answers) for part in word.split("-")}
    matches = [_stem(word) in stems or all(_stem(part) in stems for part in word.split("-")) for word in words]
    return sum(matches) / len(matches) if matches else 1.0


def check_video(sample: ReferSample, probe: Callable[[str], VideoInfo]) -> None:
    """Checks that the masks fit their video: its number of frames and its proportions. Raises DataError with the
    row."""
    try:
        info = probe(sample.video)
        sample = at_positions(sample, info, FramePolicy())
        for number, track in enumerate(sample.tracks):
            if max(track) >= info.frames:
                hint = f"frame {max(track)} is annotated, the video shows {info.frames}: is it the right one?"
                raise DataError("a mask past the end of the video", field=f"annotation[{number}]", hint=hint)
            for frame, rle in track.items():
                check_proportions(rle.height, rle.width, info, field=f"annotation[{number}]['{frame}']")
    except DataError as error:
        raise locate(error, file=sample.file, row=sample.row, key=sample.key) from error


def _clean(referent: Referent) -> Referent:
    """Without blanks at the ends and without a full stop."""
    text = " ".join(referent.expression.split()).rstrip(".,;:!?").strip()
    return Referent(expression=text, noun=referent.noun.strip())


def _check_distinct(task: Task, referents: Sequence[Referent]) -> None:
    first_number: dict[tuple[str, ...], int] = {}
    for number, referent in enumerate(referents):
        name = tuple(word for word in map(str.lower, _WORD.findall(referent.expression)) if word not in ARTICLES)
        if name in first_number:
            field = f"conversations[{task.introduced(number).entry}].value"
            pair = f"objects {first_number[name] + 1} and {number + 1}, {referent.expression!r}"
            reason = f"two objects are called the same: {pair}"
            raise _error(reason, field)
        first_number[name] = number


def _stem(word: str) -> str:
    """A rough stem that matches inflected forms: the word without its ending and a letter doubled before it."""
    word = word.replace("’", "'").removesuffix("'s")
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word.removesuffix(ending)
            break
    return word[:-1] if len(word) > 3 and word[-1] == word[-2] else word


def _error(reason: str, field: str) -> DataError:
    return DataError(reason, field=field, hint=_HINT)
