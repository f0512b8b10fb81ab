"""What differs between two trials, from the store: recipe, code, data, start weights, numerics, versions."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from swim.supervision.layers import resolve
from swimlab.identity.source_archive import members
from swimlab.identity.source_closure import IdentityError
from swimlab.identity.source_hash import source_hash
from swimlab.identity.splits import CHOOSING_FIELDS
from swimlab.stats.pairing import Origin, comparable
from swimlab.store.errors import StoreError
from swimlab.store.flat_rows import trial_row
from swimlab.store.paths import code_path
from swimlab.store.records import TrialRecord
from swimlab.store.sweep_store import SweepStore

# A trial's name, the location of a user's files and the clips that choose change no result (swimlab.identity.naming).
_NAMES = ("name",)
_PLACES = ("data.annotations", "data.videos", "data.held_out_annotations", *(f"data.{f}" for f in CHOOSING_FIELDS))
_ABSENT = object()


@dataclass(frozen=True)
class Difference:
    """A field by its dotted name, with its value on both sides; None where a side lacks it."""

    path: str
    left: Any
    right: Any


@dataclass(frozen=True)
class ModuleDifference:
    """A module (or packaged data file) of `swim` that differs between the sides. `only` is "left" or "right" where
    the other side does not run it."""

    module: str
    only: str | None
    diff: str = field(repr=False)


def recipe_differences(left: Mapping[str, Any], right: Mapping[str, Any]) -> list[Difference]:
    """Differences of two recipes as stored in records. Ignored: names, locations of files, two ways to name the same
    layers, objective fields that mask_weight 0 makes inactive on either side, and how the trial was evaluated where one
    side does not have it (records of version 1 do)."""
    if not ("evaluation" in left and "evaluation" in right):
        left, right = (without_evaluation(side) for side in (left, right))
    sides = _decisive(left), _decisive(right)
    for prefix in ("", "init.", "init.init."):
        if any(side.get(f"{prefix}objective.mask_weight") == 0 for side in sides):
            active = {f"{prefix}objective.text_weight", f"{prefix}objective.mask_weight"}
            for side in sides:
                for path in [p for p in side if p.startswith(f"{prefix}objective.") and p not in active]:
                    del side[path]
    return compared(*sides)


def without_evaluation(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe as stored, without how it is evaluated, which older records have in them."""
    tree = {key: value for key, value in recipe.items() if key != "evaluation"}
    if isinstance(init := tree.get("init"), Mapping):
        tree["init"] = without_evaluation(init)
    return tree


def compared(left: Mapping[str, Any], right: Mapping[str, Any]) -> list[Difference]:
    """Differences of two flat mappings, in the order of the left one."""
    names = dict.fromkeys([*left, *right])
    return [
        Difference(name, left.get(name), right.get(name))
        for name in names
        if left.get(name, _ABSENT) != right.get(name, _ABSENT)
    ]


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings under dotted names; lists stay values."""
    fields: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            fields |= flat(value, f"{prefix}{key}.")
        else:
            fields[prefix + key] = value
    return fields


def _decisive(recipe: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The fields that can change a result, flat; those of the recipe it starts from under `init.`"""
    fields = flat({key: value for key, value in recipe.items() if key != "init"})
    layers = fields.get("model.layers")
    for path in ("objective.layers", "evaluation.readout.layers"):
        if isinstance(layers, int) and isinstance(named := fields.get(path), str | list):
            fields[path] = _numbers(named, layers)
    decisive = {prefix + path: value for path, value in fields.items() if path not in (*_NAMES, *_PLACES)}
    if isinstance(init := recipe.get("init"), Mapping):
        decisive |= _decisive(init, f"{prefix}init.")
    else:
        decisive[f"{prefix}init"] = init
    return decisive


def _numbers(named: str | list[int], layers: int) -> str | list[int]:
    try:
        return list(resolve(named if isinstance(named, str) else tuple(named), layers))
    except ValueError:  # a default that does not fit this depth: only its name can be compared
        return named


def sources(store: SweepStore, fingerprint: str) -> dict[str, bytes]:
    """The stored source behind a code fingerprint: path relative to the source root → content.

    Raises StoreError when it is missing or damaged.
    """
    path = code_path(fingerprint)
    try:
        packed = store.read(path)
    except FileNotFoundError as error:
        raise StoreError(
            f"{store.uri}/{path} is missing, so the code of this trial is unknown; copy it back from a backup, or from "
            "another store that ran the same code"
        ) from error
    try:
        return members(packed)
    except IdentityError as error:
        raise StoreError(f"{store.uri}/{path} is damaged ({error}); copy it back from a backup") from error


