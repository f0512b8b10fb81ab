"""The store's backend on S3, through s3fs, written to need few requests."""

import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast
from urllib.parse import urlsplit

import fsspec
from botocore.exceptions import ClientError

from swimlab.store.backends import patience, s3_errors
from swimlab.store.errors import StoreError

Result = TypeVar("Result")
_PAGE = 1000  # keys that S3 lists, or deletes, in one request
_CONNECTIONS = 32
_BLOCK = 2**20
_CONNECT_S = 10.0
_TIMEOUT_S = 60.0  # botocore's own, of an answer that does not come


class S3Backend:
    """s3://bucket/prefix through s3fs. Credentials and AWS_ENDPOINT_URL are read as by every AWS tool."""

    def __init__(self, uri: str, patience_s: float = patience.LONG_S) -> None:
        if not urlsplit(uri).netloc:
            raise StoreError(f"{uri}: no bucket; write s3://bucket/prefix")
        self.uri = uri.rstrip("/")
        self.root = self.uri.removeprefix("s3://")
        self._patience = patience.Patience(f"store {self.uri}", patience_s)
        self.fs: Any = self._connection()

    @property
    def unreachable_s(self) -> float:
        return self._patience.unreachable_s

    def _connection(self) -> Any:
        """A filesystem that reads the credentials when it is first used."""
        hasty = self._patience.limit_s < _TIMEOUT_S
        # No instance cache: it would outlive a change of endpoint or credentials.
        filesystem = fsspec.filesystem(
            "s3",
            skip_instance_cache=True,
            use_listings_cache=False,
            config_kwargs={
                "max_pool_connections": _CONNECTIONS,
                "connect_timeout": _CONNECT_S,
                "read_timeout": _TIMEOUT_S / 3 if hasty else _TIMEOUT_S,
                "retries": {"max_attempts": 1 if hasty else 4, "mode": "standard"},
            },
        )
        if hasty:
            filesystem.retries = 2
        return filesystem

    @contextmanager
    def counted(self) -> Iterator[Counter[str]]:
        """Counts the requests sent inside the `with` block, retries included: operation → number."""
        sent: Counter[str] = Counter()

        def note(event_name: str, **_: Any) -> None:
            sent[event_name.rpartition(".")[2]] += 1

        self.fs.connect()
        events = self.fs.s3.meta.events
        events.register("before-send.s3", note)
        try:
            yield sent
        finally:
            events.unregister("before-send.s3", note)

    def _patiently(self, send: Callable[[], Result]) -> Result:
        """What `send` returns. An error that passes is waited out; the others are StoreErrors that say what to do.
        A write may have landed although its answer was lost: create-only writes are then refused as taken."""

        def awaited(error: Exception) -> str | None:
            if s3_errors.renewable(error):
                self.fs = self._connection()
            return s3_errors.awaited(error)

        try:
            return self._patience.call(send, awaited)
        except Exception as error:
            if s3_errors.is_missing_object(error):
                raise
            message = f"store {self.uri}: {s3_errors.described(error)}; {s3_errors.advice(error)}"
            raise StoreError(message) from error

    def _path(self, path: str) -> str:
        return f"{self.root}/{path}"

    def create(self, path: str, data: bytes | Path) -> bool:
        def send() -> bool:
            try:
                if isinstance(data, Path):
                    self.fs.put_file(str(data), self._path(path), mode="create")
                else:
                    self.fs.pipe_file(self._path(path), data, mode="create")
            except Exception as error:
                if s3_errors.code(error) in ("PreconditionFailed", "412"):
                    return False
                raise
            return True

        return self._patiently(send)

    def replace(self, path: str, data: bytes) -> None:
        self._patiently(lambda: self.fs.pipe_file(self._path(path), data))

    def read(self, path: str) -> bytes:
        # Above one connection s3fs asks for the size first: two requests for every file.
        data: bytes = self._patiently(lambda: self.fs.cat_file(self._path(path), max_concurrency=1))
        return data

    def open(self, path: str) -> BinaryIO:
        for name, size in self._page(path, limit=1)[0]:
            if name == path:
                return cast(BinaryIO, io.BufferedReader(_RemoteFile(partial(self._range, path), size), _BLOCK))
        raise FileNotFoundError(f"{self.uri}/{path}")

    def _range(self, path: str, start: int, end: int) -> bytes:
        data: bytes = self._patiently(lambda: self.fs.cat_file(self._path(path), start=start, end=end))
        return data

    def read_many(self, paths: Sequence[str]) -> dict[str, bytes]:
        names = {self._path(path): path for path in paths}
        contents: dict[str, bytes] = {}

        def send() -> None:
            asked = [name for name in names if names[name] not in contents]
            answers = self.fs.cat(asked, on_error="return", max_concurrency=1) if asked else {}
            contents.update({names[name]: answer for name, answer in answers.items() if isinstance(answer, bytes)})
            for answer in answers.values():
                if isinstance(answer, Exception) and not s3_errors.is_missing_object(answer):
                    raise answer

        self._patiently(send)
        return contents

    def fetch(self, path: str, dest: Path) -> None:
        self._patiently(lambda: self.fs.get_file(self._path(path), str(dest)))

    def exists(self, path: str) -> bool:
        # An exact name is listed first. A HEAD request would not tell a missing bucket from a missing object.
        return any(name == path for name, _ in self._page(path, limit=1)[0])

    def files(self, folder: str) -> list[str]:
        return list(self.sizes(folder))

    def sizes(self, folder: str) -> dict[str, int]:
        objects, token = self._page(f"{folder}/")
        while token:
            more, token = self._page(f"{folder}/", token)
            objects += more
        return dict(sorted(objects))

    def _page(
        self, prefix: str, token: str | None = None, limit: int | None = None
    ) -> tuple[list[tuple[str, int]], str]:
        """One request: (path, bytes) of the objects whose path starts with `prefix`, and the token of the next page.
        s3fs sends a second request for an empty result."""
        bucket, _, root = self.root.partition("/")
        root = f"{root}/" if root else ""
        start = {"ContinuationToken": token} if token else {}

        def send() -> dict[str, Any]:
            answer: dict[str, Any] = self.fs.call_s3(
                "list_objects_v2", Bucket=bucket, Prefix=root + prefix, MaxKeys=limit or _PAGE, **start
            )
            # A proxy's page, or nothing, with status 200 would else read as an empty folder. S3 says in every listing
            # whether there are more keys.
            if "IsTruncated" not in answer:
                raise ConnectionError(f"what came for a listing of {prefix} is no listing")
            return answer

        answer = self._patiently(send)
        # A key with a final slash is a folder made in a web console.
        objects = (item for item in answer.get("Contents", ()) if not item["Key"].endswith("/"))
        entries = [(item["Key"].removeprefix(root), item["Size"]) for item in objects]
        return entries, answer.get("NextContinuationToken", "")

    def leftovers(self, older_than_s: float) -> dict[str, int]:
        return {}  # objects appear whole; a lifecycle rule of the bucket removes unfinished multipart uploads

    def delete(self, path: str) -> None:
        self._patiently(lambda: self.fs.rm_file(self._path(path)))

    def delete_many(self, paths: Sequence[str]) -> None:
        for start in range(0, len(paths), _PAGE):
            keys = [self._path(path).partition("/")[2] for path in paths[start : start + _PAGE]]
            self._patiently(partial(self._delete_keys, keys))

    def _delete_keys(self, keys: Sequence[str]) -> None:
        request = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
        answer = self.fs.call_s3("delete_objects", Bucket=self.root.partition("/")[0], Delete=request)
        for error in answer.get("Errors", ()):  # s3fs's own bulk delete ignores them
            about = {
                "Code": error.get("Code", ""),
                "Message": f"{error['Key']} was not deleted: {error.get('Message')}",
            }
            raise ClientError({"Error": about}, "DeleteObjects")


class _RemoteFile(io.RawIOBase):
    """An object that can seek. s3fs has one too, whose reads would be neither patient nor explained."""

    def __init__(self, fetch: Callable[[int, int], bytes], size: int) -> None:
        self._fetch, self._size, self._at = fetch, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        count = max(0, min(len(buffer), self._size - self._at))
        if count:
            buffer[:count] = self._fetch(self._at, self._at + count)
            self._at += count
        return count
