"""Finds clips and source archives of a store that no record, no pruned trial and no generation refers to."""

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
    fingerprints |= {generation["code_fingerprint"] for generation in _generations(store).values()}
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
    """Folder → file → bytes of the data sets that no trial would need if it were run and evaluated again with the
    present code, and no generation to be completed, in the order in which to delete them. Raises StoreError for a
    recipe that this code cannot read."""
    records, pruned = store.records(), _pruned(store)
    results = {record.path: record.model_dump(mode="json") for record in records.values()} | pruned
    # Clips that chose are no part of a trial's data.
    results |= {
        evaluation.path: {"recipe": trial.recipe, "data_fingerprint": evaluation.data_fingerprint}
        for evaluation in store.evaluations().values()
        if evaluation.split == "validation" and (trial := records.get(evaluation.target.trial_id)) is not None
    }
    results |= {
        f"{path}: its rungs": result | {"data_fingerprint": result["rungs_data_fingerprint"]}
        for path, result in pruned.items()
        if result.get("rungs_data_fingerprint")
    }
    asked = {g["clips_fingerprint"] for g in _generations(store).values() if "clips_fingerprint" in g}
    needed = {f"clips/{fingerprint}" for fingerprint in _needed(results) | asked}
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
    return _contents(store, store.list_files("pruned"), "pruned trial")


def _generations(store: SweepStore) -> dict[str, dict[str, Any]]:
    """Path → what is generated (`swimlab.evaluating.generation.Generation`), and the evaluations of served models
    (`swimlab.evaluating.scores.ServedEvaluation`)."""
    files = store.list_files("generations")
    plans = _contents(store, [path for path in files if path.endswith("/plan.json")], "plan of a generation")
    served = _contents(store, [p for p in files if "/evaluations/" in p and p.endswith(".json")], "evaluation")
    return {path: plan["generation"] for path, plan in plans.items()} | served


def _contents(store: SweepStore, paths: list[str], kind: str) -> dict[str, dict[str, Any]]:
    results = {}
    for path, data in store.backend.read_many(paths).items():
        try:
            results[path] = unsealed(json.loads(data), required=False)
        except (ValueError, AttributeError) as error:
            raise StoreError(f"{store.uri}/{path} is no {kind}, or is damaged ({error}); delete it") from error
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
