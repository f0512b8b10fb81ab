"""The option that an answer to a multiple-choice question names, and beside it the released script's reading.

The released script takes the first letter in brackets, else the first before a closing bracket, else the first
character, so that "The answer is B." is read as T: its figures depend on how much a model says. A strict figure beside
a released one tells a gap between two models from a gap between two readings.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Letter:
    """The answer names one option, by its letter or by its text."""

    letter: str


@dataclass(frozen=True)
class Refused:
    """The answer names no option and says that it gives none."""


@dataclass(frozen=True)
class Unclear:
    """The answer names no option, or several; `reason` says which."""

    reason: str


Choice = Letter | Refused | Unclear

_OPTION = re.compile(r"\s*\(([A-Z])\)\s*")
_THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL | re.IGNORECASE)
_MARKUP = re.compile(r"</?[a-z]+>|\\boxed|\\text|[*_`$#{}]", re.IGNORECASE)
_REFUSAL = re.compile(
    r"\b(?:can(?:not|'t| not)|could(?: not|n't)|unable|impossible|not possible|don't know|do not know|not sure|unsure"
    r"|sorry|no way to (?:tell|know)|none of (?:the|these)|not enough information|insufficient)\b",
    re.IGNORECASE,
)
# How an answer is announced: "Answer: ", "the correct option is ", "I choose ".
_ANNOUNCEMENT = (
    r"\b(?:(?:answer|choice|option|letter) ?(?:is|would be|should be|must be|[:=])"
    r"|choose|pick|select|go with|it is|it's)[ :]*(?:option |letter )?"
)


def read_letter(text: str, options: Sequence[str]) -> Choice:
    """The option that an answer names. `options` are written as in the rows, "(A) …".

    The most explicit statement decides: the whole answer, an announced letter ("the answer is B"), a letter in front, a
    letter in brackets, a capital letter alone, the text of an option. A letter behind "not" is none. Statements of one
    kind that contradict each other make the answer unclear. Raises ValueError for an option without its letter.
    """
    by_letter = option_texts(options)
    plain = _plain(text)
    if not plain:
        return Unclear("empty")
    affirmed = re.sub(rf"\b(?:not|isn't|except)\s+(?:option\s+)?\(?{_any(by_letter)}\b\)?", " ", plain)
    for read in (_alone, _announced, _leading, _bracketed, _capital, _by_text):
        named = read(affirmed, by_letter)
        if len(named) == 1:
            return Letter(named.pop())
        if named:
            return Refused() if _REFUSAL.search(plain) else Unclear(f"names {', '.join(sorted(named))}")
    return Refused() if _REFUSAL.search(plain) else Unclear("names no option")


def option_texts(options: Sequence[str]) -> dict[str, str]:
    """Letter → text of each option. Raises ValueError for an option without a letter of its own."""
    texts: dict[str, str] = {}
    for option in options:
        match = _OPTION.match(option)
        if match is None or match[1] in texts:
            raise ValueError(f'option {option!r}: start each with a capital letter of its own, "(A) …"')
        texts[match[1]] = option[match.end() :]
    return texts


def released_letter(text: str, *, strips: bool = True) -> str | None:
    """What the released script reads, faults included: a capital letter or any other character; None for an answer
    without characters, at which the script ends with an IndexError. VideoRefer's own script does not strip white space
    (`strips` False), so that " B" is a blank there. The letter is compared without regard to case."""
    for pattern in (r"\(([A-Z])\)", r"([A-Z])\)"):
        if match := re.search(pattern, text):
            return match[1]
    rest = (text.strip() if strips else text).replace(".", "")
    return rest[0] if rest else None


def _plain(text: str) -> str:
    """The text without thoughts and markup, with one blank or line's end between words."""
    plain = _THOUGHT.sub(" ", unicodedata.normalize("NFKC", text)).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    plain = re.sub(r"[^\S\n]+", " ", _MARKUP.sub("", plain))
    return re.sub(r" ?\n[ \n]*", "\n", plain).strip()


def _any(by_letter: Iterable[str]) -> str:
    return f"[{''.join(by_letter)}]"


def _alone(text: str, by_letter: dict[str, str]) -> set[str]:
    """The whole answer is a letter, in any case and with any brackets."""
    match = re.fullmatch(rf"[(\[\"']*({_any(by_letter)})[)\]\"'.:,]*", text, re.IGNORECASE)
    return {match[1].upper()} if match else set()


def _announced(text: str, by_letter: dict[str, str]) -> set[str]:
    """ "Answer: B", and all of "the answer is B or C". A small letter, and A and I, which are words, only in front of a
    line's end, a stop or another letter."""
    letter, sure = _any(by_letter), "".join(sorted(set(by_letter) - {"A", "I"}))
    stop = rf"(?= ?(?:[)\].,:;!?\"']|$|(?:or|and|/) ?\(?{letter}\b))"
    named = rf"[(\[\"']?(?:(?i:({letter}){stop})" + (rf"|([{sure}])\b" if sure else "") + r")[)\]\"']?"
    more = rf"(?: ?(?:,|/|or|and) ?\(?({letter})\b)?"
    statements = re.finditer(rf"(?i:{_ANNOUNCEMENT}){named}{more}", text, re.MULTILINE)
    return {letter.upper() for statement in statements for letter in statement.groups() if letter}


def _leading(text: str, by_letter: dict[str, str]) -> set[str]:
    """ "B) It runs." Not where the answer repeats all options."""
    if _bracketed(text, by_letter) == set(by_letter):
        return set()
    match = re.match(rf"(?:option )?[(\[]?({_any(by_letter)}) ?[)\].:-]", text, re.IGNORECASE)
    return {match[1].upper()} if match else set()


def _bracketed(text: str, by_letter: dict[str, str]) -> set[str]:
    return set(re.findall(rf"(?<![A-Za-z])[(\[]?({_any(by_letter)})[)\]]", text))


def _capital(text: str, by_letter: dict[str, str]) -> set[str]:
    """A capital letter that stands alone; A only where no noun can follow, I never."""
    sure = "".join(sorted(set(by_letter) - {"A", "I"}))
    named = set(re.findall(rf"(?<![\w'])[{sure}](?![\w'])", text)) if sure else set()
    if "A" in by_letter and re.search(r"(?<![\w'])A(?= ?(?:$|[,.;:)/&]|(?:and|or|is|was)\b))", text, re.MULTILINE):
        named.add("A")
    return named


def _by_text(text: str, by_letter: dict[str, str]) -> set[str]:
    """The text of an option, as whole words and not behind a "no"; an option that is a part of another one named counts
    as that one. None where the answer is a refusal in words that are not the option's own."""
    words, named = _words(text), {}
    for letter, option in by_letter.items():
        said = _words(option)
        affirmed = said.strip() and re.search(rf"(?<! no)(?<! not)(?<! without){re.escape(said)}", words)
        if affirmed and (_REFUSAL.search(option) or not _REFUSAL.search(text)):
            named[letter] = said
    return {
        letter for letter, said in named.items() if not any(said in other and said != other for other in named.values())
    }


def _words(text: str) -> str:
    """The words of a text without case, articles and punctuation, each between blanks."""
    words = [word for word in re.findall(r"\w+", text.lower()) if word not in ("a", "an", "the")]
    return f" {' '.join(words)} "
