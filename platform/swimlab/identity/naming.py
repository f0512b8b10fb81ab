"""The id of a trial: a hash of the canonical recipe, the code it runs and the data it uses.

Recipes that must give the same result have the same id, so that a control is shared by all tables; anything that can
change a result changes the id. A value without a stable text form is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swim.code_roots import code_roots, reading_modules, suite_roots
from swim.recipe import DataConfig, Frozen, HubModel, ModelConfig, Recipe, ShapesWorld
from swimlab.identity.canonical import canonical, canonical_fields, canonical_json, plain_fields, seedless, with_seed
from swimlab.identity.source_archive import archive
from swimlab.identity.source_closure import SOURCE_ROOT, IdentityError, Sources, fingerprint
from swimlab.identity.splits import TRAINED, VALIDATION, Scored, Split, drawn_clips, require_validation

__all__ = [
    "ClipsIdentity",
    "EvaluationIdentity",
    "Identifier",
    "IdentityError",
    "SuiteIdentity",
    "TrialIdentity",
    "canonical",
    "canonical_json",
    "clips_fingerprint",
    "code_fingerprint",
    "code_modules",
    "data_fingerprint",
    "digest",
    "source_archive",
    "suite_archive",
    "suite_code_fingerprint",
    "tower_code_fingerprint",
    "trial_id",
]

# The roots of `reading_modules` in sources before `swim.data` had packages, when schemas were fingerprinted too.
_EARLIER_MODULES = {
    "swim.data.video.decode": "swim.data.video",
    "swim.data.rows.read": "swim.data.rows",
    "swim.data.annotations.samples": "swim.data.samples",
}
_DIGITS = 20  # 80 bits: among a billion trials two share an id with probability 4e-7


class SuiteIdentity(Frozen):
    """How a suite measures: `suite_fingerprint` covers the suite, its configuration and its code, and is equal for
    trials that are measured alike. `config` holds plain JSON values."""

    suite: str
    config: dict[str, Any]
    suite_fingerprint: str
    code_fingerprint: str


class EvaluationIdentity(SuiteIdentity):
    """One suite's evaluation of one trial, on one split of the clips that are not trained on."""

    evaluation_id: str
    split: Scored = "held_out"


class ClipsIdentity(Frozen):
    """A data set: of its content, and of its prepared clips."""

    data_fingerprint: str
    clips_fingerprint: str


@dataclass(frozen=True)
class TrialIdentity:
    """A trial's id and the hashes it is made of. `clips_fingerprint` names its prepared clips; `init` is the identity
    of the recipe it starts from; `evaluations` are those of the recipe's suites on the splits that were asked for, and
    `validation` are the clips that choose, where they are one of these."""

    trial_id: str
    code_fingerprint: str
    data_fingerprint: str
    clips_fingerprint: str
    init: TrialIdentity | None
    evaluations: tuple[EvaluationIdentity, ...] = ()
    validation: ClipsIdentity | None = None


@dataclass(frozen=True)
class _Replicated:
    """What the trials of a recipe have in common under all seeds. `fields`: its canonical fields, of any seed."""

    fields: dict[str, Any]
    init: TrialIdentity | None
    code: str
    data: str
    clips: str
    weights: str | None
    suites: tuple[SuiteIdentity, ...]

    def trial(self, seed: int, splits: Sequence[Scored], validation: ClipsIdentity | None) -> TrialIdentity:
        """The identity under one seed."""
        parts = {"recipe": canonical_json(with_seed(self.fields, seed)), "code": self.code, "data": self.data}
        if self.weights is not None:
            parts["weights"] = self.weights
        name = digest(canonical_json(parts))
        evaluations = tuple(
            self._evaluation(name, suite, split, validation) for split in splits for suite in self.suites
        )
        return TrialIdentity(name, self.code, self.data, self.clips, self.init, evaluations, validation)

    def _evaluation(
        self, trial: str, suite: SuiteIdentity, split: Scored, validation: ClipsIdentity | None
    ) -> EvaluationIdentity:
        parts = {"trial": trial, "suite": suite.suite_fingerprint, "data": self.data}
        if split == "validation" and validation is not None:
            parts |= {"data": validation.data_fingerprint, "split": split}
        return EvaluationIdentity(evaluation_id=digest(canonical_json(parts)), split=split, **dict(suite))


