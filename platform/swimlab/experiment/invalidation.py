"""Why a planned trial is new although the store has a result of the same recipe: which module, data or base changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from swim.recipe import Recipe
from swimlab.experiment.trial_spec import TrialSpec
from swimlab.identity import naming
from swimlab.identity.source_closure import IdentityError, archived_hashes
from swimlab.store.records import TrialRecord
from swimlab.store.sweep_store import SweepStore


@dataclass(frozen=True)
class Invalidation:
    """`earlier`: the newest result of the same canonical recipe, under another name. `modules`: the modules (or
    packaged data files) of `swim` that changed since; None when the sources of that result are not in the store.
    `data`, `base`: whether the data, or the trial it starts from, changed."""

    earlier: str
    modules: tuple[str, ...] | None
    data: bool
    base: bool

    @property
    def text(self) -> str:
        """`swim.train, swim.data.video; the data` and the like."""
        parts = []
        if self.modules is None:
            parts.append("the code (its earlier sources are not in the store)")
        elif self.modules:
            parts.append(", ".join(self.modules))
        parts += ["the data"] * self.data + ["what it starts from"] * self.base
        return "; ".join(parts) or "the weights in model.path"


class Invalidations:
    """Earlier results by canonical recipe. `unread` counts the records whose recipe this code cannot read."""

    def __init__(self, store: SweepStore, records: Iterable[TrialRecord]) -> None:
        self._store = store
        self._earlier: dict[str, list[TrialRecord]] = {}
        self._archives: dict[str, dict[str, str] | None] = {}
        self.unread = 0
        for record in records:
            try:
                name = naming.canonical(Recipe.model_validate(record.recipe))
            except (ValueError, IdentityError):  # pydantic's error is a ValueError
                self.unread += 1
                continue
            self._earlier.setdefault(name, []).append(record)

    def earlier(self, recipe: Recipe) -> TrialRecord | None:
        """The newest result of the same canonical recipe, whatever its code and data."""
        if not self._earlier:  # an empty store needs no names
            return None
        records = self._earlier.get(naming.canonical(recipe), [])
        return max(records, key=lambda record: record.provenance.finished_at, default=None)

    def of(self, spec: TrialSpec) -> Invalidation | None:
        """What changed between the newest result and this new trial; None when there is no such result."""
        if (record := self.earlier(spec.recipe)) is None or record.trial_id == spec.trial_id:
            return None
        modules: tuple[str, ...] | None = ()
        if record.code_fingerprint != spec.code_fingerprint:
            hashes_before = self._hashes(record.code_fingerprint)
            modules = None if hashes_before is None else differing(hashes_before, naming.code_modules(spec.recipe))
        return Invalidation(
            earlier=record.trial_id,
            modules=modules,
            data=record.data_fingerprint != spec.data_fingerprint,
            base=record.init_trial_id != spec.init_trial_id,
        )

    def _hashes(self, fingerprint: str) -> dict[str, str] | None:
        if fingerprint not in self._archives:
            try:
                packed = self._store.read(f"code/{fingerprint}.tar.gz")
                self._archives[fingerprint] = archived_hashes(packed)
            except FileNotFoundError:
                self._archives[fingerprint] = None
        return self._archives[fingerprint]


def differing(before: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, ...]:
    """Names whose content differs, or that only one of the two has."""
    moved = []
    for name in sorted({*before, *now}):
        if before.get(name) != now.get(name):
            note = " (new)" if name not in before else " (gone)" if name not in now else ""
            moved.append(name + note)
    return tuple(moved)
