"""Referring expressions without a model: the subject of the answer's first sentences, up to its verb.

"The fawn and white dog has a dark face." → "the fawn and white dog", its noun "dog". There is no parser: word lists and
endings decide, and where they allow two readings the row is rejected with the reason. Written for plain descriptions in
English. A question about several objects is rejected, since the rules cannot tell which answer is about which.
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
_SENTENCES = 2  # a subject that first occurs in the third sentence is rarely the object asked about
_YES = {"yes", "no", "sure", "certainly", "well", "overall", "okay"}
_POINTING = {"there", "here", "this", "that", "these", "those"}
_HINT = "--rewriter endpoint can read it; or write the expression by hand"


class _UnclearError(Exception):
    """Two readings, or none."""


@dataclass(frozen=True)
class Phrase:
    """A subject: its noun phrase, the noun in it, and the phrase with its attachment ("wearing a hat")."""

    short: str
    noun: str
    long: str


@dataclass(frozen=True)
class _NounPhrase:
    """Words [start, end) of a sentence: determiners, then modifiers and the noun, which is last."""

    start: int
    content: int
    end: int


def referents(task: Task) -> tuple[Referent, ...]:
    """One referent per object. Raises DataError (the answer's field) where the rules cannot decide."""
    phrases: list[Phrase] = []
    fields: list[str] = []
    for number in range(task.objects):
        entry = task.introduced(number).entry
        fields.append(f"conversations[{entry + 1}].value")
        objects_in_question = sum(task.introduced(other).entry == entry for other in range(task.objects))
        if objects_in_question > 1:
            reason = "several objects in one question, and the rules cannot tell which the answer means"
            raise DataError(reason, field=fields[-1], hint=_HINT)
        try:
            phrases.append(subject(task.sample.turns[entry // 2].gpt))
        except _UnclearError as error:
            raise DataError(f"no subject found, {error}", field=fields[-1], hint=_HINT) from error
    shared = Counter(phrase.short.casefold() for phrase in phrases)
    expressions = [phrase.long if shared[phrase.short.casefold()] > 1 else phrase.short for phrase in phrases]
    for text, phrase, field in zip(expressions, phrases, fields, strict=True):
        if Counter(map(str.casefold, expressions))[text.casefold()] > 1:
            reason = f"one phrase fits several objects, and what follows it does not tell them apart: {phrase.short!r}"
            raise DataError(reason, field=field, hint=_HINT)
    return tuple(Referent(expression=t, noun=phrase.noun) for t, phrase in zip(expressions, phrases, strict=True))


def subject(answer: str) -> Phrase:
    """The subject of the first sentences. Raises `_UnclearError` with the reason where there is none."""
    problem: _UnclearError | None = None
    for sentence in _SENTENCE.split(answer.strip())[:_SENTENCES]:
        try:
            return _subject(_TOKEN.findall(sentence))
        except _UnclearError as error:
            problem = problem or error
    assert problem is not None
    raise problem


def noun_span(expression: str, *, field: str) -> tuple[int, int]:
    """The characters [start, end) of the noun of a referring expression, with or without an article ("man in black").
    Raises DataError with this `field` where the rules cannot decide."""
    tokens = list(_TOKEN.finditer(expression))
    sentence = _Sentence([token.group() for token in tokens])
    try:
        phrase = sentence.noun_phrase(sentence.subject_start(), bare=True)
        if sentence.lower_word(phrase.end - 1) in words.CONTAINERS and sentence.lower_word(phrase.end) == "of":
            phrase = sentence.noun_phrase(phrase.end + 1, bare=True)
        noun = sentence.lower_word(phrase.end - 1)
        if noun in words.FRAMES:
            raise _UnclearError(f"{noun!r} does not say what the object is")
        if phrase.start == phrase.content and noun in words.VERBS:
            raise _UnclearError(f"{noun!r} may be a noun or a verb")
    except _UnclearError as error:
        hint = "begin the expression with the object, as in 'the brown dog on the left'"
        raise DataError(f"no noun found, {error}", field=field, hint=hint) from error
    return tokens[phrase.end - 1].span()


def question_noun(question: str) -> tuple[int, int]:
    """The characters [start, end) of the noun that a question is about: that of its first phrase with an article which
    names something in the video, as "dog" in "Describe the brown dog in the video." Raises DataError (field "question")
    where the rules cannot decide."""
    tokens = list(_TOKEN.finditer(question))
    sentence = _Sentence([token.group() for token in tokens])
    problem = "it has no phrase that begins with an article"
    for at in range(len(tokens)):
        if sentence.lower_word(at) not in words.DETERMINERS or sentence.lower_word(at - 1) in words.DETERMINERS:
            continue
        try:
            end = sentence.asked_phrase(at).end
        except _UnclearError as error:
            problem = str(error)
            continue
        if (noun := sentence.lower_word(end - 1)) not in words.FRAMES:
            return tokens[end - 1].span()
        problem = f"{noun!r} does not say what the object is"
    hint = "mark it yourself, as in 'Describe the brown <ins>dog</ins>.'"
    raise DataError(f"no noun found, {problem}", field="question", hint=hint)


def _subject(tokens: list[str]) -> Phrase:
    sentence = _Sentence(tokens)
    at = sentence.subject_start()
    phrase = sentence.noun_phrase(at)
    noun = sentence.lower_word(phrase.end - 1)
    if noun in words.FRAMES:  # "The video shows a brown dog running."
        phrase = sentence.noun_phrase(sentence.after_shows(phrase.end))
        if (noun := sentence.lower_word(phrase.end - 1)) in words.FRAMES:
            raise _UnclearError(f"{noun!r} does not say what the object is")
    whole, head = phrase, phrase
    if noun in words.CONTAINERS and sentence.lower_word(phrase.end) == "of":
        head = sentence.noun_phrase(phrase.end + 1, bare=True)
        whole = _NounPhrase(phrase.start, phrase.content, head.end)
    return Phrase(
        short=sentence.text(whole, whole.end),
        noun=sentence.noun(head),
        long=sentence.text(whole, sentence.attachment_end(whole)),
    )


class _Sentence:
    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens

    def lower_word(self, at: int) -> str:
        """The word at a position in lower case; "." outside of the sentence."""
        return self.tokens[at].lower().replace("’", "'") if 0 <= at < len(self.tokens) else "."

    def subject_start(self) -> int:
        """The position where the subject begins: after "Yes,", "In the video," and "There is"."""
        at = 0
        if self.lower_word(0) in _YES:
            at = 2 if self.lower_word(1) == "," else 1
        if self.lower_word(at) in words.STOPS and "," in self.tokens[at:]:
            at = self.tokens.index(",", at) + 1
        if (
            self.lower_word(at) in {"there", "this", "that", "these", "those", "here"}
            and self.lower_word(at + 1) in words.AUXILIARIES
        ):
            at += 2
        return at

    def after_shows(self, at: int) -> int:
        """The position after the verb of "the video shows …"."""
        for i in range(at, len(self.tokens) - 1):
            if self.lower_word(i) in words.SHOWS and self.lower_word(i + 1) in words.DETERMINERS:
                return i + 1
        raise _UnclearError("it is about the video, and does not say that it shows something")

    def noun_phrase(self, at: int, bare: bool = False) -> _NounPhrase:
        """The noun phrase that begins at a position. `bare`: it may have no article."""
        if self.lower_word(at) in words.PRONOUNS | words.POSSESSIVES:
            raise _UnclearError(f"it begins with the pronoun {self.tokens[at]!r}")
        start = at
        while self.lower_word(at) in words.DETERMINERS:
            at += 1
        if start == at and not bare and self.lower_word(at) not in words.ADJECTIVES:
            raise _UnclearError(f"it begins with {self.lower_word(at)!r}, which is no article")
        content = at
        while self._has_next_word(start, content, at):
            at += 1
        if at == content or self._modifies(at - 1, last=True):
            raise _UnclearError(f"no noun before {self.lower_word(at)!r}")
        return _NounPhrase(start, content, at)

    def asked_phrase(self, at: int) -> _NounPhrase:
        """The noun phrase of a question that begins at a position; of "a group of people" that of the people."""
        phrase = self.noun_phrase(at)
        if self.lower_word(at - 1) in words.MODALS:  # "does the dog look tired": the verb has no ending
            head = range(phrase.content + 1, phrase.end)
            verbs = (i for i in head if self.lower_word(i) in words.VERBS and not self._modifies(i - 1, last=True))
            if (verb := next(verbs, None)) is not None:
                return _NounPhrase(phrase.start, phrase.content, verb)
            if self.lower_word(phrase.end) not in words.AUXILIARIES | words.VERBS:
                raise _UnclearError(f"no verb is known behind {self.lower_word(at - 1)!r}")
        if self.lower_word(phrase.end - 1) in words.CONTAINERS and self.lower_word(phrase.end) == "of":
            return self.noun_phrase(phrase.end + 1, bare=True)
        return phrase

    def _has_next_word(self, start: int, content: int, at: int) -> bool:
        """Whether the word at `at` still belongs to the phrase."""
        word, before = self.lower_word(at), at - 1
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
        many = any(self.lower_word(i) not in {"the", "a", "an", "this", "that"} for i in range(start, content))
        return not self._is_verb(at, plural_subject=many)

    def _modifies(self, at: int, last: bool = False) -> bool:
        """Whether a word modifies a noun rather than being one; `last`: no other word could be the noun."""
        word = self.lower_word(at)
        if last and word in words.NOUN_ADJECTIVES:
            return False
        end = word.rpartition("-")[2]
        if word in words.ADJECTIVES or end in words.ADJECTIVES or word.endswith("'s") or word in {",", "and"}:
            return True
        return end.isdigit() or (end not in words.NOUNS and end.endswith(("ed", "ing", "ly")))

    def _is_verb(self, at: int, plural_subject: bool) -> bool:
        """Whether the word after a possible noun is the verb. Raises _UnclearError when it may be either."""
        word, plural = self.lower_word(at), _is_plural(self.lower_word(at - 1))
        follows = self.lower_word(at + 1)
        ends = follows in words.FUNCTION_WORDS or not follows[0].isalnum() or follows.endswith("ly")
        if word.endswith("ly") or word in words.IRREGULAR:
            return True
        if word.endswith(("ing", "ed")):
            if _base_form(word) in words.VERBS or ends:
                return True
        elif word.endswith("s") and not word.endswith(("ss", "us", "is")):
            if plural_subject and not plural:
                return False
            is_known_verb = _base_form(word) in words.VERBS
            if is_known_verb and (ends or (not plural and word not in words.UNSURE)):
                return True
        else:
            return plural and word in words.VERBS
        raise _UnclearError(f"{word!r} may be a noun or a verb")

    def attachment_end(self, phrase: _NounPhrase) -> int:
        """The end of a phrase like "in a black cap" or "wearing a hat" after this one; without one, this phrase's
        end."""
        word = self.lower_word(phrase.end)
        if word in words.STOPS or (word.endswith("ing") and word not in words.NOUNS):
            try:
                return self.noun_phrase(phrase.end + 1).end
            except _UnclearError:
                pass
        return phrase.end

    def noun(self, phrase: _NounPhrase) -> str:
        return self._word(phrase.end - 1)

    def text(self, phrase: _NounPhrase, end: int) -> str:
        """The words of a phrase up to `end`, with "the": the question is about one object that is visible."""
        leading = [self.lower_word(i) for i in range(phrase.start, phrase.content)]
        dropped = {"the", "a", "an", "this", "that", "these", "those", "another"}
        determiners = [word for word in leading if word not in dropped]
        rest = [self._word(i) for i in range(phrase.content, end)]
        return re.sub(r" (?=,)", "", " ".join(["the", *determiners, *rest]))

    def _word(self, at: int) -> str:
        # Only the capital of the sentence's first word is removed, names keep theirs.
        return self.tokens[at][0].lower() + self.tokens[at][1:] if at == 0 else self.tokens[at]


def _is_plural(word: str) -> bool:
    return word in words.PLURALS or (word.endswith("s") and not word.endswith(("ss", "us", "is", "'s")))


def _base_form(word: str) -> str:
    """The base form of a verb in the word list, else the word itself."""
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending):
            stem = word.removesuffix(ending)
            candidates = (stem, f"{stem}e", stem[:-1] if stem[-1:] == stem[-2:-1] else "", f"{stem[:-1]}y")
            if base := next((c for c in candidates if c in words.VERBS), None):
                return base
    return {"lying": "lie", "dying": "die", "tying": "tie"}.get(word, word)
