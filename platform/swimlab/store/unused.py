"""Finds clips and source archives of a store that no record and no pruned trial refers to."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from swim.recipe import DataConfig
from swimlab.identity import naming
from swimlab.store import evaluation_commits, listings
from swimlab.store.errors import StoreError
from swimlab.store.paths import code_path
from swimlab.store.sealed_json import unsealed
from swimlab.store.sweep_store import SweepStore

# The data, and of the model its name: recipes of older schemas differ elsewhere.
_DATA: TypeAdapter[DataConfig] = TypeAdapter(DataConfig)


def unused_code(store: SweepStore) -> dict[str, int]:
    """Source archives that no result names: path → bytes."""
    records, evaluations = store.records(), store.evaluations()
    fingerprints = {pruned["code_fingerprint"] for pruned in _pruned(store).values()}
    fingerprints |= {record.code_fingerprint for record in records.values()}
    fingerprints |= {evaluation.code_fingerprint for evaluation in evaluations.values()}
    for record in records.values():
        for evaluation_id in evaluation_commits.evaluation_names(record):
            if (published := evaluations.get(evaluation_id)) is None or not published.fits(record):
                # Its driver was killed before it published this, or is about to do it.
                evaluation, _ = evaluation_commits.made_with_training(store.backend, record, evaluation_id)
                fingerprints.add(evaluation.code_fingerprint)
    used = {code_path(fingerprint) for fingerprint in fingerprints}
    return {path: size_bytes for path, size_bytes in listings.sizes(store.backend, "code").items() if path not in used}


def unused_clips(store: SweepStore) -> dict[str, dict[str, int]]:
    """Folder → file → bytes of the data sets that no trial would need if it were run again with the present code,
    in the order in which to delete them. Raises StoreError for a recipe that this code cannot read."""
    results = {record.path: record.model_dump(mode="json") for record in store.records().values()} | _pruned(store)
    needed = {f"clips/{fingerprint}" for fingerprint in _needed(results)}
    folders: dict[str, dict[str, int]] = defaultdict(dict)
    sizes = listings.sizes(store.backend, "clips")
    # The manifest first: without it an interrupted deletion leaves no data set that looks complete.
    for path in sorted(sizes, key=lambda path: (not path.endswith("/manifest.json"), path)):
        folder = "/".join(path.split("/")[:2])
        if folder not in needed:
            folders[folder][path] = sizes[path]
    return folders


def _pruned(store: SweepStore) -> dict[str, dict[str, Any]]:
    """Path → content of each pruned trial (`swimlab.execution.search.pruning_rungs.PrunedRecord`)."""
    results = {}
    for path, data in store.backend.read_many(store.list_files("pruned")).items():
        try:
            results[path] = unsealed(json.loads(data), required=False)
        except (ValueError, AttributeError) as error:
            raise StoreError(f"{store.uri}/{path} is no pruned trial, or is damaged ({error}); delete it") from error
    return results


def _needed(results: Mapping[str, Mapping[str, Any]]) -> set[str]:
    needed: dict[tuple[str, str], str] = {}
    for path, result in results.items():
        recipe = result["recipe"]
        model = {name: (recipe.get("model") or {}).get(name) for name in ("kind", "path", "revision")}
        key = (json.dumps([recipe.get("data"), model], sort_keys=True), result["data_fingerprint"])
        if key not in needed:
            try:
                data = _DATA.validate_python(recipe.get("data"))
            except ValidationError as error:
                raise StoreError(
                    f"{path}: this code cannot read its recipe ({error.error_count()} fields of data), so the clips "
                    "that it needs are unknown; collect clips with the code that wrote it, or delete it"
                ) from error
            needed[key] = naming.clips_fingerprint(data, result["data_fingerprint"], model)
    return set(needed.values())
