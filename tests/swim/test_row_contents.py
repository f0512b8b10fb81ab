"""Annotation files by what they hold, whatever they are called: read right, or one error that says what to do."""

import bz2
import gzip
import io
import json
import lzma
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swim.data.annotations.samples import parse_row, sample_key
from swim.data.rows.read import extent, read_part, read_rows, size_bytes, split
from swim.data.types import DataError

ROWS: list[dict[str, Any]] = [{"id": f"é😀{n}", "text": "x" * (7 * n % 40), "n": [n, {"m": None}]} for n in range(9)]
LINES = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)
ARRAY = json.dumps(ROWS, ensure_ascii=False, indent=1)
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]


def _zstd(content: bytes) -> bytes:
    return bytes(pa.compress(content, codec="zstd", asbytes=True))


PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "none": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": _zstd,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("contents")


def check(path: Path, rows: list[Any], size: int = 4, **limits: int) -> None:
    """The rows, at once and from parts of `size` rows, which may be read in any order."""
    assert [raw for _, raw in read_rows(path, **limits)] == rows
    parts = list(split(path, size, **limits))
    got = {row: raw for part in reversed(parts) for row, raw in read_part(part, **limits)}
    assert [got[row] for row in range(len(rows))] == rows


def refused(path: Path) -> DataError:
    """The one error of a file, the same for its rows and its parts."""
    with pytest.raises(DataError) as of_rows:
        list(read_rows(path))
    with pytest.raises(DataError) as of_parts:
        list(split(path, 2))
    assert str(of_rows.value) == str(of_parts.value)
    assert (of_rows.value.file, of_rows.value.row) == (str(path), -1)
    return of_rows.value


@settings(max_examples=60)
@given(
    st.sampled_from(ENCODINGS),
    st.sampled_from(sorted(PACKINGS)),
    st.sampled_from(
        [LINES, LINES + "\n", LINES.replace("\n", "\r\n\n"), ARRAY, ARRAY.replace("\n", ""), f" {ARRAY}\r\n"]
    ),
    st.sampled_from(["a.jsonl", "a.json", "a.jsonl.gz", "a.jsonl.zst", "a.json.GZ"]),
    st.integers(1, 10),
    st.sampled_from([3, 50, 2**20]),
)
def test_rows_are_the_same_in_any_encoding_compression_and_name(
    folder: Path, encoding: str, packing: str, text: str, name: str, size: int, chunk: int
) -> None:
    if ".jsonl" not in name and text.lstrip()[0] != "[":
        name = "a.jsonl"
    path = folder / name
    path.write_bytes(PACKINGS[packing](text.encode(encoding)))
    check(path, ROWS, size, chunk_bytes=chunk)


