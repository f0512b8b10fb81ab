"""Rows of Parquet are what JSON would say, however they were written; what cannot be read is an error in its place."""

import datetime
import decimal
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swim.data.rows import parquet_rows
from swim.data.rows.read import read_part, read_rows, split
from swim.data.types import DataError

MASK = {"size": [2, 3], "counts": "06"}


def said(*values: str) -> list[dict[str, Any]]:
    return [{"from": ("human", "gpt")[i % 2], "value": value} for i, value in enumerate(values)]


ROWS: list[dict[str, Any]] = [
    {
        "id": "a",
        "video": "a.mp4",
        "conversations": said("What does <ins>é😀</ins>?", "It runs."),
        "annotation": [
            {"0": {"segmentation": MASK}, "12": {"segmentation": None}},
            {"40": {"segmentation": MASK}},
        ],
        "height": 2,
        "width": 3,
    },
    {"id": "b", "video": "b.mp4", "conversations": said("Why?", "So.", "And?", "Yes."), "annotation": []},
    {"id": "c", "video": "c.mp4", "conversations": said("Why?", "So."), "options": ["(A) x", "(B) y"]},
    {"id": "d", "video": "d.mp4", "conversations": [], "annotation": [{"7": {"segmentation": MASK}}, {}]},
]
FRAME = pa.struct([("segmentation", pa.struct([("size", pa.list_(pa.int64())), ("counts", pa.string())]))])
PLAIN = {
    "id": pa.string(),
    "video": pa.string(),
    "conversations": pa.list_(pa.struct([("from", pa.string()), ("value", pa.string())])),
    "height": pa.int32(),
    "width": pa.int32(),
    "options": pa.list_(pa.string()),
}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    folder = tmp_path_factory.mktemp("parquet")

    def written(table: pa.Table, **options: Any) -> Path:
        pq.write_table(table, folder / "a.parquet", **options)
        return folder / "a.parquet"

    return written


def values(path: Path) -> list[Any]:
    return [raw for _, raw in read_rows(path)]


def until_error(items: Iterator[Any]) -> tuple[list[Any], DataError | None]:
    got: list[Any] = []
    try:
        for item in items:
            got.append(item)
    except DataError as error:
        return got, error
    return got, None


def of_structs() -> pa.Table:
    """Every object has every frame's key, as Arrow writes dicts."""
    frames = pa.list_(pa.struct([(frame, FRAME) for frame in ("0", "7", "12", "40")]))
    return pa.Table.from_pylist(ROWS, schema=pa.schema({**PLAIN, "annotation": frames}))


def of_maps(key: pa.DataType) -> pa.Table:
    convert = int if pa.types.is_integer(key) else str
    rows = [
        row | ({"annotation": [[(convert(k), v) for k, v in one.items()] for one in row["annotation"]]})
        if "annotation" in row
        else row
        for row in ROWS
    ]
    frames = pa.large_list(pa.map_(key, FRAME))
    return pa.Table.from_pylist(rows, schema=pa.schema({**PLAIN, "annotation": frames}))


def of_text() -> pa.Table:
    nested = ("annotation", "conversations", "options")
    rows = [{k: json.dumps(v) if k in nested else v for k, v in row.items()} for row in ROWS]
    types = {k: pa.string() if k in nested else v for k, v in (PLAIN | {"annotation": pa.string()}).items()}
    return pa.Table.from_pylist(rows, schema=pa.schema(types))


def with_lists(list_: Any) -> pa.Table:
    """The rows with another of Arrow's types of lists."""
    message = pa.struct([("from", pa.string()), ("value", pa.large_string())])
    size = pa.struct([("size", list_(pa.int64())), ("counts", pa.string())])
    frames = pa.struct([(frame, pa.struct([("segmentation", size)])) for frame in ("0", "7", "12", "40")])
    types = PLAIN | {"conversations": list_(message), "options": list_(pa.string()), "annotation": list_(frames)}
    return pa.Table.from_pylist(ROWS, schema=pa.schema(types))


def of_columns() -> pa.Table:
    """`datasets` writes a `Sequence` of a dict as a struct of lists."""
    texts = pa.struct([("from", pa.list_(pa.string())), ("value", pa.list_(pa.string()))])
    frames = pa.struct([(frame, pa.list_(FRAME)) for frame in ("0", "7", "12", "40")])
    rows = []
    for row in ROWS:
        row = row | {"conversations": {k: [e[k] for e in row["conversations"]] for k in ("from", "value")}}
        if "annotation" in row:
            objects = row["annotation"]
            row["annotation"] = {frame: [entry.get(frame) for entry in objects] for frame in ("0", "7", "12", "40")}
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=pa.schema(PLAIN | {"conversations": texts, "annotation": frames}))


