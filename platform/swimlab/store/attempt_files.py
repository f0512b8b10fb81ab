"""Reads the small JSON files of attempts: claims, heartbeats, progress and failures.

They hold no result, and a machine that loses its power or fills its disk may leave them empty or cut off; a flipped bit
is told by their digest, which files of an older swimlab lack. Such a file is named in the log and stops nobody: the
attempt's owner is then unknown, so that only its heartbeat decides.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from swim.recipe import Frozen
from swimlab.store.backends.base import Backend
from swimlab.store.leases import Owner
from swimlab.store.paths import folder_of
from swimlab.store.sealed_json import unsealed

_log = logging.getLogger(__name__)

_UNKNOWN = Owner(host="unknown", realm="", pid=0)


class Claim(Frozen):
    """The content of a claim, whose defaults stand for a file that cannot be read. `target`: the weights, where an
    evaluation is claimed; `work_id` and `number` are of the attempt, None in older claims."""

    nonce: str = ""
    owner: Owner = _UNKNOWN
    target: dict[str, Any] | None = None
    work_id: str | None = None
    number: int | None = None


def json_object(source: str, data: bytes) -> dict[str, Any]:
    """A JSON object; empty, with a warning that names `source`, for a damaged file."""
    try:
        content = json.loads(data)
        if isinstance(content, dict):
            return unsealed(content, required=False)
        error = ValueError("no JSON object")
    except ValueError as invalid:
        error = invalid
    _log.warning("%s is damaged and is ignored (%s)", source, error)
    return {}


def parse_claim(source: str, work_id: str, number: int, data: bytes) -> Claim:
    """A claim of this attempt; one of an unknown owner, with a warning that names `source`, for any other content."""
    claim = claim_of(source, json_object(source, data))
    if claim.work_id is not None and (claim.work_id, claim.number) != (work_id, number):
        _log.warning("%s is of attempt %s of %s: its owner counts as unknown", source, claim.number, claim.work_id)
        return Claim()
    return claim


def claim_of(source: str, content: dict[str, Any]) -> Claim:
    """Like `parse_claim`, of a JSON object that was parsed, whatever attempt it names."""
    try:
        return Claim.model_validate(content)
    except ValidationError as error:
        _log.warning("%s is damaged: its owner counts as unknown (%s)", source, error)
        return Claim()


def read_claims(backend: Backend, attempts: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Claim]:
    """(id of a trial or an evaluation, number) → claim, of those attempts that have one."""
    paths = {f"{folder_of(*attempt)}/claim": attempt for attempt in attempts}
    contents = backend.read_many(list(paths))
    return {paths[path]: parse_claim(f"{backend.uri}/{path}", *paths[path], data) for path, data in contents.items()}