class Identifier:
    """Computes the ids of a session's trials; sources and data are read once. `cache_dir` caches hashes of large
    files."""

    def __init__(self, cache_dir: Path, source_root: Path = SOURCE_ROOT) -> None:
        self.sources = Sources(source_root, cache_dir)
        self._cache_dir = cache_dir
        self._trials: dict[tuple[str, int, tuple[Scored, ...]], TrialIdentity] = {}
        self._replicated: dict[str, _Replicated] = {}
        self._data: dict[tuple[str, tuple[Split, ...]], str] = {}
        self._codes: dict[tuple[str, ...], str] = {}

    def identify(self, recipe: Recipe, splits: Sequence[Scored] = ("held_out",)) -> TrialIdentity:
        """The identity of a recipe, whose `init` is identified as a trial of its own. `splits`: on which it is to be
        evaluated. Raises IdentityError when recipe, code or data have no stable hash, ValueError where clips are to
        choose and the data has none (`require_validation`)."""
        key = seedless(recipe)
        if key not in self._replicated:
            self._replicated[key] = self._replicate(recipe)
            self.sources.save()
        trial = key, recipe.seed, tuple(splits)
        if trial not in self._trials:
            validation = self.validation(recipe) if "validation" in splits else None
            self._trials[trial] = self._replicated[key].trial(recipe.seed, splits, validation)
        return self._trials[trial]

    def validation(self, recipe: Recipe) -> ClipsIdentity:
        """The clips that choose, where a recipe's values are searched or tuned. Raises ValueError where it has none."""
        require_validation(recipe.data)
        return self.clips(recipe, VALIDATION)

    def clips(self, recipe: Recipe, splits: tuple[Split, ...] = TRAINED) -> ClipsIdentity:
        """The data set of these splits, as the recipe's model reads it."""
        content = self.data_fingerprint(recipe.data, splits)
        clips = self.clips_fingerprint(recipe.data, content, recipe.model)
        return ClipsIdentity(data_fingerprint=content, clips_fingerprint=clips)

    def data_fingerprint(self, data: DataConfig, splits: tuple[Split, ...] = TRAINED) -> str:
        """Hash of these splits of the data, 20 hex digits. For the embedded data set: of its config and its generator's
        code."""
        key = data.model_dump_json(), splits
        if key not in self._data:
            if isinstance(data, ShapesWorld):
                code = self.code(["swim.data.synthetic.shapes_world"])
                # However many are trained on or reported: data sets of one seed share the clips that choose.
                others = ("clips", "held_out") if splits == VALIDATION else ()
                config = plain_fields(data, leave_out=("fraction", "validation", *others))
                content: dict[str, Any] = {"config": config, "code": code}
                if splits == VALIDATION:
                    content["validation"] = drawn_clips(data, "validation")
            else:
                # PyAV and the readers of annotations take 0.2 s to import: not for a plan on the embedded data.
                from swimlab.identity.data_hash import files_content

                content = files_content(data, self._cache_dir, splits)
            self._data[key] = digest(canonical_json(content))
        return self._data[key]

    def clips_fingerprint(self, data: DataConfig, data_fingerprint: str, model: ModelConfig | None) -> str:
        """See the module function `clips_fingerprint`. No `model`, for one behind a server: rows of any length."""
        context = {} if model is None else _context(data, model)
        return _clips(data_fingerprint, self.code(reading_modules(data)), context)

    def _replicate(self, recipe: Recipe) -> _Replicated:
        init = None if recipe.init is None else self.identify(recipe.init)
        code, data = self.code(code_roots(recipe)), self.clips(recipe)
        weights = None
        if isinstance(recipe.model, HubModel) and Path(recipe.model.path).is_dir():
            # Imported here for the reason above.
            from swimlab.identity.data_hash import FileHashes

            # A hub id with `revision` identifies weights; the contents of a folder can change.
            with FileHashes(self._cache_dir) as hashes:
                weights = hashes.of(Path(recipe.model.path))
        return _Replicated(
            fields=canonical_fields(recipe, init.trial_id if init else None),
            init=init,
            code=code,
            data=data.data_fingerprint,
            clips=data.clips_fingerprint,
            weights=weights,
            suites=self.suites(recipe),
        )

    def suites(self, recipe: Recipe) -> tuple[SuiteIdentity, ...]:
        """How the recipe's suites measure, whatever it trains."""
        identities = []
        for name, declared in recipe.evaluation.items():
            config = json.loads(canonical_json(plain_fields(declared.resolved(recipe.model))))
            code = self.code(suite_roots(recipe, name))
            measure = digest(canonical_json({"suite": name, "config": config, "code": code}))
            identities.append(
                SuiteIdentity(suite=name, config=config, suite_fingerprint=measure, code_fingerprint=code)
            )
        return tuple(identities)

    def code(self, roots: Iterable[str]) -> str:
        """One hash over the modules that these roots reach, 20 hex digits."""
        key = tuple(roots)
        if key not in self._codes:
            self._codes[key] = fingerprint(self.sources.module_hashes(key))
        return self._codes[key]


