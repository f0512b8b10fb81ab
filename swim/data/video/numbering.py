"""The frames that the keys of an annotation mean, where a video is a folder of pictures with numbers in their names.

A key counts frames from 0 ("position"), or is the number in a picture's name ("number"). Both are the same for pictures
0, 1, 2, …, and for video files, which have no other numbers. They differ where numbers have gaps or begin elsewhere: of
0.jpg, 5.jpg and 10.jpg, key 5 is no frame by position, and the second one by number.
"""

from __future__ import annotations

from collections.abc import Iterable

from swim.data.types import DataError

NumberRun = tuple[int, int, int]
"""Ascending numbers first, first + step, …: (first, step, count)."""
MAX_RUNS = 4096


def number_runs(numbers: Iterable[int]) -> tuple[NumberRun, ...]:
    """Ascending numbers as runs; empty where they are 0, 1, 2, … and so the same as positions."""
    runs: list[NumberRun] = []
    for number in numbers:
        first, step, count = runs[-1] if runs else (number, 1, 0)
        if runs and count == 1:
            runs[-1] = (first, number - first, 2)
        elif runs and number == first + step * count:
            runs[-1] = (first, step, count + 1)
        else:
            runs.append((number, 1, 1))
    return () if len(runs) == 1 and runs[0][:2] == (0, 1) else tuple(runs)


def positions(keys: Iterable[int], numbers: tuple[NumberRun, ...] | None) -> dict[int, int]:
    """Key → position, for keys that are the numbers in names. `numbers` as in `VideoInfo`. Raises DataError (field
    "annotation")."""
    if numbers is None:
        hint = 'each name needs one number that changes: rename the pictures, or count frames from 0 ("position")'
        raise DataError("frames by number, and no number in the names", field="annotation", hint=hint)
    found = {key: _position(key, numbers) if numbers else key for key in keys}
    if missing := [key for key, position in found.items() if position is None]:
        first, (last, step, count) = numbers[0][0], numbers[-1]
        hint = f"the numbers in the names go from {first} to {last + step * (count - 1)}; is it the right folder?"
        raise DataError(f"no picture has the number {missing[0]}", field="annotation", hint=hint)
    return {key: position for key, position in found.items() if position is not None}


def _position(key: int, numbers: tuple[NumberRun, ...]) -> int | None:
    before = 0
    for first, step, count in numbers:
        if first <= key <= first + step * (count - 1) and (key - first) % step == 0:
            return before + (key - first) // step
        before += count
    return None
