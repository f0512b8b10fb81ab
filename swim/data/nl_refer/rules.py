"""Referring expressions without any model: the subject of the answer's first sentences, up to its verb.

"The fawn and white dog has a dark face." → "the fawn and white dog", its noun "dog". There is no parser behind it: word
lists and endings decide, and where they leave two readings the row is refused with the reason. Written for plain
descriptions in English; a question about several objects needs a reader, and is refused.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from swim.data.nl_refer import words
from swim.data.nl_refer.tasks import Referent, Task
from swim.data.types import DataError

_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_TOKEN = re.compile(r"[^\W_]+(?:[-'’][^\W_]+)*|[^\w\s]")
_SENTENCES = 2  # a subject that only the third sentence names is rarely the object asked about
_YES = {"yes", "no", "sure", "certainly", "well", "overall", "okay"}
_POINTING = {"there", "here", "this", "that", "these", "those"}
_HINT = "--rewriter endpoint can read it; or write the expression by hand"


class _UnclearError(Exception):
    """Two readings, or none."""


@dataclass(frozen=True)
class Phrase:
    """A subject: its noun phrase, the noun in it, and the phrase with what follows it up to the verb."""

    short: str
    noun: str
    long: str


@dataclass(frozen=True)
class _Nouns:
    """Words [start, end) of a sentence: determiners, then modifiers and the noun, which stands last."""

    start: int
    content: int
    end: int


def referents(task: Task) -> tuple[Referent, ...]:
    """One referent an object. Raises DataError (the answer's field) where the rules cannot tell."""
    phrases: list[Phrase] = []
    where: list[str] = []
    for number in range(task.objects):
        entry = task.introduced(number).entry
        where.append(f"conversations[{entry + 1}].value")
        here = sum(task.introduced(other).entry == entry for other in range(task.objects))
        if here > 1:
            reason = "several objects in one question, and the rules cannot tell which the answer means"
            raise DataError(reason, field=where[-1], hint=_HINT)
        try:
            phrases.append(subject(task.sample.turns[entry // 2].gpt))
        except _UnclearError as error:
            raise DataError(f"no subject found, {error}", field=where[-1], hint=_HINT) from error
    shared = Counter(phrase.short.casefold() for phrase in phrases)
    chosen = [phrase.long if shared[phrase.short.casefold()] > 1 else phrase.short for phrase in phrases]
    for text, phrase, field in zip(chosen, phrases, where, strict=True):
        if Counter(map(str.casefold, chosen))[text.casefold()] > 1:
            reason = f"one phrase fits several objects, and what follows it does not tell them apart: {phrase.short!r}"
            raise DataError(reason, field=field, hint=_HINT)
    return tuple(Referent(expression=t, noun=phrase.noun) for t, phrase in zip(chosen, phrases, strict=True))


def subject(answer: str) -> Phrase:
    """What the first sentences are about."""
    problem: _UnclearError | None = None
    for sentence in _SENTENCE.split(answer.strip())[:_SENTENCES]:
        try:
            return _subject(_TOKEN.findall(sentence))
        except _UnclearError as error:
            problem = problem or error
    assert problem is not None
    raise problem


def _subject(tokens: list[str]) -> Phrase:
    sentence = _Sentence(tokens)
    at = sentence.opening()
    found = sentence.nouns(at)
    noun = sentence.low(found.end - 1)
    if noun in words.FRAMES:  # "The video shows a brown dog running."
        found = sentence.nouns(sentence.shown(found.end))
        if (noun := sentence.low(found.end - 1)) in words.FRAMES:
            raise _UnclearError(f"{noun!r} does not say what the object is")
    whole, head = found, found
    if noun in words.CONTAINERS and sentence.low(found.end) == "of":
        head = sentence.nouns(found.end + 1, bare=True)
        whole = _Nouns(found.start, found.content, head.end)
    return Phrase(
        short=sentence.text(whole, whole.end), noun=sentence.noun(head), long=sentence.text(whole, sentence.tail(whole))
    )


class _Sentence:
    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens

    def low(self, at: int) -> str:
        """A word in lower case; "." behind the last one."""
        return self.tokens[at].lower().replace("’", "'") if 0 <= at < len(self.tokens) else "."

    def opening(self) -> int:
        """Where the subject begins: behind "Yes,", "In the video," and "There is"."""
        at = 0
        if self.low(0) in _YES:
            at = 2 if self.low(1) == "," else 1
        if self.low(at) in words.STOPS and "," in self.tokens[at:]:
            at = self.tokens.index(",", at) + 1
        if (
            self.low(at) in {"there", "this", "that", "these", "those", "here"}
            and self.low(at + 1) in words.AUXILIARIES
        ):
            at += 2
        return at

    def shown(self, at: int) -> int:
        """Behind the verb of "the video shows …"."""
        for i in range(at, len(self.tokens) - 1):
            if self.low(i) in words.SHOWS and self.low(i + 1) in words.DETERMINERS:
                return i + 1
        raise _UnclearError("it is about the video, and does not say that it shows something")

    def nouns(self, at: int, bare: bool = False) -> _Nouns:
        """The noun phrase that begins here. `bare`: it may do without an article."""
        if self.low(at) in words.PRONOUNS | words.POSSESSIVES:
            raise _UnclearError(f"it begins with the pronoun {self.tokens[at]!r}")
        start = at
        while self.low(at) in words.DETERMINERS:
            at += 1
        if start == at and not bare and self.low(at) not in words.ADJECTIVES:
            raise _UnclearError(f"it begins with {self.low(at)!r}, which is no article")
        content = at
        while self._goes_on(start, content, at):
            at += 1
        if at == content or self._modifies(at - 1, last=True):
            raise _UnclearError(f"no noun before {self.low(at)!r}")
        return _Nouns(start, content, at)

    def _goes_on(self, start: int, content: int, at: int) -> bool:
        """Whether the phrase has another word here."""
        word, before = self.low(at), at - 1
        head = at > content and not self._modifies(before, last=True)
        if word in {",", "and"}:
            if at > content and self._modifies(before) and self._modifies(at + 1):
                return True
            if word == "and" and head:
                raise _UnclearError("it names several things")
            return False
        closed = words.STOPS | words.AUXILIARIES | words.PRONOUNS | words.POSSESSIVES | words.DETERMINERS
        if not word[0].isalnum() or word in closed:
            return False
        if word in words.ADJECTIVES or word in words.NOUNS or not head:
            return True
        many = any(self.low(i) not in {"the", "a", "an", "this", "that"} for i in range(start, content))
        return not self._is_verb(at, plural_wanted=many)

    def _modifies(self, at: int, last: bool = False) -> bool:
        """Whether a word stands before a noun rather than being one; `last`: nothing else would be the noun."""
        word = self.low(at)
        if last and word in words.NOUN_ADJECTIVES:
            return False
        end = word.rpartition("-")[2]
        if word in words.ADJECTIVES or end in words.ADJECTIVES or word.endswith("'s") or word in {",", "and"}:
            return True
        return end.isdigit() or (end not in words.NOUNS and end.endswith(("ed", "ing", "ly")))

    def _is_verb(self, at: int, plural_wanted: bool) -> bool:
        """Whether the word behind a possible noun is the verb. Raises _UnclearError when it may be either."""
        word, plural = self.low(at), _plural(self.low(at - 1))
        follows = self.low(at + 1)
        ends = follows in words.FUNCTION_WORDS or not follows[0].isalnum() or follows.endswith("ly")
        if word.endswith("ly") or word in words.IRREGULAR:
            return True
        if word.endswith(("ing", "ed")):
            if _base(word) in words.VERBS or ends:
                return True
        elif word.endswith("s") and not word.endswith(("ss", "us", "is")):
            if plural_wanted and not plural:
                return False
            known = _base(word) in words.VERBS
            if known and (ends or (not plural and word not in words.UNSURE)):
                return True
        else:
            return plural and word in words.VERBS
        raise _UnclearError(f"{word!r} may be a noun or a verb")

    def tail(self, phrase: _Nouns) -> int:
        """Where a phrase like "in a black cap" or "wearing a hat" behind this one ends; the phrase's own end if none
        does."""
        word = self.low(phrase.end)
        if word in words.STOPS or (word.endswith("ing") and word not in words.NOUNS):
            try:
                return self.nouns(phrase.end + 1).end
            except _UnclearError:
                pass
        return phrase.end

    def noun(self, phrase: _Nouns) -> str:
        return self._word(phrase.end - 1)

    def text(self, phrase: _Nouns, end: int) -> str:
        """The words of a phrase up to `end`, as a definite one: the question is about one object that can be seen."""
        counted = [self.low(i) for i in range(phrase.start, phrase.content)]
        kept = [word for word in counted if word not in {"the", "a", "an", "this", "that", "these", "those", "another"}]
        rest = [self._word(i) for i in range(phrase.content, end)]
        return re.sub(r" (?=,)", "", " ".join(["the", *kept, *rest]))

    def _word(self, at: int) -> str:
        # Only the sentence's own capital goes; a name keeps its.
        return self.tokens[at][0].lower() + self.tokens[at][1:] if at == 0 else self.tokens[at]


def _plural(word: str) -> bool:
    return word in words.PLURALS or (word.endswith("s") and not word.endswith(("ss", "us", "is", "'s")))


def _base(word: str) -> str:
    """The base form among the known verbs, or the word itself."""
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending):
            stem = word.removesuffix(ending)
            candidates = (stem, f"{stem}e", stem[:-1] if stem[-1:] == stem[-2:-1] else "", f"{stem[:-1]}y")
            if found := next((c for c in candidates if c in words.VERBS), None):
                return found
    return {"lying": "lie", "dying": "die", "tying": "tie"}.get(word, word)
