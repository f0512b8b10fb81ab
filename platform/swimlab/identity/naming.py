"""The id of a trial: a hash of the canonical recipe, the code it runs and the data it uses.

Recipes that must give the same result have the same id, so that a control is shared by all tables; anything that can
change a result changes the id. A value without a stable text form is refused.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swim.entry import entry_modules, reading_modules
from swim.recipe import DataConfig, HubModel, Recipe, ShapesWorld
from swim.supervision.layers import resolve
from swimlab.identity.source_closure import SOURCE_ROOT, IdentityError, Sources, archive, fingerprint

__all__ = [
    "Identifier",
    "IdentityError",
    "TrialIdentity",
    "canonical",
    "canonical_json",
    "clips_fingerprint",
    "code_fingerprint",
    "code_modules",
    "data_fingerprint",
    "source_archive",
    "trial_id",
]

_DIGITS = 20  # 80 bits: among a billion trials two share an id with probability 4e-7

_ACTIVE_WITHOUT_MASK = {"text_weight", "mask_weight"}  # with mask_weight 0 the other objective fields have no effect


def canonical(recipe: Recipe, init_id: str | None = None) -> str:
    """Canonical JSON of the recipe fields that decide a result.

    Left out: the recipe's name, objective fields that mask_weight 0 makes inactive, training fields when there are 0
    steps, and the paths of a user's files (the data fingerprint covers their contents). The recipe it starts from
    appears as `init_id` when given, as `trial_id` does, else inline. Raises IdentityError for a value that cannot be
    written stably.
    """
    # Copies made with model_copy(update=…) skip validation; an int in a float field becomes a float here.
    recipe = Recipe.model_validate(recipe.model_dump())
    tree = recipe.model_dump(exclude={"name", "init"})
    # "even:2" of four layers and (1, 3) are one trial.
    for readout in (tree["objective"], tree["evaluation"]["readout"]):
        readout["layers"] = resolve(readout["layers"], recipe.model.layers)
    if recipe.optim.steps == 0:
        # Nothing is trained, so only weights, data and evaluation decide the result.
        tree["optim"], tree["objective"] = {"steps": 0}, {}
        del tree["seed"]
    elif recipe.objective.mask_weight == 0:
        tree["objective"] = recipe.objective.model_dump(include=_ACTIVE_WITHOUT_MASK)
    for location in ("annotations", "videos", "held_out_annotations"):
        tree["data"].pop(location, None)
    if recipe.init is not None:
        tree["init"] = init_id or json.loads(canonical(recipe.init))
    return canonical_json(tree)


def canonical_json(value: Any) -> str:
    """JSON with sorted keys, no spaces, ASCII only, floats as Python's shortest repr (5.0 is not 5, -0.0 is 0.0).

    Raises IdentityError naming the path of NaN, an infinity, or anything but dicts with text keys, sequences, text,
    numbers, booleans and None.
    """
    return json.dumps(_plain(value, "recipe"), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _plain(value: Any, path: str) -> Any:
    kind = type(value)
    if value is None or kind in (str, bool, int):
        return value
    if kind is float:
        if not math.isfinite(value):
            raise IdentityError(f"{path} is {value}: a trial id needs finite numbers; use one")
        return value + 0.0
    if kind in (list, tuple):
        return [_plain(item, f"{path}[{index}]") for index, item in enumerate(value)]
    if kind is dict and all(type(key) is str for key in value):
        return {key: _plain(item, f"{path}.{key}") for key, item in value.items()}
    raise IdentityError(
        f"{path} is a {kind.__name__}, which has no stable text; use text, numbers, booleans, None, lists and dicts "
        "with text keys"
    )


@dataclass(frozen=True)
class TrialIdentity:
    """A trial's id and the hashes it is made of. `clips_fingerprint` names its prepared clips; `init` is the identity
    of the recipe it starts from."""

    trial_id: str
    code_fingerprint: str
    data_fingerprint: str
    clips_fingerprint: str
    init: TrialIdentity | None


class Identifier:
    """Computes the ids of a session's trials; sources and data are read once. `cache_dir` caches hashes of large
    files."""

    def __init__(self, cache_dir: Path, source_root: Path = SOURCE_ROOT) -> None:
        self.sources = Sources(source_root, cache_dir)
        self._cache_dir = cache_dir
        self._trials: dict[str, TrialIdentity] = {}
        self._data: dict[str, str] = {}

    def identify(self, recipe: Recipe) -> TrialIdentity:
        """The identity of a recipe, whose `init` is identified as a trial of its own. Raises IdentityError when recipe,
        code or data have no stable hash."""
        key = recipe.model_dump_json()
        if key not in self._trials:
            self._trials[key] = self._identify(recipe)
            self.sources.save()
        return self._trials[key]

    def data_fingerprint(self, data: DataConfig) -> str:
        """Hash of the data, 20 hex digits. For the embedded data set: of its config and its generator's code."""
        key = data.model_dump_json()
        if key not in self._data:
            if isinstance(data, ShapesWorld):
                code = self._code(["swim.data.shapes_world"])
                content = {"config": data.model_dump(exclude={"fraction"}), "code": code}
            else:
                # PyAV and the readers of annotations take 0.2 s to import: not for a plan on the embedded data.
                from swimlab.identity.data_hash import files_content

                content = files_content(data, self._cache_dir)
            self._data[key] = _digest(canonical_json(content))
        return self._data[key]

    def clips_fingerprint(self, data: DataConfig, data_fingerprint: str) -> str:
        """See the module function `clips_fingerprint`."""
        return _clips(data_fingerprint, self._code(reading_modules(data)))

    def _identify(self, recipe: Recipe) -> TrialIdentity:
        init = None if recipe.init is None else self.identify(recipe.init)
        code, data = self._code(entry_modules(recipe)), self.data_fingerprint(recipe.data)
        parts = {"recipe": canonical(recipe, init.trial_id if init else None), "code": code, "data": data}
        if isinstance(recipe.model, HubModel) and Path(recipe.model.path).is_dir():
            # Imported here for the reason above.
            from swimlab.identity.data_hash import FileHashes

            # A hub id with `revision` identifies weights; the contents of a folder can change.
            with FileHashes(self._cache_dir) as hashes:
                parts["weights"] = hashes.of(Path(recipe.model.path))
        name = _digest(canonical_json(parts))
        return TrialIdentity(name, code, data, self.clips_fingerprint(recipe.data, data), init)

    def _code(self, roots: Iterable[str]) -> str:
        return fingerprint(self.sources.module_hashes(roots))


