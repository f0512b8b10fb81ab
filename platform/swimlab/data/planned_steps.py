"""How many steps the epochs of a recipe are: counted from its prepared clips, and before there are any from the rows of
its annotation files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from swim.recipe import Recipe, ShapesWorld, Source
from swimlab.data.prepared_clips import load_index, load_prepared
from swimlab.experiment.trial_spec import TrialSpec
from swimlab.store.sweep_store import SweepStore


@dataclass(frozen=True)
class StepCount:
    """`recipe` is a trial's recipe with its length in steps; `reason` says how they were counted, empty where the
    recipe gives them. Not `exact`: before the clips are prepared, which may set rows aside."""

    recipe: Recipe
    reason: str = ""
    exact: bool = True

    @property
    def text(self) -> str:
        """The number, as a table shows it."""
        return f"{'' if self.exact else '≈ '}{self.recipe.optim.total_steps}"


class PlannedSteps:
    """Counts the steps of trials; each data set is counted once."""

    def __init__(self, store: SweepStore, cache_dir: Path) -> None:
        self._store, self._cache_dir = store, cache_dir
        self._keys: dict[str, list[str] | None] = {}

    def of(self, spec: TrialSpec) -> StepCount:
        """The steps of a trial. Raises DataError and OSError where they depend on a file that cannot be read."""
        recipe = spec.recipe
        optim = recipe.optim
        if optim.epochs is None:
            return StepCount(recipe)
        # Keys of annotations are made by what reads them: 0.2 s to import, which most plans do without.
        from swim.data.clips import subset
        from swim.data.sources import mixture

        keys = self._prepared_keys(spec.clips_fingerprint)
        if keys is None:
            rows = recipe.data.fraction * self._annotated_rows(recipe)
        else:
            rows = mixture([keys[i] for i in subset(keys, recipe.data.fraction)], recipe.data).rows
        resolved = recipe.model_copy(update={"optim": optim.resolved(rows)})
        embedded = isinstance(recipe.data, ShapesWorld)
        about = "" if keys is not None or embedded else ", counted before any row is set aside"
        epochs = f"{optim.epochs:g} epoch{'s' if optim.epochs != 1 else ''}"
        reason = f"{resolved.optim.total_steps}: {epochs} of {rows:,.10g} rows, {optim.batch} a step{about}"
        return StepCount(resolved, reason, exact=keys is not None or (embedded and recipe.data.fraction == 1))

    def _prepared_keys(self, fingerprint: str) -> list[str] | None:
        if fingerprint not in self._keys:
            by_kind = (load_prepared(self._store, fingerprint, stored=stored) for stored in (True, False))
            prepared = next(filter(None, by_kind), None)
            keys = load_index(self._store, prepared, "train")["key"].to_pylist() if prepared else None
            self._keys[fingerprint] = keys
        return self._keys[fingerprint]

    def _annotated_rows(self, recipe: Recipe) -> float:
        """Rows of an epoch of all the data, by the annotation files."""
        data = recipe.data
        if isinstance(data, ShapesWorld):
            return data.clips
        # Imported here for the reason above.
        from swimlab.identity.data_hash import row_count

        sources = {source.file: source for source in data.sources}
        names = {file: PurePosixPath(file).name for file in data.annotations}
        return sum(
            row_count(file, self._cache_dir) * sources.get(name, Source(file=name)).weight
            for file, name in names.items()
        )
