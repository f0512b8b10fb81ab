"""Parts of a file: together they are what read_rows gives, each is read from its own bytes, and errors stay errors."""

import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swim.data.rows.read import Part, read_part, read_rows, split
from swim.data.types import DataError

ROWS = [
    "{}",
    '{"a": 1}',
    '{"é😀": "]},{\\"", "b": [[], "\\ud83d"]}',
    "-1.5e3",
    "null",
    '"\ud800[{"',
    "[ ]",
    '{"\\\\": 0}',
]
BLANKS = st.sampled_from(["", " ", "\n", "\r\n\t ", " " * 20])
ENCODINGS = st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "utf-32-le"])
CHUNKS = st.integers(1, 12) | st.just(2**20)
SIZES = st.integers(1, 5)


@st.composite
def arrays(draw: st.DrawFn) -> str:
    rows = draw(st.lists(st.sampled_from(ROWS), max_size=9))
    inside = ",".join(draw(BLANKS) + row + draw(BLANKS) for row in rows)
    return f"{draw(BLANKS)}[{inside or draw(BLANKS)}]{draw(BLANKS)}"


LINES = st.lists(st.sampled_from([*ROWS, "", " \t", "\r", '{"a": ', "é"]), max_size=9).map("\n".join)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    folder = tmp_path_factory.mktemp("parts")

    def written(content: bytes, name: str = "a.json") -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return written


def until_error(items: Iterator[Any]) -> tuple[list[Any], str]:
    """What came, and the error behind it."""
    got: list[Any] = []
    try:
        for item in items:
            got.append(item)
    except DataError as error:
        return got, str(error)
    return got, ""


def check(path: Path, rows_per_part: int, **limits: int) -> tuple[list[Part], str]:
    """Splits a file, and holds the parts against what `read_rows` gives."""
    rows, error = until_error(read_rows(path, **limits))
    parts, split_error = until_error(split(path, rows_per_part, **limits))
    assert split_error == error
    assert repr([row for part in parts for row in read_part(part, **limits)]) == repr(rows)
    assert all(part.rows == rows_per_part for part in parts[:-1])
    assert all(0 < part.rows <= rows_per_part and part.file == str(path) for part in parts)
    for before, part in pairwise(parts):
        assert (part.first, part.start) == (before.first + before.rows, before.end)
    content = path.read_bytes()
    for part in parts:  # each alone: whatever the rest of the file is
        path.write_bytes(b"\xff" * part.start + content[part.start : part.end] + b"\xff" * 9)
        assert list(read_part(part, **limits)) == rows[part.first : part.first + part.rows]
    path.write_bytes(content)
    return parts, error


@given(arrays(), ENCODINGS, CHUNKS, SIZES)
def test_parts_of_an_array_are_its_rows(
    file: Callable[..., Path], text: str, encoding: str, chunk: int, size: int
) -> None:
    content = text.encode(encoding, "surrogatepass")
    parts, error = check(file(content), size, chunk_bytes=chunk)
    assert not error
    assert sum(part.rows for part in parts) == len(json.loads(content))


@given(LINES, st.sampled_from(["utf-8", "utf-8-sig"]), SIZES)
def test_parts_of_lines_are_their_rows(file: Callable[..., Path], text: str, encoding: str, size: int) -> None:
    path = file(text.encode(encoding, "surrogatepass"), "a.jsonl")
    parts, error = check(path, size)
    lines = [line for line in text.split("\n") if line.strip()]
    if len(lines) > 1 and not any(line.startswith("{") and line != '{"a": ' for line in lines):
        assert "no line is a JSON object" in error
        return
    assert not error
    assert sum(part.rows for part in parts) == len(lines)


@given(arrays(), st.data(), CHUNKS, SIZES)
def test_what_stands_before_damage_is_in_parts(
    file: Callable[..., Path], text: str, data: st.DataObject, chunk: int, size: int
) -> None:
    good = text.encode("utf-8", "surrogatepass")
    at = data.draw(st.integers(0, len(good)))
    byte = data.draw(st.sampled_from([b"", *(bytes([b]) for b in b'[]{},:"\\ 1\xff\xc3')]))
    check(file(good[:at] + byte + good[at + data.draw(st.integers(0, 1)) :]), size, chunk_bytes=chunk)


BEFORE = ' [{"id": "a"},\n {"id": "é"} , {"id": "c"},\n '  # three rows, 45 bytes


