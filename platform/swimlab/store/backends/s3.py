"""The store's backend on S3, through s3fs, written to need few requests."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import fsspec

from swimlab.store.errors import StoreError

_PAGE = 1000  # keys that S3 lists, or deletes, in one request
_CONNECTIONS = 32


class S3Backend:
    """s3://bucket/prefix through s3fs. Credentials and AWS_ENDPOINT_URL are read as by every AWS tool."""

    def __init__(self, uri: str) -> None:
        if not urlsplit(uri).netloc:
            raise StoreError(f"{uri}: no bucket; write s3://bucket/prefix")
        self.uri = uri.rstrip("/")
        self.root = self.uri.removeprefix("s3://")
        # No instance cache: it would outlive a change of endpoint or credentials.
        self.fs: Any = fsspec.filesystem(
            "s3",
            skip_instance_cache=True,
            use_listings_cache=False,
            config_kwargs={"max_pool_connections": _CONNECTIONS},
        )

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

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if isinstance(error, FileNotFoundError) and _s3_code(error) != "NoSuchBucket":
                raise
            message = f"store {self.uri}: {type(error).__name__}: {error}; {_s3_advice(error)}"
            raise StoreError(message) from error

    def _path(self, path: str) -> str:
        return f"{self.root}/{path}"

    def create(self, path: str, data: bytes | Path) -> bool:
        with self._explained():
            for wait_s in (0.1, 0.2, 0.4, 0.8, None):
                try:
                    if isinstance(data, Path):
                        self.fs.put_file(str(data), self._path(path), mode="create")
                    else:
                        self.fs.pipe_file(self._path(path), data, mode="create")
                    return True
                except Exception as error:
                    if _s3_code(error) in ("PreconditionFailed", "412"):
                        return False
                    # 409: another conditional write was in flight and both may have failed; S3 asks to retry.
                    if _s3_code(error) not in ("ConditionalRequestConflict", "409") or wait_s is None:
                        raise
                    time.sleep(wait_s)
        raise AssertionError("the last try returns or raises")

    def replace(self, path: str, data: bytes) -> None:
        with self._explained():
            self.fs.pipe_file(self._path(path), data)

    def read(self, path: str) -> bytes:
        with self._explained():
            # Above one connection s3fs asks for the size first: two requests for every file.
            data: bytes = self.fs.cat_file(self._path(path), max_concurrency=1)
            return data

    def open(self, path: str) -> BinaryIO:
        with self._explained():
            file: BinaryIO = self.fs.open(self._path(path), "rb", block_size=2**20)
            return file

    def read_many(self, paths: Sequence[str]) -> dict[str, bytes]:
        if not paths:
            return {}
        names = {self._path(path): path for path in paths}
        with self._explained():
            contents = self.fs.cat(list(names), on_error="return", max_concurrency=1)
            for answer in contents.values():
                if isinstance(answer, Exception) and not isinstance(answer, FileNotFoundError):
                    raise answer
        return {names[name]: answer for name, answer in contents.items() if isinstance(answer, bytes)}

    def fetch(self, path: str, dest: Path) -> None:
        with self._explained():
            self.fs.get_file(self._path(path), str(dest))

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
        with self._explained():
            answer = self.fs.call_s3(
                "list_objects_v2", Bucket=bucket, Prefix=root + prefix, MaxKeys=limit or _PAGE, **start
            )
        # A key with a final slash is a folder made in a web console.
        objects = (item for item in answer.get("Contents", ()) if not item["Key"].endswith("/"))
        entries = [(item["Key"].removeprefix(root), item["Size"]) for item in objects]
        return entries, answer.get("NextContinuationToken", "")

    def leftovers(self, older_than_s: float) -> dict[str, int]:
        return {}  # objects appear whole; a lifecycle rule of the bucket removes unfinished multipart uploads

    def delete(self, path: str) -> None:
        with self._explained():
            self.fs.rm_file(self._path(path))

    def delete_many(self, paths: Sequence[str]) -> None:
        for start in range(0, len(paths), _PAGE):
            keys = [self._path(path).partition("/")[2] for path in paths[start : start + _PAGE]]
            request = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
            with self._explained():
                answer = self.fs.call_s3("delete_objects", Bucket=self.root.partition("/")[0], Delete=request)
            for error in answer.get("Errors", ()):  # s3fs's own bulk delete ignores them
                raise StoreError(f"store {self.uri}: {error['Key']} was not deleted: {error.get('Message')}")


def _s3_code(error: BaseException) -> str:
    """The server's error code; s3fs turns its answer into an OSError and keeps the original as the cause."""
    response: dict[str, Any] = getattr(error, "response", None) or getattr(error.__cause__, "response", None) or {}
    code: str = response.get("Error", {}).get("Code", "")
    return code


def _s3_advice(error: Exception) -> str:
    kind = type(error).__name__
    if _s3_code(error) == "NoSuchBucket":
        return "create the bucket, or check its name and AWS_ENDPOINT_URL"
    if "Credentials" in kind:
        return "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or an instance role"
    if isinstance(error, PermissionError):
        return "these credentials need s3:ListBucket, s3:GetObject, s3:PutObject and s3:DeleteObject on the prefix"
    if "Connect" in kind or "Endpoint" in kind or "Timeout" in kind:
        return "check AWS_ENDPOINT_URL and the network"
    return "check the bucket, AWS_ENDPOINT_URL and the credentials"
