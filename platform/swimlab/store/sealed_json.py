"""JSON files with a digest of their own content, so that damage is told from data: of a record whose digit flips on the
disk every number still parses."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Self

from swim.recipe import Frozen

DIGEST = "digest"  # the field; no model may have one of this name


class SealedModel(Frozen):
    """A model that is stored with its digest."""

    def to_json(self) -> bytes:
        """The content of its file."""
        return sealed(json.loads(self.model_dump_json()))

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Inverse of `to_json`; a file of an older swimlab may lack the digest. Raises ValueError for a file that is
        damaged or of another model."""
        tree = json.loads(data)
        if not isinstance(tree, dict):
            raise ValueError("no JSON object")
        return cls.model_validate_json(json.dumps(unsealed(tree, required=False)))


def sealed(tree: dict[str, Any]) -> bytes:
    """The content of a file for a JSON object: the object with its digest."""
    return json.dumps(tree | {DIGEST: digest_of(tree)}, indent=1).encode()


def digest_of(tree: dict[str, Any]) -> str:
    """The digest of a JSON object, whatever the order of its fields and its white space."""
    text = json.dumps(tree, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def unsealed(tree: dict[str, Any], *, required: bool) -> dict[str, Any]:
    """A JSON object without its digest. Raises ValueError when it does not fit, or is `required` and missing."""
    content = {name: value for name, value in tree.items() if name != DIGEST}
    if DIGEST not in tree:
        if required:
            raise ValueError("it has no digest")
    elif tree[DIGEST] != digest_of(content):
        raise ValueError("its digest does not fit its content, so it was altered after it was written")
    return content
