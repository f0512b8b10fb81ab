"""Streamed rows: what json.loads gives, in little memory; where a file breaks, nothing is lost and nothing invented."""

import json
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swim.data.rows.read import read_rows, split
from swim.data.rows.unique_keys import InvalidRow
from swim.data.types import DataError

SCALARS = st.sampled_from(
    [
        *("null", "true", "false", "NaN", "Infinity", "-Infinity", "0", "-0", "-0.0", "12.5E-3", "1e400", "7" * 4000),
        *(r'"\ud83d\ude00"', r'"\ud83d"', r'"\ude00\ud83d"', r'"]},{[\"\\"', r'"\\\\"', r'"\u005d\/\b\t"', '""'),
        *('"é€😀"', '"\ud800"', '"\udfff\ud800"', '"  ,]  "', "[]", "{}"),
    ]
) | st.text(max_size=5).map(lambda text: json.dumps(text, ensure_ascii=False))
BLANKS = st.text(" \t\r\n", max_size=3)
BLANK_BYTES = (b" ", b"\t", b"\r", b"\n")


@st.composite
def arrays(draw: st.DrawFn, inside: st.SearchStrategy[str]) -> str:
    return f"[{','.join(draw(BLANKS) + text + draw(BLANKS) for text in draw(st.lists(inside, max_size=4)))}]"


@st.composite
def objects(draw: st.DrawFn, inside: st.SearchStrategy[str]) -> str:
    keys = st.sampled_from(['"a"', '"é"', r'"\"}"'])  # few, so that some come twice
    pairs = draw(st.lists(st.tuples(keys, inside), max_size=4))
    return f"{{{','.join(f'{draw(BLANKS)}{key}{draw(BLANKS)}:{draw(BLANKS)}{text}' for key, text in pairs)}}}"


VALUES = st.recursive(SCALARS, lambda inside: arrays(inside) | objects(inside), max_leaves=12)
FILES = st.builds(lambda before, array, behind: before + array + behind, BLANKS, arrays(VALUES), BLANKS)
ENCODINGS = st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
CHUNKS = st.integers(1, 12) | st.just(2**20)
TWICE = "a row that has a key twice"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    folder = tmp_path_factory.mktemp("rows")

    def written(content: bytes, name: str = "a.json") -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return written


def read(path: Path, **limits: int) -> tuple[list[Any], DataError | None]:
    """The rows, and the error that came after them."""
    rows: list[Any] = []
    try:
        for row, raw in read_rows(path, **limits):
            assert row == len(rows)
            rows.append(TWICE if isinstance(raw, InvalidRow) and "twice" in raw.reason else raw)
    except DataError as error:
        return rows, error
    return rows, None


@given(FILES, ENCODINGS, CHUNKS)
def test_streamed_rows_are_what_json_gives(file: Callable[..., Path], text: str, encoding: str, chunk: int) -> None:
    content = text.encode(encoding, "surrogatepass")
    rows, error = read(file(content), chunk_bytes=chunk)
    assert error is None
    assert repr(rows) == repr(_expected(content))  # repr: NaN equals itself, 1 is not True, keys keep their order


@given(FILES, st.data(), CHUNKS)
def test_damage_is_seen_wherever_it_is(file: Callable[..., Path], text: str, data: st.DataObject, chunk: int) -> None:
    """One byte removed, put in or changed: an error exactly where json.loads sees one, the same in pieces of any size,
    and before it only rows that the undamaged part of the file spells out."""
    good = text.encode("utf-8", "surrogatepass")
    at = data.draw(st.integers(0, len(good)))
    byte = data.draw(st.sampled_from([b"", *(bytes([b]) for b in b'[]{},:"\\ 1ae-.\n\xff\xc3\x00')]))
    content = good[:at] + byte + good[at + data.draw(st.integers(0, 1)) :]
    rows, error = read(file(content), chunk_bytes=chunk)
    try:
        whole = _expected(content)
    except ValueError:
        whole = None
    if isinstance(whole, list):
        assert (repr(rows), error) == (repr(whole), None)
        return
    assert error is not None
    at_once, same = read(file(content))
    assert same is not None
    assert repr(rows) == repr(at_once)
    assert error.row == same.row
    if error.row >= 0:
        assert error.row == len(rows)
        assert error.reason.split(", near")[0] == same.reason.split(", near")[0]
    ends = [end for end in range(len(content) + 1) if content[end : end + 1] in (b"", b",", b"]", *BLANK_BYTES)]
    spelt_out = {repr(_loads(content[:end] + b"]")) for end in ends} if rows else set()
    assert {repr(rows[: n + 1]) for n in range(len(rows))} <= spelt_out


def _loads(content: bytes) -> Any:
    try:
        return _expected(content)
    except ValueError:
        return None


