"""Maps a store's URI to its backend."""

from urllib.parse import unquote, urlsplit

from swimlab.store.backends.base import Backend
from swimlab.store.backends.local import LocalBackend
from swimlab.store.backends.patience import LONG_S
from swimlab.store.errors import StoreError


def backend_for(uri: str, patience_s: float = LONG_S) -> Backend:
    """Local folder (a path or file://) or s3://bucket/prefix, the scheme in any case. `patience_s`: how long a call
    waits for a server that does not answer. Raises StoreError for an empty URI and any other scheme."""
    if not uri.strip():
        raise StoreError("the store has an empty name: give --store or SWIMLAB_STORE a folder or s3://bucket/prefix")
    scheme, _, rest = uri.partition("://") if "://" in uri else ("", "", uri)
    if scheme.lower() == "s3":
        from swimlab.store.backends.s3 import S3Backend  # botocore and s3fs take half a second to import

        return S3Backend(f"s3://{rest}", patience_s)
    if scheme.lower() == "file":
        return LocalBackend(_folder(uri, rest))
    if scheme:
        raise StoreError(f"{uri}: {scheme}:// has no create-only write here; use a local folder or s3://bucket/prefix")
    return LocalBackend(uri)


def _folder(uri: str, rest: str) -> str:
    """The folder that a file:// address names. Raises StoreError where that is not certain."""
    parts = urlsplit(f"file://{rest}")
    if parts.query or parts.fragment:
        raise StoreError(f"{uri}: write ? and # in a file:// address as %3F and %23, or give the folder's plain path")
    if parts.netloc not in ("", "localhost"):
        raise StoreError(f"{uri} names the machine {parts.netloc!r}: write file:///folder, or the folder's plain path")
    return unquote(parts.path)
