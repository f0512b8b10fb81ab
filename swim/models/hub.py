"""A checkpoint from the hub (because the recipe names it) or from a local folder, of any family with a file in
`swim.models.families`."""

from typing import Any

from transformers import AutoConfig, AutoTokenizer
from transformers.models.auto.video_processing_auto import get_video_processor_config

from swim.data.family import Family, family_of
from swim.model_family import require_family
from swim.models.weights import load_weights
from swim.recipe import HubModel


def build(spec: HubModel) -> tuple[Any, Any]:
    """Load weights and tokenizer. Raises OSError (from transformers) when the path or hub id cannot be read, ValueError
    for a checkpoint that is not what the recipe says or normalises pixels otherwise than its family."""
    _check_statistics(spec, family_of(read_config(spec)))
    model = load_weights(spec.path, spec.dtype, spec.revision)
    return model, AutoTokenizer.from_pretrained(spec.path, revision=spec.revision)


def read_config(spec: HubModel) -> Any:
    """The config of a checkpoint. Raises OSError where it cannot be read, and ValueError where the recipe says
    something else of the model."""
    config = AutoConfig.from_pretrained(spec.path, revision=spec.revision)
    require_family(spec, config.model_type)
    layers, cell_px = config.get_text_config().num_hidden_layers, family_of(config).cell_px
    for field, value, own in (("layers", spec.layers, layers), ("cell_px", spec.cell_px, cell_px)):
        if value != own:
            raise ValueError(f"model.{field} says {value}, {spec.path} has {own}: say so in the recipe")
    return config


def _check_statistics(spec: HubModel, family: Family) -> None:
    fields = get_video_processor_config(spec.path, revision=spec.revision)
    stated = tuple(tuple(fields.get(key) or ()) for key in ("image_mean", "image_std"))
    if all(stated) and stated != family.statistics:
        raise ValueError(
            f"{spec.path}: its processor normalises pixels with mean and deviation {stated}, and the family "
            f"{spec.family} with {family.statistics}: this checkpoint needs a family of its own"
        )
