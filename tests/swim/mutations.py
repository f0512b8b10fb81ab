"""Valid rows made wrong: structure, text and numbers of a JSON value changed at random, by a seeded generator."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

_DEPTH = 8  # a hostile value is not mutated inside
TAG_PIECES = [
    *("<ins>", "</ins>", "<ins>", "</ins>", "<ins>dog</ins>", "<INS>", "</ ins>", "< ins >", "<ins ", "<ins/>", "ins>"),
    *("<", ">", "/", " ", "\n", "\t", "dog", "é", "🐕", "\u200b", "\u2028", "\x00", "\ud800", "a" * 50),
]
TEXT_PIECES = [
    *TAG_PIECES,
    *(
        "<region>",
        "<object0>",
        "<object0><region>",
        "<Region>",
        "<object99999999>",
        "<video>",
        "<image>\n",
        "\n<video>",
    ),
    *("<|im_end|>", "<|video_pad|>", "(A) ", "(Z)", "qa", "../../etc/passwd", "http://x/y", "1e999", "x" * 3000),
]


def _deep(make: Any, levels: int = 20_000) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = make(value)
    return value


DEEP = [_deep(lambda value: [value]), _deep(lambda value: {"segmentation": value}), _deep(lambda value: {"0": value})]
NUMBERS = [0, 1, -1, 2, 7, 2**31, 2**63, 2**64, -(2**70), 10**400, 10**5000, 0.0, -0.0, 0.5, 1e300, 5e-324]
NUMBERS += [float("nan"), float("inf"), float("-inf"), True, False]
HOSTILE = [None, "", " ", "\ud800", "\x00", "0", "ins", "x" * 70_000, [], {}, [[]], [None], {"": None}, [{}], {"0": {}}]
HOSTILE += [*NUMBERS, *DEEP, list(range(1000)), {str(i): i for i in range(1000)}]


def mutated(rng: random.Random, rows: Sequence[dict[str, Any]]) -> Any:
    """A copy of one of the rows with one to four changes. Hostile values are shared, and must not be written to."""
    holder = [_copy(rng.choice(rows))]
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        _mutate(rng, rng.choice(list(_places(holder))), rng.choice(rows))
    return holder[0]


def mutated_text(rng: random.Random, text: str, pieces: Sequence[str] = TEXT_PIECES) -> str:
    at, to = sorted((rng.randint(0, len(text)), rng.randint(0, len(text))))
    change = rng.randrange(5)
    if change == 0:
        return text[:at] + rng.choice(pieces) + text[at:]
    if change == 1:
        return text[:at] + text[to:]
    if change == 2:
        return text[:to] + text[at:to] * rng.randint(1, 3) + text[to:]
    if change == 3:
        return text[:at] + chr(rng.choice((0, 32, 47, 48, 60, 62, 96, 111, 112, 0xD800, 0x1F415))) + text[at + 1 :]
    return text[to:] + text[at:to] + text[:at]


def _hostile(value: Any) -> bool:
    return any(value is one for one in HOSTILE)


def _copy(value: Any) -> Any:
    """A deep copy in which hostile values, which may be too deep for that, are shared."""
    if _hostile(value):
        return value
    if isinstance(value, dict):
        return {key: _copy(inner) for key, inner in value.items()}
    return [_copy(inner) for inner in value] if isinstance(value, list) else value


def _places(value: Any, depth: int = 0) -> Iterator[tuple[Any, Any]]:
    """(list or dict, index or key) of every value inside."""
    for key in list(range(len(value)) if isinstance(value, list) else value):
        yield value, key
        if depth < _DEPTH and isinstance(value[key], list | dict) and not _hostile(value[key]):
            yield from _places(value[key], depth + 1)


def _mutate(rng: random.Random, place: tuple[Any, Any], other: dict[str, Any]) -> None:
    """Changes what stands at a place: its value, its being there, its neighbours."""
    container, key = place
    value = container[key]
    change = rng.randrange(8)
    if change == 0:
        container[key] = rng.choice(HOSTILE)
    elif change == 1 and isinstance(value, str):
        container[key] = mutated_text(rng, value)
    elif change == 2 and isinstance(value, int | float):
        container[key] = rng.choice((*NUMBERS, value + 1, value - 1, -value, value * 2, "7", [value]))
    elif change == 3 and isinstance(container, dict):
        del container[key]
    elif change == 3 and len(container) > 1:
        container.pop(key)
    elif change == 4 and isinstance(container, list):
        container.insert(key, _copy(value))
    elif change == 5 and isinstance(container, dict):
        container[mutated_text(rng, key)] = container.pop(key)
    elif change == 6:
        container[key] = [value] if rng.random() < 0.5 else {key if isinstance(key, str) else "0": value}
    elif isinstance(value, dict) and not _hostile(value):  # a field of another row, at home or somewhere else
        field = rng.choice(list(other))
        value[field] = _copy(other[field])
    else:
        container[key] = rng.choice(HOSTILE)
