"""Finds clips and source archives of a store that no record and no pruned trial refers to."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from swim.recipe import Recipe
from swimlab.identity import naming
from swimlab.store.errors import StoreError
from swimlab.store.sweep_store import SweepStore


def unused_code(store: SweepStore) -> dict[str, int]:
    """Source archives that no result names: path → bytes."""
    used = {f"code/{result['code_fingerprint']}.tar.gz" for result in _results(store).values()}
    return {path: size_bytes for path, size_bytes in store.backend.sizes("code").items() if path not in used}


def unused_clips(store: SweepStore) -> dict[str, dict[str, int]]:
    """Folder → file → bytes of the data sets that no trial would need if it were run again with the present code,
    in the order in which to delete them. Raises StoreError for a recipe that this code cannot read."""
    needed = {f"clips/{fingerprint}" for fingerprint in _needed(_results(store))}
    folders: dict[str, dict[str, int]] = defaultdict(dict)
    sizes = store.backend.sizes("clips")
    # The manifest first: without it an interrupted deletion leaves no data set that looks complete.
    for path in sorted(sizes, key=lambda path: (not path.endswith("/manifest.json"), path)):
        folder = "/".join(path.split("/")[:2])
        if folder not in needed:
            folders[folder][path] = sizes[path]
    return folders


def _results(store: SweepStore) -> dict[str, dict[str, Any]]:
    """Path → content of each record and each pruned trial (`swimlab.execution.search.pruning_rungs.PrunedRecord`)."""
    committed = {
        f"records/{trial_id}.json": record.model_dump(mode="json") for trial_id, record in store.records().items()
    }
    pruned = store.backend.read_many(store.list_files("pruned"))
    return committed | {path: json.loads(data) for path, data in pruned.items()}


def _needed(results: Mapping[str, Mapping[str, Any]]) -> set[str]:
    needed: dict[tuple[str, str], str] = {}
    for path, result in results.items():
        key = (json.dumps(result["recipe"].get("data"), sort_keys=True), result["data_fingerprint"])
        if key not in needed:
            try:
                data = Recipe.model_validate(result["recipe"]).data
            except ValidationError as error:
                raise StoreError(
                    f"{path}: this code cannot read its recipe ({error.error_count()} fields), so the clips that it "
                    "needs are unknown; collect clips with the code that wrote it, or delete it"
                ) from error
            needed[key] = naming.clips_fingerprint(data, result["data_fingerprint"])
    return set(needed.values())