def _expected(content: bytes) -> Any:
    """What json.loads gives, with `TWICE` for rows that have a key twice."""
    whole = json.loads(content)
    pairs = json.loads(content, object_pairs_hook=_Pairs)
    if not isinstance(whole, list):
        return whole
    return [TWICE if _has_twice(row) else value for value, row in zip(whole, pairs, strict=True)]


class _Pairs(list[Any]):
    """The pairs of an object."""


def _has_twice(value: Any) -> bool:
    if isinstance(value, _Pairs):
        names = [name for name, _ in value]
        return len(set(names)) < len(names) or any(_has_twice(inner) for _, inner in value)
    return isinstance(value, list) and any(map(_has_twice, value))


@pytest.mark.fault(
    injection="a JSON file of annotations is cut at every byte",
    symptom="the last row is half, or the rest counts as absent",
    expected="error names row and byte; whole rows are read",
)
@pytest.mark.parametrize("chunk", [1, 5, 2**20])
def test_a_file_cut_anywhere_gives_whole_rows_and_an_error(file: Callable[..., Path], chunk: int) -> None:
    rows = [{"é😀": [1, {"b": "]"}], "c": -1.5e-7}, 1234567, "x\\", [], None, {"d": "\ud83d"}, float("inf"), True]
    for content in (json.dumps(rows).encode(), json.dumps(rows, ensure_ascii=False).encode("utf-8", "surrogatepass")):
        for end in range(len(content)):
            got, error = read(file(content[:end]), chunk_bytes=chunk)
            assert error is not None
            assert got == rows[: len(got)]
            if end > 2:
                assert "cut off" in error.hint
                assert error.row == len(got)
        assert read(file(content), chunk_bytes=chunk) == (rows, None)


ARRAY = b'[{"id": "a"},\n {"id": "\xc3\xa9"},\n '


@pytest.mark.fault(
    injection="annotations with broken JSON, deep nesting or wrong encodings",
    symptom="rows are skipped, or the interpreter crashes",
    expected="error names row and byte",
)
@pytest.mark.parametrize(
    ("behind", "rows", "row", "reason", "hint"),
    [
        (b'{"id" 3}, {"id": "d"}]       ', 2, 2, "not valid JSON: Expecting ':' delimiter, at byte 36", "correct"),
        (b'{"id": "b\n"}]', 2, 2, "not valid JSON: Invalid control character, at byte 39", "correct"),
        (b'{"id": "b\\q"}]', 2, 2, "not valid JSON: Invalid \\escape, at byte 39", "correct"),
        (b"]", 2, 2, "not valid JSON: Expecting value, at byte 30", "correct"),
        (b"{} {}]", 2, 2, "not valid JSON: Expecting ',' delimiter, at byte 33", "correct"),
        (b"[1, " + b"7" * 5000 + b"]]", 2, 2, "not readable: Exceeds the limit", "correct"),
        (b"[" * 200_000, 2, 2, "nested too deeply, at byte 30", "correct"),
        (b'{"id": "b\xff"}]', 2, 2, "not valid utf-8: invalid start byte, at byte 39", "UTF-8"),
        (b'{"id": "b\xc3', 2, 2, "not valid utf-8: unexpected end of data, at byte 39", "cut off"),
        (b'{"id": "b', 2, 2, "the file ends inside its array: Unterminated string, at byte 39", "cut off"),
        (b"{}", 2, 2, "the file ends inside its array: Expecting ',' delimiter, at byte 32", "cut off"),
        (b"{}]\n[{}]", 3, -1, "text behind the end of the array, at byte 34", "one array"),
        (b"{}]\0\0", 3, -1, "text behind the end of the array, at byte 33", "one array"),
        (b"{}] \xff", 3, -1, "not valid utf-8: invalid start byte, at byte 34", "UTF-8"),
    ],
)
@pytest.mark.parametrize("chunk", [1, 7, 2**20])
def test_errors_say_where_and_what_to_do(
    file: Callable[..., Path], behind: bytes, rows: int, row: int, reason: str, hint: str, chunk: int
) -> None:
    path = file(b'[{"id": "a"},\n {"id": "\xc3\xa9"},\n ' + behind)
    got, error = read(path, chunk_bytes=chunk)
    assert error is not None
    assert (len(got), error.row, error.file) == (rows, row, str(path))
    assert error.reason.startswith(reason)
    assert hint in error.hint


