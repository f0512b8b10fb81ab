"""Why a planned trial is new although the store has a result of the same recipe: which module, data or base changed."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from swim.recipe import Recipe
from swimlab.experiment.trial_spec import TrialSpec
from swimlab.identity import naming
from swimlab.identity.canonical import canonical_fields, canonical_json, with_seed
from swimlab.identity.source_archive import archived_hashes
from swimlab.identity.source_closure import IdentityError
from swimlab.store.paths import code_path
from swimlab.store.records import TrialRecord
from swimlab.store.sweep_store import SweepStore
from swimlab.store.trial_diff import without_evaluation

MOST_MODULES = 8
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Invalidation:
    """`earlier`: the newest result of the same canonical recipe, under another name. `modules`: the modules (or
    packaged data files) of `swim` that changed since; None when the sources of that result are not in the store,
    or damaged. `data`, `base`: whether the data, or the trial it starts from, changed."""

    earlier: str
    modules: tuple[str, ...] | None
    data: bool
    base: bool

    @property
    def text(self) -> str:
        """`swim.train, swim.data.video; the data` and the like."""
        parts = []
        if self.modules is None:
            parts.append("the code (its earlier sources are not in the store, or damaged)")
        elif self.modules:
            more = f" and {len(self.modules) - MOST_MODULES} more" if len(self.modules) > MOST_MODULES else ""
            parts.append(", ".join(self.modules[:MOST_MODULES]) + more)
        parts += ["the data"] * self.data + ["what it starts from"] * self.base
        return "; ".join(parts) or "the weights in model.path"


class Invalidations:
    """Earlier results by canonical recipe. `unread` counts the records whose recipe this code cannot read."""

    def __init__(self, store: SweepStore, records: Iterable[TrialRecord]) -> None:
        self._store = store
        self._records: list[tuple[TrialRecord, dict[str, Any]]] = []
        self._archives: dict[str, dict[str, str] | None] = {}
        self.unread = 0
        # Recipes that differ in the seed alone are validated once: it takes 1 ms.
        self._fields: dict[str, dict[str, Any]] = {}
        self._modules: dict[tuple[str, str], tuple[str, ...] | None] = {}
        for record in records:
            try:
                fields = self._canonical(without_evaluation(record.recipe))
            except (ValueError, IdentityError):  # pydantic's error is a ValueError
                self.unread += 1
                continue
            self._records.append((record, fields))

    @cached_property
    def _earlier(self) -> dict[str, list[TrialRecord]]:
        earlier: dict[str, list[TrialRecord]] = {}
        for record, fields in self._records:
            earlier.setdefault(canonical_json(fields), []).append(record)
        return earlier

    def earlier(self, recipe: Recipe) -> TrialRecord | None:
        """The newest result of the same canonical recipe, whatever its code and data."""
        if not self._records:  # an empty store needs no names
            return None
        name = canonical_json(self._canonical(without_evaluation(recipe.model_dump(mode="json"))))
        records = self._earlier.get(name, [])
        return max(records, key=lambda record: record.provenance.finished_at, default=None)

    def of(self, spec: TrialSpec) -> Invalidation | None:
        """What changed between the newest result and this new trial; None when there is no such result."""
        if (record := self.earlier(spec.recipe)) is None or record.trial_id == spec.trial_id:
            return None
        modules: tuple[str, ...] | None = ()
        if record.code_fingerprint != spec.code_fingerprint:
            codes = record.code_fingerprint, spec.code_fingerprint
            if codes not in self._modules:
                hashes_before = self._hashes(record.code_fingerprint)
                self._modules[codes] = (
                    None if hashes_before is None else differing(hashes_before, naming.code_modules(spec.recipe))
                )
            modules = self._modules[codes]
        return Invalidation(
            earlier=record.trial_id,
            modules=modules,
            data=record.data_fingerprint != spec.data_fingerprint,
            base=record.init_trial_id != spec.init_trial_id,
        )

    def _canonical(self, tree: Mapping[str, Any]) -> dict[str, Any]:
        """The canonical fields of a recipe's JSON values. Raises ValueError or IdentityError for what is no recipe."""
        key = json.dumps({**tree, "seed": 0}, sort_keys=True)
        if key not in self._fields:
            self._fields[key] = canonical_fields(Recipe.model_validate(tree))
        return with_seed(self._fields[key], tree.get("seed", 0))

    def _hashes(self, fingerprint: str) -> dict[str, str] | None:
        if fingerprint not in self._archives:
            self._archives[fingerprint] = None
            path = code_path(fingerprint)
            try:
                self._archives[fingerprint] = archived_hashes(self._store.read(path))
            except FileNotFoundError:
                pass
            except IdentityError as error:  # a plan does not depend on it
                _log.warning("%s/%s is damaged (%s): copy it back from a backup", self._store.uri, path, error)
        return self._archives[fingerprint]


def differing(before: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, ...]:
    """Names whose content differs, or that only one of the two has."""
    moved = []
    for name in sorted({*before, *now}):
        if before.get(name) != now.get(name):
            note = " (new)" if name not in before else " (gone)" if name not in now else ""
            moved.append(name + note)
    return tuple(moved)
