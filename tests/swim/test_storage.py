"""Ranges of local files and of S3 objects: few requests, no byte too many, and errors that say what to do."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import botocore.exceptions
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from swim.data import storage
from swim.data.rows.contents import HEAD_BYTES
from swim.data.rows.read import read_part, read_rows, split
from swim.data.storage import open_range, s3_advice
from swim.data.types import DataError

Put = Callable[[str, bytes], str]


@pytest.fixture
def put(s3_store_uri: str) -> Put:
    """Writes an object, gives its name."""
    import boto3

    bucket = s3_store_uri.removeprefix("s3://").split("/")[0]

    def written(key: str, content: bytes) -> str:
        boto3.client("s3").put_object(Bucket=bucket, Key=key, Body=content)
        return f"s3://{bucket}/{key}"

    return written


@pytest.fixture
def ranges(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The byte ranges that S3 is asked for."""
    import s3fs

    asked: list[str] = []
    call = s3fs.S3FileSystem._call_s3

    async def noted(self: Any, method: Any, *args: Any, **options: Any) -> Any:
        asked.extend([options["Range"]] if "Range" in options else [])
        return await call(self, method, *args, **options)

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", noted)
    return asked


def test_a_range_of_a_local_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(range(100)))
    with open_range(str(path), 10, 20) as file:
        assert (file.tell(), file.read(3), file.tell()) == (10, b"\x0a\x0b\x0c", 13)
        assert (file.read(), file.read(1)) == (bytes(range(13, 20)), b"")
        assert (file.seek(-2, 2), file.read()) == (18, b"\x12\x13")
        assert (file.seek(5), file.read(2)) == (5, b"\x05\x06")
    with open_range(str(path), 90, 200) as file:
        assert file.read() == bytes(range(90, 100))
    for name in (tmp_path / "none", tmp_path):
        with pytest.raises(DataError, match=re.escape(f"{name} field 'file': cannot be read: ")):
            open_range(str(name))


ROWS = [{"id": f"é{n}", "video": "a.mp4", "text": "x" * 1000} for n in range(1200)]


def test_rows_of_s3_are_those_of_a_local_file(put: Put, tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet", row_group_size=300)
    (tmp_path / "a.json").write_text(json.dumps(ROWS, ensure_ascii=False), encoding="utf-16")
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    for path in sorted(tmp_path.iterdir()):
        name = put(f"deep/{path.name}", path.read_bytes())
        assert list(read_rows(name)) == list(read_rows(path)) == list(enumerate(ROWS))
        parts = list(split(name, 500))
        assert [part.model_copy(update={"file": str(path)}) for part in parts] == list(split(path, 500))
        assert list(read_part(parts[1])) == list(enumerate(ROWS))[500:1000]


def test_s3_is_asked_in_large_blocks_and_once_for_each(
    put: Put, ranges: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "BLOCK_BYTES", 2**18)
    content = json.dumps(ROWS).encode()
    name = put("a.json", content)
    parts = list(split(name, 250))
    wanted = [f"bytes={at}-{at + 2**18 - 1}" for at in range(0, len(content), 2**18)]
    assert len(wanted) == 5
    assert sorted(ranges) == sorted([f"bytes=0-{HEAD_BYTES - 1}", *wanted])  # first: what the file holds
    ranges.clear()
    assert [row for part in parts for row, _ in read_part(part)] == list(range(1200))
    assert ranges == [f"bytes={part.start}-{part.end - 1}" for part in parts]


def test_s3_errors_say_what_to_do(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    name = put("a.json", b"[{}]")
    bucket = name.removesuffix("/a.json")

    def refused(name: str, reason: str, hint: str) -> None:
        with pytest.raises(DataError) as raised:
            list(split(name, 1))
        assert (raised.value.field, raised.value.file) == ("file", name)
        assert reason in raised.value.reason
        assert hint in raised.value.hint

    refused(f"{bucket}/none.json", "cannot be read", "no such object or bucket: check the name and AWS_ENDPOINT_URL")
    refused("s3://no-such-bucket/a.json", "cannot be read", "no such object or bucket")
    refused("s3:///a.json", "no bucket", "write s3://bucket/path/of/the/file")
    refused("s3://a.json", "no key", "write s3://bucket/path/of/the/file")
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(key)
    refused(name, "Unable to locate credentials", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")


@pytest.mark.fault(
    injection="annotations on S3 are replaced while they are read",
    symptom="the first half of one file and the second of another",
    expected="error says to start again",
)
def test_an_object_replaced_while_it_is_read_is_noticed(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "BLOCK_BYTES", 2**16)
    rows = read_rows(put("a.jsonl", b'{"id": 1}\n' * 30_000))
    assert next(rows) == (0, {"id": 1})
    put("a.jsonl", b'{"id": 2}\n' * 30_000)
    with pytest.raises(DataError, match="replaced while it was read: start again"):
        list(rows)


def test_advice_for_what_the_test_server_cannot_show() -> None:
    unreachable = botocore.exceptions.EndpointConnectionError(endpoint_url="http://127.0.0.1:9")
    assert s3_advice(unreachable) == "check AWS_ENDPOINT_URL and the network"
    assert "s3:GetObject" in s3_advice(PermissionError("Forbidden"))
    assert "the bucket, the key" in s3_advice(RuntimeError("?"))


@pytest.mark.usefixtures("_s3_environment")
def test_one_filesystem_until_the_environment_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    before = storage.s3_filesystem()
    assert storage.s3_filesystem() is before
    monkeypatch.setenv("AWS_SESSION_TOKEN", "another")
    assert storage.s3_filesystem() is not before