TABLES = {
    "struct": of_structs(),
    "map": of_maps(pa.string()),
    "int": of_maps(pa.int16()),
    "text": of_text(),
    "list_view": with_lists(pa.list_view),
    "large_list_view": with_lists(pa.large_list_view),
    "large_list": with_lists(pa.large_list),
    "columns": of_columns(),
}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_rows_are_those_of_json_however_they_were_written(file: Callable[..., Path], table: pa.Table) -> None:
    assert list(read_rows(file(table))) == list(enumerate(ROWS))


def test_slots_may_be_written_as_columns(file: Callable[..., Path]) -> None:
    slots = pa.struct([("name", pa.list_(pa.string())), ("start", pa.list_(pa.int64()))])
    talk = pa.list_(pa.struct([("from", pa.string()), ("slots", slots)]))
    rows = [{"conversations": [{"from": "human"}, {"from": "gpt", "slots": {"name": ["a", "b"], "start": [1, 2]}}]}]
    assert values(file(pa.Table.from_pylist(rows, schema=pa.schema({"conversations": talk})))) == [
        {
            "conversations": [
                {"from": "human"},
                {"from": "gpt", "slots": [{"name": "a", "start": 1}, {"name": "b", "start": 2}]},
            ]
        }
    ]


def test_run_lengths_are_no_columns_of_objects(file: Callable[..., Path]) -> None:
    masks = {"annotation": [{"0": {"segmentation": {"size": [1, 2], "counts": [1, 1]}}}]}
    assert values(file(pa.Table.from_pylist([masks]))) == [masks]


def test_text_that_is_no_json_is_passed_on(file: Callable[..., Path]) -> None:
    broken = ["[{", "", "[" * 100_000, "7" * 5000, "[1]", "null", None]
    columns = {"annotation": broken, "video": ["[1]"] * 7}
    assert values(file(pa.table(columns))) == [
        *({"annotation": text, "video": "[1]"} for text in broken[:4]),
        {"annotation": [1], "video": "[1]"},
        {"video": "[1]"},
        {"video": "[1]"},
    ]


def test_a_map_with_a_key_twice_loses_nothing(file: Callable[..., Path]) -> None:
    frames = pa.array([[("1", "a"), ("1", "b")], [("1", None)]], type=pa.map_(pa.string(), pa.string()))
    assert values(file(pa.table({"m": frames}))) == [{"m": [["1", "a"], ["1", "b"]]}, {"m": {"1": None}}]


def test_what_json_does_not_have_comes_as_text(file: Callable[..., Path]) -> None:
    columns = {
        "day": pa.array([datetime.date(2024, 5, 1)]),
        "ns": pa.array([datetime.datetime(2024, 5, 1, 2)], type=pa.timestamp("ns")),
        "decimal": pa.array([decimal.Decimal("1.50")]),
        "bytes": pa.array([["é".encode(), b"\xff\x00"]]),
        "word": pa.array(["x"]).dictionary_encode(),
        "number": pa.array([0.5]),
        "whole": pa.array([2**63], type=pa.uint64()),
        "truth": pa.array([True]),
        "view": pa.array(["y"], type=pa.string_view()),
        "fixed": pa.array([[1, 2]], type=pa.list_(pa.int8(), 2)),
        "none": pa.nulls(1),
    }
    rows = values(file(pa.table(columns)))
    assert rows == [
        {
            "day": "2024-05-01",
            "ns": "2024-05-01 02:00:00",
            "decimal": "1.50",
            "bytes": ["é", "\udcff\x00"],
            "word": "x",
            "number": 0.5,
            "whole": 2**63,
            "truth": True,
            "view": "y",
            "fixed": [1, 2],
        }
    ]
    assert json.loads(json.dumps(rows)) == rows


def test_text_that_is_not_unicode_costs_no_other_row(file: Callable[..., Path]) -> None:
    inside = pa.list_(pa.struct([("from", pa.binary()), ("value", pa.binary())]))
    texts = [[{"from": b"human", "value": b"\xc3\xa9"}], [{"from": b"human", "value": b"a\xc3"}]]
    text = pa.array(texts, type=inside).cast(PLAIN["conversations"], safe=False)
    days = pa.array([0, 2**55], type=pa.int64()).cast(pa.timestamp("ms"))
    rows = values(file(pa.table({"conversations": text, "day": days})))
    assert [row["conversations"] for row in rows] == [
        [{"from": "human", "value": "é"}],
        [{"from": "human", "value": "a\udcc3"}],
    ]
    assert rows[0]["day"].startswith("1970-01-01")