def test_a_line_that_is_an_array_does_not_make_the_file_one(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('[{"id": 1}]\n{"id": 2}\n{"id": 3}\n')
    check(tmp_path / "a.jsonl", [[{"id": 1}], {"id": 2}, {"id": 3}])


@pytest.mark.parametrize("encoding", ["cp1252", "gb18030", "shift_jis"])
def test_another_encoding_is_one_error_with_the_command(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.jsonl"
    text = {"cp1252": "Größe é", "gb18030": "一只狗在跑", "shift_jis": "犬が走る"}[encoding]
    path.write_bytes("\n".join(json.dumps({"t": text}, ensure_ascii=False) for _ in range(5)).encode(encoding))
    error = refused(path)
    assert error.reason == "not valid utf-8 in 5 of its first lines"
    assert "iconv -f WINDOWS-1252 -t UTF-8" in error.hint
    assert "GB18030" in error.hint
    (tmp_path / "a.json").write_bytes(b"[" + path.read_bytes().replace(b"\n", b",") + b"]")
    with pytest.raises(DataError, match="iconv"):
        list(read_rows(tmp_path / "a.json"))


def test_a_damaged_line_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"id": "a"}\n{"id": "\xe9"}\n{"id": "b"}')
    rows = dict(read_rows(path))
    assert (rows[0], rows[2]) == ({"id": "a"}, {"id": "b"})
    with pytest.raises(DataError, match=r"not valid utf-8: .*iconv"):
        parse_row(rows[1], file="a.jsonl", row=1)


def test_text_cut_inside_a_character_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(LINES.encode("utf-16")[:-1])
    with pytest.raises(DataError, match=r"row 8 .*not valid utf-16-le"):
        list(read_rows(path))
    path.write_bytes((LINES + "\n" + "x" * 500).encode("utf-16"))
    with pytest.raises(DataError, match="row 9 field 'row': too large"):
        list(read_rows(path, max_row_bytes=400))


def _zip(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.jsonl", content)
    return file.getvalue()


def _tar(content: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.jsonl"), io.BytesIO(content))
    return file.getvalue()


def _parquet(_: bytes) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"id": [1]}), file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "reason", "hint"),
    [
        (_zip(b"{}\n"), "a ZIP archive, not JSON", "unpack it first"),
        (_tar(b"{}\n"), "a tar archive, not JSON", "unpack it first"),
        (gzip.compress(_tar(b"{}\n")), "a tar archive, not JSON", "unpack it first"),
        (_parquet(b""), "Parquet, not JSON", "rename it to .parquet"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 5\n", "a Git LFS pointer", "git lfs pull"),
    ],
    ids=["zip", "tar", "tar.gz", "parquet", "lfs"],
)
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_other_kinds_of_files_are_named(tmp_path: Path, name: str, content: bytes, reason: str, hint: str) -> None:
    (tmp_path / name).write_bytes(content)
    error = refused(tmp_path / name)
    assert error.reason.startswith(reason)
    assert hint in error.hint


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("<!DOCTYPE html>\n<html>\n</html>\n", "a web page"),
        ("id,video\n1,a.mp4\n2,b.mp4\n", "another kind of file"),
        (json.dumps(ROWS[0], indent=1), "spread over several lines"),
    ],
)
def test_lines_that_are_no_rows_are_one_error(tmp_path: Path, text: str, hint: str) -> None:
    (tmp_path / "a.jsonl").write_text(text)
    error = refused(tmp_path / "a.jsonl")
    assert error.reason.startswith("no line is a JSON object")
    assert hint in error.hint


