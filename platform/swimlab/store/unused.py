"""Finds clips and source archives of a store that no record, no pruned trial and no generation refers to."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from pydantic import TypeAdapter, ValidationError

from swim.recipe import DataConfig
from swimlab.identity import naming
from swimlab.store import evaluation_commits, listings
from swimlab.store.errors import StoreError
from swimlab.store.evaluation_records import EvaluationRecord
from swimlab.store.paths import code_path
from swimlab.store.records import TrialRecord
from swimlab.store.sealed_json import unsealed
from swimlab.store.sweep_store import SweepStore

# The data, and of the model its name: recipes of older schemas differ elsewhere.
_DATA: TypeAdapter[DataConfig] = TypeAdapter(DataConfig)


class References:
    """What the results of a store refer to. Everything is read once, when it is first asked for."""

    def __init__(self, store: SweepStore) -> None:
        self._store = store

    def unused_code(self) -> dict[str, int]:
        """Source archives that no result names: path → bytes."""
        store, evaluations = self._store, self._evaluations
        fingerprints = {pruned["code_fingerprint"] for pruned in self._pruned.values()}
        fingerprints |= {generation["code_fingerprint"] for generation in self._generations.values()}
        fingerprints |= {record.code_fingerprint for record in self._records.values()}
        fingerprints |= {evaluation.code_fingerprint for evaluation in evaluations.values()}
        for record in self._records.values():
            for evaluation_id in evaluation_commits.evaluation_names(record):
                if (published := evaluations.get(evaluation_id)) is None or not published.fits(record):
                    # Its driver was killed before it published this, or is about to do it.
                    evaluation, _ = evaluation_commits.made_with_training(store.backend, record, evaluation_id)
                    fingerprints.add(evaluation.code_fingerprint)
        used = {code_path(fingerprint) for fingerprint in fingerprints}
        return {path: size for path, size in listings.sizes(store.backend, "code").items() if path not in used}

    def unused_clips(self) -> dict[str, dict[str, int]]:
        """Folder → file → bytes of the data sets that no trial would need if it were run and evaluated again with the
        present code, and no generation to be completed, in the order in which to delete them. Raises StoreError for a
        recipe that this code cannot read."""
        records, pruned = self._records, self._pruned
        results = {record.path: record.model_dump(mode="json") for record in records.values()} | pruned
        # Clips that chose are no part of a trial's data.
        results |= {
            evaluation.path: {"recipe": trial.recipe, "data_fingerprint": evaluation.data_fingerprint}
            for evaluation in self._evaluations.values()
            if evaluation.split == "validation" and (trial := records.get(evaluation.target.trial_id)) is not None
        }
        results |= {
            f"{path}: its rungs": result | {"data_fingerprint": result["rungs_data_fingerprint"]}
            for path, result in pruned.items()
            if result.get("rungs_data_fingerprint")
        }
        asked = {g["clips_fingerprint"] for g in self._generations.values() if "clips_fingerprint" in g}
        needed = {f"clips/{fingerprint}" for fingerprint in _needed(results) | asked}
        folders: dict[str, dict[str, int]] = defaultdict(dict)
        sizes = listings.sizes(self._store.backend, "clips")
        # The manifest first: without it an interrupted deletion leaves no data set that looks complete.
        for path in sorted(sizes, key=lambda path: (not path.endswith("/manifest.json"), path)):
            folder = "/".join(path.split("/")[:2])
            if folder not in needed:
                folders[folder][path] = sizes[path]
        return folders

    @cached_property
    def _records(self) -> dict[str, TrialRecord]:
        return self._store.records()

    @cached_property
    def _evaluations(self) -> dict[str, EvaluationRecord]:
        return self._store.evaluations()

    @cached_property
    def _pruned(self) -> dict[str, dict[str, Any]]:
        """Path → content of each pruned trial (`swimlab.execution.search.pruning_rungs.PrunedRecord`)."""
        return _contents(self._store, self._store.list_files("pruned"), "pruned trial")

    @cached_property
    def _generations(self) -> dict[str, dict[str, Any]]:
        """Path → what is generated (`swimlab.evaluating.generation.Generation`), and the evaluations of served models
        (`swimlab.evaluating.scores.ServedEvaluation`)."""
        store, files = self._store, self._store.list_files("generations")
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
