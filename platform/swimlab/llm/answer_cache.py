"""Answers of language models, stored permanently, so that no request is paid for twice.

    answers/<2 hex>/<sha256 of the canonical request>.json     create-only, written right after the answer arrives

The name covers everything that decides an answer (model, messages, schema, parameters) but neither server nor key, so
that any run of any experiment reuses the answer to an equal request. Of a picture in a message the hash is stored, not
the picture.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import Field, ValidationError

from swim.recipe import Frozen
from swimlab.store.errors import StoreError
from swimlab.store.sealed_json import sealed, unsealed
from swimlab.store.sweep_store import SweepStore

SCHEMA_VERSION = 1


class CompletionUsage(Frozen):
    """Tokens as the server counted them; None when it did not report them."""

    prompt_tokens: int | None = Field(None, ge=0)
    completion_tokens: int | None = Field(None, ge=0)


class Answer(Frozen):
    """A model's answer. `text` may be empty; `refusal` is the model's own, if any; `finish` is the server's reason for
    the end ("stop", "length", …); `model` is the name that the server reports."""

    text: str
    refusal: str = ""
    finish: str = ""
    usage: CompletionUsage = CompletionUsage()
    model: str = ""
    server: str = ""
    answered_at: str = ""
    cached: bool = Field(False, exclude=True)


def canonical(request: dict[str, Any]) -> bytes:
    """The canonical JSON of a request, whose hash is its name."""
    return json.dumps(request, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def without_pictures(value: Any) -> Any:
    """A request with the hash in place of each picture in it (a data URL): frames of a video would be stored again with
    every question about it."""
    if isinstance(value, dict):
        return {name: without_pictures(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_pictures(inner) for inner in value]
    if isinstance(value, str) and value.startswith("data:image/"):
        return f"sha256:{hashlib.sha256(value.encode()).hexdigest()}"
    return value


class Answers:
    """The cached answers in a store."""

    def __init__(self, store: SweepStore) -> None:
        self._store = store

    def find(self, request: dict[str, Any]) -> Answer | None:
        """The answer to a request, or None. Raises StoreError for a file that holds something else."""
        request = without_pictures(request)
        path = _path(request)
        try:
            content = self._store.read(path)
        except FileNotFoundError:
            return None
        try:
            stored = unsealed(json.loads(content), required=False)
            if stored["schema_version"] != SCHEMA_VERSION or stored["request"] != request:
                raise ValueError("it answers another request, or is of another version")
            return Answer.model_validate(stored["answer"]).model_copy(update={"cached": True})
        except (ValidationError, ValueError, LookupError, TypeError, AttributeError) as error:
            why = " ".join(str(error).split())
            raise StoreError(
                f"{self._store.uri}/{path} is no answer ({why}); delete it to ask (and pay) again"
            ) from error

    def put(self, request: dict[str, Any], answer: Answer) -> Answer:
        """Write an answer and return the stored one, which is another if another process wrote first."""
        named = without_pictures(request)
        content = {"schema_version": SCHEMA_VERSION, "request": named, "answer": answer.model_dump(mode="json")}
        if self._store.put_create_only(_path(named), sealed(content)):
            return answer
        return self.find(request) or answer


def _path(request: dict[str, Any]) -> str:
    name = hashlib.sha256(canonical(request)).hexdigest()
    return f"answers/{name[:2]}/{name}.json"