@pytest.mark.parametrize("packing", ["gzip", "bzip2", "xz", "zstd"])
def test_a_compressed_file_that_is_cut_off_is_an_error(tmp_path: Path, packing: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(PACKINGS[packing](LINES.encode())[:-9])
    with pytest.raises(DataError, match=f"cannot be unpacked as {packing}, after .*copy it again"):
        list(read_rows(path))
    (tmp_path / "a.parquet").write_bytes(PACKINGS[packing](b"PAR1"))
    assert refused(tmp_path / "a.parquet").reason == f"{packing}, not Parquet"


def test_a_compressed_file_of_several_pieces_is_read_whole(tmp_path: Path) -> None:
    for packing in ("gzip", "bzip2", "xz", "zstd"):
        pieces = [PACKINGS[packing](half.encode()) for half in (LINES[:150], LINES[150:])]
        (tmp_path / "a.jsonl").write_bytes(b"".join(pieces))
        check(tmp_path / "a.jsonl", ROWS)


@pytest.mark.parametrize(
    ("text", "field", "key"),
    [
        ('{"id": "r", "a": 1, "a": 1}', "row", "'a'"),
        ('{"id": "r", "x": [0, {"0": {"k": 1, "k": 2}}]}', "x[1]['0']", "'k'"),
        ('{"id": "r", "annotation": [{"0": {}, "5": {}, "0": {}}]}', "annotation[0]", "'0'"),
        ('{"id": "r", "a": {"b": {"c": 1, "c": 2}}, "a": 1}', "row", "'a'"),
        ('{"id": "r", "\\u0061": 1, "a": 2}', "row", "'a'"),
    ],
)
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_a_key_twice_is_an_error_of_its_row(tmp_path: Path, name: str, text: str, field: str, key: str) -> None:
    rows = ['{"id": "before"}', text, '{"id": "behind"}']
    (tmp_path / name).write_text("\n".join(rows) if name == "a.jsonl" else f"[{','.join(rows)}]")
    (_, before), (_, twice), (_, behind) = read_rows(tmp_path / name, chunk_bytes=5)
    assert (before, behind) == ({"id": "before"}, {"id": "behind"})
    with pytest.raises(DataError) as caught:
        parse_row(twice, file="a.json", row=1)
    error = caught.value
    assert (error.field, error.reason, error.row) == (field, f"key {key} twice in one object", 1)
    assert error.key == "a:00000001:r"
    assert "keep one" in error.hint


def test_a_key_twice_in_json_text_of_parquet_is_an_error_of_its_row(tmp_path: Path) -> None:
    texts = ['[{"0": {"a": 1, "a": 2}}]', '[{"0": null, "0": null}]', "[]"]
    pq.write_table(pa.table({"id": ["x", "y", "z"], "annotation": texts}), tmp_path / "a.parquet")
    rows = [raw for _, raw in read_rows(tmp_path / "a.parquet")]
    assert rows[2] == {"id": "z", "annotation": []}
    for raw, field, name in ((rows[0], "annotation[0]['0']", "x"), (rows[1], "annotation[0]", "y")):
        with pytest.raises(DataError, match="twice in one object") as caught:
            parse_row(raw, file="a.parquet", row=0)
        assert (caught.value.field, caught.value.key) == (field, f"a:00000000:{name}")


def _write_parts(folder: Path, sizes: list[int]) -> list[dict[str, int]]:
    folder.mkdir()
    rows = [{"n": n} for n in range(sum(sizes))]
    for number, size in enumerate(sizes):
        begin = sum(sizes[:number])
        part = pa.table({"n": pa.array(range(begin, begin + size), type=pa.int64())})
        pq.write_table(part, folder / f"part-{number:02d}.parquet", row_group_size=3)
    return rows


def test_a_folder_of_parquet_files_is_one_file(tmp_path: Path) -> None:
    rows = _write_parts(tmp_path / "rows.parquet", [5, 0, 1, 12])
    (tmp_path / "rows.parquet/_SUCCESS").touch()
    (tmp_path / "rows.parquet/.part-00.parquet.crc").write_bytes(b"x")
    for size in (1, 4, 100):
        check(tmp_path / "rows.parquet", rows, size)
    numbers = [row for part in split(tmp_path / "rows.parquet", 4) for row, _ in read_part(part)]
    assert numbers == list(range(18))
    assert extent(tmp_path / "rows.parquet") == 18
    files = (tmp_path / "rows.parquet").glob("part*")
    assert size_bytes(tmp_path / "rows.parquet") == sum(file.stat().st_size for file in files)


def test_folders_that_are_not_all_rows_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert refused(tmp_path / "empty").reason == "a folder without Parquet files"
    _write_parts(tmp_path / "mixed", [2])
    (tmp_path / "mixed/more.jsonl").write_text("{}")
    assert "'more.jsonl'" in refused(tmp_path / "mixed").hint
    _write_parts(tmp_path / "hive", [2])
    (tmp_path / "hive/split=train").mkdir()
    assert refused(tmp_path / "hive").reason == "a folder with a folder in it"


def test_keys_do_not_depend_on_how_accents_are_written() -> None:
    composed, apart = (unicodedata.normalize(form, "é/café.jsonl") for form in ("NFC", "NFD"))
    assert composed != apart
    keys = {sample_key({"id": name}, file=name, row=3) for name in (composed, apart)}
    assert keys == {"café:00000003:é/café.jsonl"}
