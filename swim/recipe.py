"""Recipe: everything that decides a result. Frozen and typed; where it runs is not in here (that is Runtime).

Values only: what is done with them is elsewhere. This module is therefore in no code fingerprint; a trial's id holds
the values (`swimlab.identity.canonical`). A new field changes no id where it has its default, so the default must mean
what was done before the field existed, for good.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    SerializeAsAny,
    ValidationError,
    field_validator,
    model_validator,
)

from swim import registry
from swim.data_config import DataConfig as DataConfig
from swim.data_config import FramePolicy as FramePolicy
from swim.data_config import NLReferFiles as NLReferFiles
from swim.data_config import ShapesWorld as ShapesWorld
from swim.data_config import Source as Source
from swim.frozen import Frozen as Frozen
from swim.optim_config import Optim as Optim
from swim.supervision.layers import resolve

# Names of registry entries: each package lists what there is and says what an entry does.
Query = Annotated[str, AfterValidator(registry.known("swim.supervision.query"))]
Target = Annotated[str, AfterValidator(registry.known("swim.supervision.target"))]
Domain = Annotated[str, AfterValidator(registry.known("swim.supervision.domain"))]
Heads = Annotated[str, AfterValidator(registry.known("swim.supervision.heads"))]
Fusion = Annotated[str, AfterValidator(registry.known("swim.supervision.fusion"))]
Normalise = Annotated[str, AfterValidator(registry.known("swim.supervision.normalise"))]
MaskLoss = Annotated[str, AfterValidator(registry.known("swim.supervision.losses"))]
Schedule = Annotated[str, AfterValidator(registry.known("swim.supervision.schedule"))]
PatchMasks = Literal["both", "second"]
Vocabulary = Literal["describe", "ask"]
ModelFamily = Annotated[str, AfterValidator(registry.known("swim.models.families"))]
SUITES = "swim.evaluation.suites"
FAMILIES = "swim.models.families"


class TinyModel(Frozen):
    """A Qwen2.5-VL of the real classes, small enough to train on one core; weights drawn from `seed`. `vocabulary`: the
    sentences of the embedded data whose words are tokens of their own ("ask": those of prompts "ask" as well)."""

    family: ClassVar[str] = "qwen2-5-vl"
    kind: Literal["tiny"] = "tiny"
    hidden: int = 128
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    intermediate: int = 256
    vision_hidden: int = 64
    vision_depth: int = 2
    patch_px: int = 4
    merge: int = 2
    seed: int = 0
    vocabulary: Vocabulary = "describe"

    @property
    def cell_px(self) -> int:
        return self.patch_px * self.merge


class Lora(Frozen):
    """Low-rank adapters; they must cover q_proj and k_proj, or the mask loss cannot move the attention."""

    rank: int = Field(16, gt=0)
    alpha: int = Field(32, gt=0)
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")

    @model_validator(mode="after")
    def _reaches_attention(self) -> Self:
        if missing := {"q_proj", "k_proj"} - set(self.targets):
            raise ValueError(f"lora.targets lacks {sorted(missing)}: the mask loss acts through queries and keys")
        return self


class HubModel(Frozen):
    """A checkpoint: a hub id (downloaded because you named it) or a local folder. `family` is an entry of
    `swim.models.families`, `layers` are those of the language model, `cell_px` is as in FramePolicy.

    `dtype` is what is computed in. Trained weights are fp32 and cast for each product (`weights` "float32"), or bf16
    beside an fp32 master copy in the optimiser ("bfloat16": faster, activations take half, maps are 3 to 4 times
    further from fp32; the saved model is the rounded one). `unchecked_layers` of the checkpointed layers keep their
    activations, which costs memory and spares computing the layer twice (7B at 8,192 tokens: 0.8 GB and 8 ms a layer
    in bf16).
    """

    kind: Literal["hub"] = "hub"
    path: str = "Qwen/Qwen2.5-VL-7B-Instruct"
    family: ModelFamily = "qwen2-5-vl"
    revision: str | None = None
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    weights: Literal["float32", "bfloat16"] = "float32"
    layers: int = 28
    cell_px: int = 28
    gradient_checkpointing: bool = True
    unchecked_layers: int = Field(0, ge=0)
    lora: Lora | None = None

    @model_validator(mode="after")
    def _one_precision(self) -> Self:
        if self.weights == "bfloat16" and self.dtype != "bfloat16":
            raise ValueError("model.weights is bfloat16, model.dtype float32: bf16 weights compute in bf16, set both")
        return self

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if self.unchecked_layers > (self.layers if self.gradient_checkpointing else 0):
            raise ValueError(
                f"model.unchecked_layers is {self.unchecked_layers}: give at most the {self.layers} layers, and only "
                "with model.gradient_checkpointing"
            )
        return self


ModelConfig = Annotated[TinyModel | HubModel, Field(discriminator="kind")]


class Readout(Frozen):
    """How one map per noun is read from a forward pass.

    `layers` are numbers from 0, or a choice that fits any depth ("even:6", "first:0.5"; see swim.supervision.layers).
    `chosen_heads` restricts `heads` to these query heads of every layer; empty means all.
    """

    layers: tuple[int, ...] | str = "even:6"
    query: Query = "noun"
    domain: Domain = "video"
    heads: Heads = "mean"
    chosen_heads: tuple[int, ...] = ()
    fusion: Fusion = "mean"

    @field_validator("chosen_heads")
    @classmethod
    def _each_once(cls, heads: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(heads)) != len(heads) or min(heads, default=0) < 0:
            raise ValueError(f"chosen_heads {heads}: numbers from 0, each once")
        return tuple(sorted(heads))

    def choices(self) -> set[tuple[str, str]]:
        """(package, name) of the entries of `swim.supervision` it loads. Not `layers`: their numbers are values."""
        return {(package, getattr(self, package)) for package in ("query", "domain", "heads", "fusion")}

    def check(self, where: str, model: ModelConfig) -> None:
        """Raises ValueError, naming the place `where`, for layers or heads that the model lacks."""
        try:
            resolve(self.layers, model.layers)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        heads = model.heads if isinstance(model, TinyModel) else None
        if heads and max(self.chosen_heads, default=0) >= heads:
            raise ValueError(f"{where}.chosen_heads {self.chosen_heads}: the model has {heads} heads")


class Objective(Readout):
    """text_weight · cross-entropy + mask_weight · mask loss (paper, eqs. 5-7). Defaults: preset `paper`.

    `target`: whose masks the maps are pushed onto; they are scored against the noun's own. `patch_masks`: the target of
    a temporal patch is the mean of its frames' masks, or the last frame's alone (as the released code has it; a patch
    without that frame's mask is then not supervised). `mask_schedule` scales `mask_weight` over the steps.
    """

    normalise: Normalise = "none"
    resize: Literal["map-to-mask", "mask-to-grid"] = "map-to-mask"
    patch_masks: PatchMasks = "both"
    mask_loss: MaskLoss = "bce"
    text_weight: float = Field(0.05, ge=0)
    mask_weight: float = Field(1.0, ge=0)
    mask_schedule: Schedule = "constant"
    target: Target = "object"


class SuiteConfig(Frozen):
    """The configuration of a suite of measurements (`swim.evaluation.suites`)."""

    def check(self, model: ModelConfig) -> None:
        """Raises ValueError where this configuration does not fit the model."""

    def resolved(self, model: ModelConfig) -> SuiteConfig:
        """A copy in which choices that depend on the model are written out ("even:6" as numbers of layers)."""
        return self

    def choices(self) -> set[tuple[str, str]]:
        """(package, name) of the entries of `swim.supervision` that the suite loads by name."""
        return set()


def _default_suites() -> Any:
    return {"attention": {}}


def _suite_config(suite: str, values: Any) -> SuiteConfig:
    try:
        declared: type[SuiteConfig] = registry.module(SUITES, suite).Config
    except ValueError as error:
        raise ValueError(
            f'{error}; evaluation maps suites to their configurations, as in {{"attention": {{}}}}'
        ) from error
    try:
        return declared.model_validate(values.model_dump() if isinstance(values, BaseModel) else values)
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, (suite, *problem['loc'])))}: {problem['msg']}" for problem in error.errors())
        raise ValueError("; ".join(problems)) from error


def _weights(model: TinyModel | HubModel) -> dict[str, Any]:
    return model.model_dump(exclude={"dtype", "weights", "gradient_checkpointing", "unchecked_layers", "lora"})


class Recipe(Frozen):
    """One trained and evaluated model. `init` is the recipe whose final weights this one starts from.

    `blind_answers`: no row behind a question's last tagged noun (its last word where none is tagged) sees the video, up
    to the end of the answer, in training, evaluation and free answers alike: whatever an answer says of the video it
    has from the rows of the question. `evaluation`: suite → its configuration (entries of `swim.evaluation.suites`). It
    is no part of what is trained: recipes that differ in it alone are one trial, evaluated in two ways.
    """

    name: str
    model: ModelConfig
    data: DataConfig
    objective: Objective = Objective()
    optim: Optim = Optim()
    blind_answers: bool = False
    evaluation: dict[str, SerializeAsAny[SuiteConfig]] = Field(default_factory=_default_suites, validate_default=True)
    init: Recipe | None = None
    seed: int = 0

    @field_validator("evaluation", mode="before")
    @classmethod
    def _configured(cls, suites: Any) -> Any:
        if not isinstance(suites, Mapping):
            raise ValueError('evaluation maps suites to their configurations, as in {"attention": {}}')
        return {name: _suite_config(name, config) for name, config in suites.items()}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.model.cell_px != self.data.frames.cell_px:
            raise ValueError(
                f"data.frames.cell_px is {self.data.frames.cell_px}, but the model's visual tokens are "
                f"{self.model.cell_px} px wide"
            )
        self.objective.check("objective", self.model)
        for suite, config in self.evaluation.items():
            try:
                config.check(self.model)
            except ValueError as error:
                raise ValueError(f"evaluation.{suite}.{error}") from error
        if self.init is not None and _weights(self.init.model) != _weights(self.model):
            raise ValueError(
                f"model is not the model of init {self.init.name!r}, whose weights this recipe starts from: change "
                "both, or set init to None"
            )
        return self

    def __hash__(self) -> int:
        return hash(self.model_dump_json())

    def training(self) -> dict[str, Any]:
        """Plain JSON values of what is trained: all but `evaluation`, here and in `init`."""
        fields = self.model_dump(mode="json", exclude={"evaluation", "init"})
        return fields | {"init": self.init.training() if self.init else None}

    def override(self, changes: dict[str, Any]) -> Recipe:
        """A copy with dotted paths replaced, validated again. Raises ValueError naming the nearest path for a typo."""
        require_paths(self, changes)
        tree = self.model_dump()
        for path, value in changes.items():
            *parents, leaf = path.split(".")
            node = tree
            for parent in parents:
                node = node[parent]
            node[leaf] = value.model_dump() if isinstance(value, BaseModel) else value
        for given, other in (("steps", "epochs"), ("epochs", "steps")):
            if changes.get(f"optim.{given}") is not None and f"optim.{other}" not in changes:
                tree["optim"][other] = None  # one of the two is given: it takes the place of the other
        return Recipe.model_validate(tree)


def require_paths(recipe: Recipe, wanted: Iterable[str]) -> None:
    """Raises ValueError, naming the nearest path, for the first of these that the recipe lacks."""
    known = paths(recipe)
    for path in wanted:
        if path not in known:
            near = difflib.get_close_matches(path, known, n=1, cutoff=0.0)[0]
            raise ValueError(f"recipe {recipe.name!r} has no field {path!r}; the nearest is {near!r}")


def paths(config: BaseModel, prefix: str = "") -> list[str]:
    """Every dotted path of a config, branches and leaves (`init` is a recipe of its own and is not descended into);
    of `evaluation` also the suites that it could have."""
    dotted = []
    for name in type(config).model_fields:
        dotted.append(prefix + name)
        child = getattr(config, name)
        if isinstance(child, BaseModel) and not isinstance(child, Recipe):
            dotted += paths(child, f"{prefix}{name}.")
    if isinstance(config, Recipe):
        for suite in registry.names(SUITES):
            dotted.append(f"evaluation.{suite}")
            if suite in config.evaluation:
                dotted += paths(config.evaluation[suite], f"evaluation.{suite}.")
    return dotted