def code_modules(recipe: Recipe, source_root: Path = SOURCE_ROOT) -> dict[str, str]:
    """Module (or packaged data file) → hash, for everything of `swim` that the recipe runs."""
    return Sources(source_root).module_hashes(code_roots(recipe))


def code_fingerprint(recipe: Recipe, source_root: Path = SOURCE_ROOT) -> str:
    """One hash over `code_modules`, 20 hex digits."""
    return fingerprint(code_modules(recipe, source_root))


def source_archive(recipe: Recipe, source_root: Path = SOURCE_ROOT) -> bytes:
    """The sources behind `code_fingerprint`, for code/<fingerprint>.tar.gz; byte-equal for equal sources."""
    return archive(Sources(source_root).closure(code_roots(recipe)).values())


def suite_archive(recipe: Recipe, suite: str, source_root: Path = SOURCE_ROOT) -> bytes:
    """The sources behind the `code_fingerprint` of an `EvaluationIdentity`, like `source_archive`."""
    return archive(Sources(source_root).closure(suite_roots(recipe, suite)).values())


def suite_code_fingerprint(recipe: Recipe, suite: str, source_root: Path = SOURCE_ROOT) -> str:
    """One hash over the modules that one suite of the recipe runs, 20 hex digits."""
    return fingerprint(Sources(source_root).module_hashes(suite_roots(recipe, suite)))


def tower_code_fingerprint(source_root: Path = SOURCE_ROOT) -> str:
    """One hash over the modules that decide what a frozen vision tower makes of a clip, 20 hex digits."""
    roots = ("swim.models.vision_features", "swim.models.vision")
    return fingerprint(Sources(source_root).module_hashes(roots))


def data_fingerprint(data: DataConfig, cache_dir: Path, source_root: Path = SOURCE_ROOT) -> str:
    """See `Identifier`."""
    return Identifier(cache_dir, source_root).data_fingerprint(data)


def clips_fingerprint(
    data: DataConfig,
    data_fingerprint: str,
    model: ModelConfig | Mapping[str, Any],
    source_root: Path = SOURCE_ROOT,
) -> str:
    """Hash of a data set, of the code that reads and decodes it, and (for files) of the model whose positions limit the
    rows; it names the prepared clips. `model` may be the fields of a record, `source_root` hold the stored source of an
    older trial."""
    sources, roots = Sources(source_root), reading_modules(data)
    if (source_root / "swim/data/samples.py").is_file():
        older = sources.closure(_EARLIER_MODULES.get(root, root) for root in roots)
        code = fingerprint({name: file.content_hash for name, file in older.items()})
        return _clips(data_fingerprint, code, {})
    # Older sources knew no limit.
    context = _context(data, model) if (source_root / "swim/data/context.py").is_file() else {}
    return _clips(data_fingerprint, fingerprint(sources.module_hashes(roots)), context)


def _clips(data: str, code: str, context: Mapping[str, Any]) -> str:
    return digest(canonical_json({"data": data, "code": code, **context}))


def _context(data: DataConfig, model: ModelConfig | Mapping[str, Any]) -> dict[str, Any]:
    """What decides which rows are too long for a model, by name: a plan reads no file of a hub model."""
    if isinstance(data, ShapesWorld):
        return {}
    fields = model if isinstance(model, Mapping) else model.model_dump()
    if fields["kind"] != "hub":
        return {"context": fields["kind"]}
    return {"context": fields["path"], "revision": fields["revision"]}


def trial_id(recipe: Recipe, cache_dir: Path, source_root: Path = SOURCE_ROOT) -> str:
    """The trial's id, 20 hex digits. Raises IdentityError."""
    return Identifier(cache_dir, source_root).identify(recipe).trial_id


def digest(text: str) -> str:
    """The id that a canonical text gives, 20 hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
