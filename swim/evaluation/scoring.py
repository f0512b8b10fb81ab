"""What a scorer of answers gets: answers beside what the annotations say, and somebody to ask. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from swim.data.types import ReferSample, Turn
from swim.outputs import Answer


@dataclass(frozen=True)
class Asked:
    """A model's answer, and the annotation row of its clip: options, type of question, masks, and the video, whose
    questions are not independent."""

    answer: Answer
    sample: ReferSample

    @property
    def turn(self) -> Turn:
        """The question as annotated, and the answer to compare with."""
        return self.sample.turns[self.answer.turn]


@dataclass(frozen=True)
class Question:
    """A chat for a language model: messages with "role" and "content". With a `schema` (JSON schema, called `name`:
    letters and underscores) the reply is to be such JSON, else text. Equal questions get one reply, unless they are of
    another `repeat`."""

    messages: tuple[Mapping[str, Any], ...]
    schema: Mapping[str, Any] | None = None
    name: str = ""
    repeat: int = 0


@dataclass(frozen=True)
class Reply:
    """What the language model said; or its `refusal`; or the `failure` why it could not be asked. `finish` is the
    server's reason for the end ("stop"; "length" where the text is cut off)."""

    text: str = ""
    refusal: str = ""
    failure: str = ""
    finish: str = ""


# Replies in the order of the questions. May be called again, to ask again for the reason that a reply cannot be read.
Ask = Callable[[Sequence[Question]], list[Reply]]
