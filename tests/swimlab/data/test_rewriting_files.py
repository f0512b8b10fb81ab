"""Rows in order from parts in any order; the file is whole, or not there."""

import json
import random
from pathlib import Path

import pytest

from swim.data.rows.read import read_rows
from swimlab.data.rewriting.ordered_output import RowFile

PARTS = [[{"row": 10 * part + i, "text": "ä\u2028\n"} for i in range(part % 3)] for part in range(20)]
ROWS = [row for part in PARTS for row in part]


def lines(rows: list[dict[str, object]]) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode()


@pytest.mark.parametrize("name", ["out.json", "out.jsonl"])
@pytest.mark.parametrize("seed", range(3))
def test_parts_are_written_in_order(tmp_path: Path, name: str, seed: int) -> None:
    order = list(range(len(PARTS)))
    random.Random(seed).shuffle(order)
    path = tmp_path / "new" / name
    with RowFile(path) as file:
        for number in order:
            file.put(number, lines(PARTS[number]))
            assert not path.exists()
    assert [row for _, row in read_rows(path)] == ROWS
    assert file.rows == len(ROWS)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("name", ["out.json", "out.jsonl"])
def test_no_rows_are_an_empty_file(tmp_path: Path, name: str) -> None:
    with RowFile(tmp_path / name) as file:
        file.put(0, b"")
    assert list(read_rows(tmp_path / name)) == []


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("before")

    def fail() -> None:
        with RowFile(path) as file:
            file.put(1, b"{}")
            file.put(0, b"{}")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_part_that_never_came_is_an_error(tmp_path: Path) -> None:
    def put() -> None:
        with RowFile(tmp_path / "a.json") as file:
            file.put(0, b"{}")
            file.put(2, b"{}")

    with pytest.raises(ValueError, match="part 1 is missing, 1 later parts were put"):
        put()
    assert list(tmp_path.iterdir()) == []


def test_only_two_kinds_of_file_are_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.json or \.jsonl"):
        RowFile(tmp_path / "out.parquet")