def module_differences(left: Mapping[str, bytes], right: Mapping[str, bytes]) -> list[ModuleDifference]:
    """Differences of two source trees; comments, docstrings, formatting and annotations are ignored."""
    differences = []
    for path in sorted({*left, *right}):
        a, b = left.get(path), right.get(path)
        if a is not None and b is not None and (a == b or _hash(path, a) == _hash(path, b)):
            continue
        only = None if a is not None and b is not None else "left" if b is None else "right"
        differences.append(ModuleDifference(module_name(path), only, _unified(path, a, b)))
    # An `__init__` that exists on one side only is left out where a module below it is listed.
    below = {(m.module.rpartition(".")[0], m.only) for m in differences if m.only}
    return [m for m in differences if not (m.only and (m.module, m.only) in below)]


def module_name(path: str) -> str:
    """swim/data/clips.py → swim.data.clips; a data file keeps its path."""
    if not path.endswith(".py"):
        return path
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _hash(path: str, content: bytes) -> str:
    if path.endswith(".py"):
        return source_hash(content.decode("utf-8"), path)
    return hashlib.sha256(content).hexdigest()


def _unified(path: str, left: bytes | None, right: bytes | None) -> str:
    a, b = ((data or b"").decode("utf-8", "replace").splitlines() for data in (left, right))
    return "\n".join(difflib.unified_diff(a, b, f"A/{path}", f"B/{path}", n=1, lineterm=""))


@dataclass(frozen=True)
class Comparison:
    """Everything that can make two trials differ. `code`: empty where the fingerprints are equal. `places` are the
    paths of a user's files, which decide nothing; `data` says whether the data is other data."""

    left: TrialRecord
    right: TrialRecord
    recipe: list[Difference]
    code: list[ModuleDifference]
    numerics: list[Difference]
    versions: list[Difference]
    places: list[Difference]

    @property
    def data(self) -> bool:
        return self.left.data_fingerprint != self.right.data_fingerprint

    @property
    def base(self) -> bool:
        return self.left.init_trial_id != self.right.init_trial_id

    @property
    def start(self) -> bool:
        """Whether they started from different weights, or one of them has none recorded."""
        return self.left.start_weights != self.right.start_weights

    @property
    def starts_differ(self) -> bool:
        """Whether the weights differ although the recipes state the same start (`swimlab.stats.pairing`)."""
        left, right = (replace(Origin.of(trial_row(r)), numerics=()) for r in (self.left, self.right))
        return not comparable((left, right))

    @property
    def sentence(self) -> str:
        """The conclusion in one or more sentences: the last line of the screen."""
        if self.left.trial_id == self.right.trial_id:
            return "One trial: nothing differs."
        parts = []
        if self.recipe:
            parts.append(f"in {_listed(difference.path for difference in self.recipe)}")
        if self.code:
            parts.append(f"in {'module' if len(self.code) == 1 else 'modules'} {_listed(m.module for m in self.code)}")
        elif self.left.code_fingerprint != self.right.code_fingerprint:
            parts.append("in their code fingerprints (the stored sources are equivalent)")
        if self.data and not any(d.path.startswith("data.") for d in self.recipe):
            parts.append("in the contents of their data")
        if self.base and not any(d.path.startswith("init") for d in self.recipe) and not self.code:
            parts.append("in the trial that they start from")
        text = "Their ids differ and nothing else in the store does: a local model folder held other weights."
        if parts:
            text = f"They differ {_and(parts)}."
        if self.numerics:
            names = _listed(d.path for d in self.numerics)
            text += f" Their numerics classes differ too ({names}): do not compare their numbers."
        if self.starts_differ:
            recorded = self.left.start_weights and self.right.start_weights
            clause = "They started from different weights" if recorded else "The start weights of one are not recorded"
            text += f" {clause}, although their recipes state the same start: do not compare their numbers."
        return text


def compare(store: SweepStore, left: TrialRecord, right: TrialRecord) -> Comparison:
    """Compare two trials. Raises StoreError when the stored source of one is needed and missing."""
    code = []
    if left.code_fingerprint != right.code_fingerprint:
        code = module_differences(sources(store, left.code_fingerprint), sources(store, right.code_fingerprint))
    places = [d for d in compared(flat(left.recipe), flat(right.recipe)) if d.path in _PLACES]
    return Comparison(
        left=left,
        right=right,
        recipe=recipe_differences(left.recipe, right.recipe),
        code=code,
        numerics=compared(left.provenance.numerics, right.provenance.numerics),
        versions=compared(left.provenance.versions, right.provenance.versions),
        places=places,
    )


def _listed(names: Iterable[str]) -> str:
    """`a, b and c`; of more than six, the first five and a count."""
    items = list(names)
    return _and(items if len(items) <= 6 else [*items[:5], f"{len(items) - 5} more"])


def _and(parts: list[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
