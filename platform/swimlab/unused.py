"""Clips and source archives of a store that no committed trial refers to."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping

from pydantic import ValidationError

from swim.recipe import Recipe
from swimlab import identity
from swimlab.backends import StoreError
from swimlab.records import TrialRecord
from swimlab.store import SweepStore


def unused_code(store: SweepStore) -> dict[str, int]:
    """Source archives that no record names: path → bytes."""
    used = {f"code/{record.code_fingerprint}.tar.gz" for record in store.records().values()}
    return {path: size_bytes for path, size_bytes in store.backend.sizes("code").items() if path not in used}


def unused_clips(store: SweepStore) -> dict[str, dict[str, int]]:
    """Folder → file → bytes of the data sets that no committed trial would read with the code as it is now, in the
    order in which to delete. Raises StoreError for a record whose recipe this code cannot read."""
    needed = {f"clips/{fingerprint}" for fingerprint in _needed(store.records())}
    folders: dict[str, dict[str, int]] = defaultdict(dict)
    found = store.backend.sizes("clips")
    # The manifest first: without it nobody takes the rest for whole.
    for path in sorted(found, key=lambda path: (not path.endswith("/manifest.json"), path)):
        folder = "/".join(path.split("/")[:2])
        if folder not in needed:
            folders[folder][path] = found[path]
    return folders


def _needed(records: Mapping[str, TrialRecord]) -> set[str]:
    needed: dict[tuple[str, str], str] = {}
    for trial_id, record in records.items():
        key = (json.dumps(record.recipe.get("data"), sort_keys=True), record.data_fingerprint)
        if key not in needed:
            try:
                data = Recipe.model_validate(record.recipe).data
            except ValidationError as error:
                raise StoreError(
                    f"trial {trial_id}: its recipe is of other code ({error.error_count()} fields), so which clips it "
                    "needs cannot be said; collect clips with the code that wrote it, or delete its record"
                ) from error
            needed[key] = identity.clips_fingerprint(data, record.data_fingerprint)
    return set(needed.values())
