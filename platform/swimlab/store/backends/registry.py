"""Maps a store's URI to its backend."""

from urllib.parse import urlsplit

from swimlab.store.backends.base import Backend
from swimlab.store.backends.local import LocalBackend
from swimlab.store.errors import StoreError


def backend_for(uri: str) -> Backend:
    """Local folder (a path or file://) or s3://bucket/prefix. Raises StoreError for any other scheme."""
    parts = urlsplit(uri)
    if parts.scheme == "s3":
        from swimlab.store.backends.s3 import S3Backend  # which imports this module

        return S3Backend(uri)
    if parts.scheme in ("", "file"):
        return LocalBackend(parts.path if parts.scheme else uri)
    raise StoreError(
        f"{uri}: {parts.scheme}:// has no create-only write here; use a local folder or s3://bucket/prefix"
    )