def code_modules(recipe: Recipe, source_root: Path = SOURCE_ROOT) -> dict[str, str]:
    """Module (or packaged data file) → hash, for everything of `swim` that the recipe runs."""
    return Sources(source_root).module_hashes(entry_modules(recipe))


def code_fingerprint(recipe: Recipe, source_root: Path = SOURCE_ROOT) -> str:
    """One hash over `code_modules`, 20 hex digits."""
    return fingerprint(code_modules(recipe, source_root))


def source_archive(recipe: Recipe, source_root: Path = SOURCE_ROOT) -> bytes:
    """The sources behind `code_fingerprint`, for code/<fingerprint>.tar.gz; byte-equal for equal sources."""
    return archive(Sources(source_root).closure(entry_modules(recipe)).values())


def data_fingerprint(data: DataConfig, cache_dir: Path, source_root: Path = SOURCE_ROOT) -> str:
    """See `Identifier`."""
    return Identifier(cache_dir, source_root).data_fingerprint(data)


def clips_fingerprint(data: DataConfig, data_fingerprint: str, source_root: Path = SOURCE_ROOT) -> str:
    """Hash of a data set and of the code that reads and decodes it; it names the prepared clips."""
    code = fingerprint(Sources(source_root).module_hashes(reading_modules(data)))
    return _clips(data_fingerprint, code)


def _clips(data: str, code: str) -> str:
    return _digest(canonical_json({"data": data, "code": code}))


def trial_id(recipe: Recipe, cache_dir: Path, source_root: Path = SOURCE_ROOT) -> str:
    """The trial's id, 20 hex digits. Raises IdentityError."""
    return Identifier(cache_dir, source_root).identify(recipe).trial_id


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