@pytest.mark.parametrize("chunk", [1, 2**20])
@pytest.mark.parametrize(
    ("behind", "parts", "place"),
    [
        ('{"id" 3}, {}]', [2, 1], "row 3 field 'file': not valid JSON: Expecting ':' delimiter, at byte 51"),
        ('{"id": "d', [2, 1], "row 3 field 'file': the file ends inside its array"),
        ("{} {}]", [2, 1], "row 3 field 'file': not valid JSON: Expecting ',' delimiter, at byte 48"),
        ('{"id": "' + "x" * 99, [2, 1], "row 3 field 'row': too large, begins at byte 45"),
        ('{"id": "' + "x" * 99 + '"}, {}]', [2, 1], "row 3 field 'row': too large, begins at byte 45"),
        ("{}] x", [2, 2], "field 'file': text behind the end of the array, at byte 49"),
        ("{}, {}]", [2, 2, 1], ""),
    ],
)
def test_the_rows_before_an_error_are_in_a_smaller_part(
    file: Callable[..., Path], behind: str, parts: list[int], place: str, chunk: int
) -> None:
    found, error = check(file(f"{BEFORE}{behind}".encode()), 2, chunk_bytes=chunk, max_row_bytes=90)
    assert [part.rows for part in found] == parts
    assert place in error
    assert bool(place) == bool(error)


def test_the_lines_before_too_large_a_one_are_in_a_smaller_part(file: Callable[..., Path]) -> None:
    path = file(b'{"id": "a"}\n\n{"id": "b"}\n{"id": "c"}\n' + b"x" * 99 + b'\n{"id": "d"}\n', "a.jsonl")
    parts, error = check(path, 2, max_row_bytes=90)
    assert [(part.first, part.rows, part.start, part.end) for part in parts] == [(0, 2, 0, 25), (2, 1, 25, 37)]
    assert "row 3 field 'row': too large, begins at byte 37" in error


def test_an_encoding_needs_no_mark_in_the_middle(file: Callable[..., Path]) -> None:
    """A part begins where no byte order mark is: it carries the encoding that the beginning of the file showed."""
    text = json.dumps([{"id": "é😀"}] * 4, ensure_ascii=False)
    for encoding, told in (("utf-8-sig", "utf-8"), ("utf-16", "utf-16-le"), ("utf-32", "utf-32-le")):
        parts, _ = check(file(text.encode(encoding)), 3)
        assert [(part.rows, part.encoding) for part in parts] == [(3, told), (1, told)]
    parts, _ = check(file(b"\xfe\xff" + text.encode("utf-16-be")), 3)
    assert [part.encoding for part in parts] == ["utf-16-be"] * 2


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("a.json", b"[{}, 12, {}, 4]", b"[{}, 1,2,3, 4]"),  # three rows where two were
        ("a.json", b"[{}, 12, {}, 4]", b"[{}, 1] , {}, 4"),  # the array ends there
        ("a.json", b"[{}, 12, {}, 4]", b"[{}, 12, {  , 4"),
        ("a.json", b"[{}, 12, {}, 4]", b"[{}, 12,"),
        ("a.jsonl", b"{}\n12\n{}\n4\n", b"{}\n1\n2\n{}\n"),
        ("a.jsonl", b"{}\n12\n{}\n4\n", b"{}\n12 {}\n4\n"),
    ],
)
def test_a_file_changed_after_it_was_split_is_refused(
    file: Callable[..., Path], name: str, before: bytes, after: bytes
) -> None:
    path = file(before, name)
    part = next(split(path, 3))
    path.write_bytes(after)
    rows, error = until_error(read_part(part))
    assert "was changed" in error or "not valid JSON" in error or "ends inside its array" in error
    assert str(path) in error
    assert len(rows) <= 4


def test_a_part_has_at_least_one_row(file: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match="rows_per_part is 0"):
        list(split(file(b"[]"), 0))


@pytest.mark.parametrize("passed", [read_rows, lambda path: split(path, 1)])
@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("a.zip", "unpack it first: .json (one array), .jsonl (one row a line) and .parquet are read"),
        ("a.parquet.gz", "unpack it first"),
        ("s3://bucket/a.tar.gz", "unpack it first"),
        ("s3://bucket/folder.parquet/", "give each of its files"),
        ("a.csv", "are read: rename it to what it holds"),
        ("folder/annotations", "are read: rename it to what it holds"),
    ],
)
def test_other_kinds_of_files_are_refused(passed: Callable[[str], Iterator[Any]], name: str, hint: str) -> None:
    with pytest.raises(DataError) as raised:
        list(passed(name))
    assert raised.value.file == name
    assert hint in raised.value.hint