@given(st.integers(0, 40), st.integers(1, 17), st.integers(1, 12), st.integers(1, 9))
def test_parts_are_the_rows(file: Callable[..., Path], count: int, group: int, size: int, batch: int) -> None:
    table = pa.table({"id": [f"r{n}" for n in range(count)], "n": pa.array(range(count), type=pa.int64())})
    path = file(table, row_group_size=group)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet_rows, "_BATCH_ROWS", batch)
        rows = [(n, {"id": f"r{n}", "n": n}) for n in range(count)]
        assert list(read_rows(path)) == rows
        parts = list(split(path, size))
        assert [row for part in parts for row in read_part(part)] == rows
    assert [(part.first, part.rows) for part in parts] == [(n, min(size, count - n)) for n in range(0, count, size)]


def test_only_the_row_groups_of_a_part_are_read(file: Callable[..., Path]) -> None:
    count, group = 1000, 100
    texts = [f"{n:0200d}" for n in range(count)]
    path = file(pa.table({"text": texts}), row_group_size=group, compression="none", use_dictionary=False)
    metadata = pq.ParquetFile(path).metadata
    begins = [metadata.row_group(g).column(0).data_page_offset for g in range(10)]
    content = bytearray(path.read_bytes())
    for g in (0, 1, 2, 5, 6, 7, 8, 9):
        content[begins[g] : begins[g] + 12_000] = b"\xff" * 12_000
    path.write_bytes(content)
    part = list(split(path, 150))[2]
    assert (part.first, part.rows) == (300, 150)
    assert [raw["text"] for _, raw in read_part(part)] == texts[300:450]
    got, error = until_error(read_part(list(split(path, 150))[3]))
    assert error is not None
    assert (error.row, error.file) == (500, str(path))
    assert [raw["text"] for _, raw in got] == texts[450:500]
    assert "broken Parquet" in error.reason
    assert until_error(read_rows(path))[0] == []


def test_too_large_a_row_is_refused_behind_the_rows_before_it(file: Callable[..., Path]) -> None:
    path = file(pa.table({"text": ["x" * n for n in (5, 500, 90, 1500, 5)]}))
    rows, error = until_error(read_rows(path, max_row_bytes=1000))
    assert [len(raw["text"]) for _, raw in rows] == [5, 500, 90]
    assert error is not None
    assert (error.row, error.field, error.file) == (3, "row", str(path))
    assert "cut it into several rows" in error.hint
    part = next(split(path, 9))
    assert until_error(read_part(part, max_row_bytes=1000))[0] == rows
    assert len(values(path)) == 5


def test_large_rows_come_in_small_batches(file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The columns of a group are on disk one after another: what is held of them is a batch."""
    monkeypatch.setattr(parquet_rows, "_BATCH_BYTES", 10_000)
    path = file(pa.table({"text": [f"{n}" * 3000 for n in range(9)]}), use_dictionary=False)
    parquet = pq.ParquetFile(path)
    assert [batch.num_rows for batch in parquet_rows._batches(parquet, "a", 0, 9)] == [2, 2, 2, 2, 1]
    assert len(values(path)) == 9


@pytest.mark.fault(
    injection="a Parquet file of annotations is empty or cut",
    symptom="some row groups count as the whole",
    expected="error names the file",
)
@pytest.mark.parametrize("cut", [0, 3, 200, -1])
def test_what_is_no_parquet_is_refused(file: Callable[..., Path], cut: int) -> None:
    path = file(of_text())
    path.write_bytes(path.read_bytes()[:cut])
    for passed in (read_rows(path), split(path, 1)):
        got, error = until_error(passed)
        assert error is not None
        assert (got, error.file, error.field) == ([], str(path), "file")
        assert "cannot be read as Parquet" in error.reason
        assert "JSON must end in .json or .jsonl" in error.hint


@pytest.mark.fault(
    injection="a Parquet file has two columns of one name",
    symptom="the last column wins without a word",
    expected="error names the column",
)
def test_columns_of_one_name_are_refused(file: Callable[..., Path]) -> None:
    path = file(pa.table([pa.array([1]), pa.array([2])], names=["id", "id"]))
    with pytest.raises(DataError, match="field 'id': two columns of one name"):
        values(path)


def test_fields_of_one_name_are_refused_with_their_column(file: Callable[..., Path]) -> None:
    twice = pa.StructArray.from_arrays([pa.array([1, 2]), pa.array([3, 4])], names=["x", "x"])
    with pytest.raises(DataError, match=r"row 0 field 'meta': cannot be read: .*without it"):
        values(file(pa.table({"id": ["a", "b"], "meta": twice})))


@pytest.mark.fault(
    injection="a Parquet file shrinks between planning and reading",
    symptom="rows are missing without a word",
    expected="error names the file",
)
def test_a_file_with_fewer_rows_than_its_parts_is_refused(file: Callable[..., Path]) -> None:
    last = list(split(file(pa.table({"n": list(range(10))})), 5))[1]
    path = file(pa.table({"n": list(range(7))}))
    got, error = until_error(read_part(last))
    assert [row for row, _ in got] == [5, 6]
    assert error is not None
    assert (error.row, error.file) == (7, str(path))
