"""Texts as every machine writes them: line ends, composed characters, and the spellings of the video's token.

Two texts that look the same are then the same: Windows ends lines in a carriage return and a newline, macOS takes
letters and their accents apart (Unicode's NFD), and each would give a model other tokens than it was trained on.
"""

from __future__ import annotations

import re
import unicodedata

from swim.data.types import DataError

# `<video>` in any case, with blanks, a number, a slash or an attribute; the names of LLaVA's and of Qwen's tokens.
_MEDIA_PATTERN = (
    r"<\s*+/?\s*+(?:video|image|vid|img)s?[-_ ]?(?:token|pad|placeholder)?\s*+[0-9]*+\s*+/?\s*+>"
    r"|<\|\s*+(?:vision_start|vision_end|vision_pad|video_pad|image_pad|video|image)\s*+\|>"
)
_MEDIA = re.compile(_MEDIA_PATTERN, re.IGNORECASE)
# One video, in the spellings that mean just that.
_ONE_VIDEO = re.compile(
    r"<\s*+(?:video|image)\s*+/?\s*+>"
    r"|(?:<\|vision_start\|>)?<\|(?:video|image)_pad\|>(?:<\|vision_end\|>)?"
    r"|<\|(?:video|image)\|>",
    re.IGNORECASE,
)
_TAG = re.compile("(<[^<>]*>)")
_BLANKS = " \t\n\r\f\v\u00a0\u200b\ufeff"  # also those that no one sees: a no-break space, a zero width one, a late BOM
_MAX_BLANKS = 64
_MAX_MARKS = 30


def uniform(text: str) -> str:
    """The text with lines that end in a newline alone, and its characters composed (Unicode's NFC). Tags stay as they
    are: a character that combines with one would change it."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if text.isascii() or unicodedata.is_normalized("NFC", text):
        return text
    return "".join(
        piece if number % 2 else unicodedata.normalize("NFC", piece) for number, piece in enumerate(_TAG.split(text))
    )


def stacked_marks(text: str) -> bool:
    """Whether a letter has more accents than any language writes. Composing them takes quadratic time: 1,400 s for a
    text of 2^20 of them. Unicode's own limit (UAX 15, stream-safe text) is 30."""
    run = 0
    for character in "" if text.isascii() else text:
        run = run + 1 if unicodedata.combining(character) else 0
        if run > _MAX_MARKS:
            return True
    return False


def without_video(text: str) -> str:
    """A question without the one video that is named before or after it, nor the blanks between them. The encoder
    decides where the video goes."""
    begin = _skip_blanks(text)
    if match := _ONE_VIDEO.match(text, begin):
        return text[_skip_blanks(text, match.end()) :]
    tail = text.rstrip(_BLANKS)
    for match in _ONE_VIDEO.finditer(tail, max(len(tail) - _MAX_BLANKS, 0)):
        if match.end() == len(tail):
            return tail[: match.start()].rstrip(_BLANKS)
    return text


def video_token(text: str) -> str:
    """The first token of a video or picture in a text, in any spelling; empty if there is none."""
    match = _MEDIA.search(text)
    return match.group() if match else ""


def uniform_index(text: str, index: int, field: str) -> int:
    """Where character `index` of `text` is in `uniform(text)`, for a text without tags. Raises DataError inside what
    becomes one character."""
    before, after = uniform(text[:index]), uniform(text[index:])
    if before + after != uniform(text):
        hint = "an accent belongs to the letter before it, and \\r\\n is one line end: count whole ones"
        raise DataError(f"character {index} is inside a letter or a line end", field=field, hint=hint)
    return len(before)


def _skip_blanks(text: str, start: int = 0) -> int:
    while start < len(text) and text[start] in _BLANKS:
        start += 1
    return start