@pytest.mark.parametrize(
    ("content", "reason", "hint"),
    [
        (b"", "empty", "one JSON array"),
        (b"\xef\xbb\xbf \n", "empty", "one JSON array"),
        (b'{"id": "a"}\n{"id": "b"}\n', "holds a dict", ".jsonl"),
        (b'{"rows": [' + b"{}, " * 2**19, "starts with '{': no array", "one JSON array"),
        (b"PAR1", "Parquet, not JSON", "rename it to .parquet"),
        (b"{PAR1", "starts with '{': no array; not valid JSON", "one JSON array"),
        (b"\xff", "not valid utf-8: invalid start byte, at byte 0", "UTF-8"),
    ],
)
def test_files_without_an_array_are_refused(file: Callable[..., Path], content: bytes, reason: str, hint: str) -> None:
    path = file(content)
    got, error = read(path)
    assert error is not None
    assert (got, error.row, error.file) == ([], -1, str(path))
    assert error.reason.startswith(reason)
    assert hint in error.hint


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_what_is_no_object_is_passed_on(file: Callable[..., Path], name: str) -> None:
    rows = [{"id": "a"}, 1, "x", None, [{}], {}]
    content = "\n".join(map(json.dumps, rows)) if name == "a.jsonl" else json.dumps(rows)
    assert read(file(content.encode(), name)) == (rows, None)
    assert read(file(b" [ \n] " if name == "a.json" else b"\n \r\n", name)) == ([], None)


def test_broken_lines_are_passed_on_as_text(file: Callable[..., Path]) -> None:
    content = b'\xef\xbb\xbf{"id": "a"}\r\n\n{"id": \r\n\xff\n' + b"[" * 200_000 + b'\n{"id": "\xc3\xa9"}'
    rows, error = read(file(content, "a.jsonl"))
    assert error is None
    assert isinstance(invalid := rows.pop(2), InvalidRow)
    assert "not valid utf-8" in invalid.reason
    assert "iconv" in invalid.hint
    assert rows == [{"id": "a"}, '{"id": \r', "[" * 200_000, {"id": "é"}]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_rows_are_at_most_so_large(file: Callable[..., Path], name: str) -> None:
    lines = [json.dumps({"id": "x" * n}).encode() for n in (5, 88, 91, 5)]  # 101 bytes with what separates them
    content = b"\n".join(lines) if name == "a.jsonl" else b"[" + b" " * 300 + b",\n ".join(lines) + b"]"
    for chunk in (1, 30, 2**20):
        rows, error = read(file(content, name), chunk_bytes=chunk, max_row_bytes=100)
        assert error is not None
        assert [len(row["id"]) for row in rows] == [5, 88]
        assert (error.row, error.reason) == (2, f"too large, begins at byte {content.index(lines[2])}")
        assert "100 bytes" in error.hint
        assert len(read(file(content, name), chunk_bytes=chunk, max_row_bytes=110)[0]) == 4


@pytest.mark.fault(
    injection="a row of annotations without an end",
    symptom="memory is used up",
    expected="error names where the row begins",
)
@pytest.mark.parametrize(("name", "begin"), [("a.json", b'[{"id": 1}, '), ("a.jsonl", b'{"id": 1}\n')])
def test_a_row_without_end_is_not_read_whole(file: Callable[..., Path], name: str, begin: bytes) -> None:
    path = file(begin + b'{"id": "' + b"x" * 2_000_000, name)
    tracemalloc.start()
    try:
        rows, error = read(path, chunk_bytes=100, max_row_bytes=10_000)
        assert tracemalloc.get_traced_memory()[1] < 400_000
    finally:
        tracemalloc.stop()
    assert error is not None
    assert (len(rows), error.row) == (1, 1)
    assert error.reason == f"too large, begins at byte {len(begin)}"


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
@pytest.mark.parametrize(
    "passed", [read_rows, lambda path, **limits: split(path, 1000, **limits)], ids=["read", "split"]
)
def test_memory_does_not_grow_with_the_number_of_rows(
    tmp_path: Path, name: str, passed: Callable[..., Iterator[Any]]
) -> None:
    line = json.dumps({"id": "clip", "video": "videos/clip.mp4", "conversations": [{"from": "human"}]})
    peaks_bytes = []
    for count in (4_000, 40_000):
        path = tmp_path / name
        text = (",\n" if name == "a.json" else "\n").join([line] * count)
        path.write_text(f"[{text}]" if name == "a.json" else text)
        tracemalloc.start()
        try:
            assert sum(1 for _ in passed(path, chunk_bytes=2**17)) in (count, count // 1000)
            peaks_bytes.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert path.stat().st_size > 3 * 2**20
    assert max(peaks_bytes) < 2**20
    assert peaks_bytes[1] < 1.2 * peaks_bytes[0] + 2**14


def test_rows_come_before_the_file_is_read(file: Callable[..., Path]) -> None:
    """Also those in front of damage that lies further on."""
    path = file(b'[{"id": 0}, {"id": 1}, ' + b" " * 100 + b"damage")
    assert [raw["id"] for _, raw in islice(read_rows(path, chunk_bytes=30), 2)] == [0, 1]
