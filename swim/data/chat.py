"""How a conversation is written for a model: its special tokens and texts, in order. Imports no torch.

Text of the data is tokenised on its own, so that a special token that it spells stays text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from swim.data.annotations import markup
from swim.data.types import Turn


class Special(str):
    """A token of its own, by its text in the vocabulary."""


@dataclass(frozen=True)
class Message:
    """What surrounds the words of one role, special tokens and texts. `lead` is tokenised with the words, and of an
    answer is learnt with them: what follows a prompt."""

    opening: tuple[str, ...]
    closing: tuple[str, ...]
    lead: str = ""


@dataclass(frozen=True)
class Chat:
    """The messages of a model family. A video stands between the opening and the words of the first question;
    `system_prompt` is what the family's own template begins with, None where it begins with nothing."""

    human: Message
    answer: Message
    system: Message
    system_prompt: str | None = None
    start: tuple[str, ...] = ()


START, END = Special("<|im_start|>"), Special("<|im_end|>")
SYSTEM = "You are a helpful assistant."


def _chatml(role: str) -> Message:
    return Message((START, f"{role}\n"), (END, "\n"))


CHATML = Chat(_chatml("user"), _chatml("assistant"), _chatml("system"))  # as the Qwen models have it


@dataclass(frozen=True)
class Piece:
    """A special token, or a text of which no part is one. `label`: the model learns to write it. The words of a turn
    (`turn`, numbered from 0) follow the first `lead` characters; `tags` were the `<ins>` tags in them."""

    text: str
    label: bool = False
    turn: int = -1
    lead: int = 0
    tags: tuple[markup.Span, ...] = ()

    @property
    def special(self) -> bool:
        """Whether it is a token of its own."""
        return isinstance(self.text, Special)


def pieces(chat: Chat, turns: Sequence[Turn], system: str | None, video: Sequence[str] = ()) -> Iterator[Piece]:
    """A conversation about a video, without its `<ins>` tags. `video` is what stands for it.

    Raises:
        MarkupError: for tags that cannot be read.
    """
    yield from map(Piece, chat.start)
    if system is not None:
        yield from _message(chat.system, system, ())
    for number, turn in enumerate(turns):
        yield from _message(chat.human, turn.human, video if number == 0 else (), number)
        yield from _message(chat.answer, turn.gpt, (), number, label=True)


def _message(message: Message, text: str, video: Sequence[str], turn: int = -1, label: bool = False) -> Iterator[Piece]:
    words, tags = (text, ()) if turn < 0 else markup.strip_tags(text)
    yield from map(Piece, (*message.opening, *video))
    yield Piece(message.lead + words, label, turn, len(message.lead), tuple(tags))
    # The token that ends an answer is learnt; what follows it is the template's.
    yield Piece(message.closing[0], label)
    yield from map(Piece, message.closing[1:])


def runs(conversation: Iterable[Piece]) -> Iterator[tuple[bool, list[Piece]]]:
    """Neighbours that are tokenised together: (whether they are special tokens, the pieces). The border of a label is
    one of tokens, as it is where a model answers a prompt."""
    for (special, _), group in groupby(conversation, key=lambda piece: (piece.special, piece.label)):
        yield special, list(group)
