"""What a model answered to which prompts, by name: the same whoever scores the answers, and wherever they are made.

An id covers the weights (or the served model), the rows, the arm of prompts, the system prompt, the decoding and the
code; neither workers nor batch size, device, address or price.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from swim import registry
from swim.code_roots import code_roots, reading_modules
from swim.evaluation.decoding import Decoding
from swim.recipe import Frozen, NLReferFiles, Objective, Recipe
from swimlab.identity.canonical import canonical_json, plain_fields
from swimlab.identity.naming import Identifier, digest
from swimlab.store.evaluation_records import TrialTarget
from swimlab.store.records import TrialRecord

PROMPTS = "swim.evaluation.prompts"


class ServedModel(Frozen):
    """A model behind an OpenAI-compatible server, by the name that the server knows it by. `params` are added to each
    request, beside temperature 0 and the limit on the answer."""

    kind: Literal["server"] = "server"
    model: str
    params: dict[str, Any] = Field(default_factory=dict)


class Generation(Frozen):
    """Who answers what. `recipe` is that of the trial whose weights answer, None for a served model; `arm` is an entry
    of `swim.evaluation.prompts`; `system` replaces the system prompt of every prompt that has none of its own. All rows
    of `data.annotations` are asked about."""

    generation_id: str
    answerer: Annotated[TrialTarget | ServedModel, Field(discriminator="kind")]
    recipe: Recipe | None
    data: NLReferFiles
    arm: str
    system: str | None
    decoding: Decoding
    data_fingerprint: str
    clips_fingerprint: str
    code_fingerprint: str

    @property
    def roots(self) -> tuple[str, ...]:
        """The root modules of `code_fingerprint`."""
        return _roots(self.recipe, self.data, self.arm)


def of_trial(
    record: TrialRecord,
    data: NLReferFiles,
    cache: Path,
    *,
    arm: str = "text",
    system: str | None = None,
    decoding: Decoding | None = None,
) -> Generation:
    """Names the answers of a committed trial. The base checkpoint is the trial of a recipe with 0 steps. Raises
    ValueError for an arm that does not exist, IdentityError for data without a stable hash."""
    recipe = Recipe.model_validate(record.recipe)
    return _named(TrialTarget.of(record), recipe, data, cache, arm, system, decoding or Decoding())


def of_server(
    model: ServedModel,
    data: NLReferFiles,
    cache: Path,
    *,
    arm: str = "text",
    system: str | None = None,
    decoding: Decoding | None = None,
) -> Generation:
    """Names the answers of a served model. Raises like `of_trial`."""
    return _named(model, None, data, cache, arm, system, decoding or Decoding())


def _named(
    answerer: TrialTarget | ServedModel,
    recipe: Recipe | None,
    data: NLReferFiles,
    cache: Path,
    arm: str,
    system: str | None,
    decoding: Decoding,
) -> Generation:
    identifier = Identifier(cache)
    data_fingerprint = identifier.data_fingerprint(data)
    clips = identifier.clips_fingerprint(data, data_fingerprint, recipe.model if recipe else None)
    code = identifier.code(_roots(recipe, data, arm))
    parts = {
        "answerer": answerer.model_dump(),
        "data": data_fingerprint,
        "clips": clips,
        "arm": arm,
        "system": system,
        "decoding": plain_fields(decoding),
        "code": code,
    }
    return Generation(
        generation_id=digest(canonical_json(parts)),
        answerer=answerer,
        recipe=recipe,
        data=data,
        arm=arm,
        system=system,
        decoding=decoding,
        data_fingerprint=data_fingerprint,
        clips_fingerprint=clips,
        code_fingerprint=code,
    )


def _roots(recipe: Recipe | None, data: NLReferFiles, arm: str) -> tuple[str, ...]:
    roots: Iterable[str] = ("swim.evaluation.generate", registry.module_name(PROMPTS, arm), *reading_modules(data))
    if recipe is not None:
        # Without the objective: base, control and tuned model answer by the same code.
        plain = recipe.model_copy(update={"data": data, "objective": Objective(mask_weight=0.0)})
        roots = (*roots, "swim.evaluation.evaluate", *code_roots(plain))
    return tuple(sorted(set(roots)))
