"""Build, load, freeze and save models. One module per `model.kind`, each with `build(spec) -> (model, tokenizer)`."""

import importlib
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from swim.models.weights import load_weights
from swim.recipe import HubModel, ModelConfig
from swim.supervision.attention import PREFIX, attach

ADAPTERS = "adapters"


def build(spec: ModelConfig, init_dir: Path | None = None) -> tuple[Any, Any]:
    """The model (probe attached, vision frozen, adapters added) and its tokenizer.

    `init_dir` is a folder written by `save`; without it the weights are the spec's own.
    """
    if init_dir is None:
        model, tokenizer = importlib.import_module(f"swim.models.{spec.kind}").build(spec)
    else:
        model = load_weights(init_dir, getattr(spec, "dtype", "float32"))
        tokenizer = AutoTokenizer.from_pretrained(init_dir)
    return prepare(model, spec), tokenizer


def prepare(model: Any, spec: ModelConfig) -> Any:
    """A loaded model as the spec trains it: checkpointing, probe, frozen vision, adapters, precision of the weights."""
    if isinstance(spec, HubModel) and spec.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        # The last layers: their activations are the first that the backward pass lets go.
        for layer in model.get_decoder().layers[spec.layers - spec.unchecked_layers :]:
            layer.gradient_checkpointing = False
    attach(model)
    # Paper, section 4.1: everything under `visual` is frozen, tower and merger.
    model.model.visual.requires_grad_(False)
    if isinstance(spec, HubModel) and spec.lora is not None:
        from peft import LoraConfig, get_peft_model

        # The regular expression keeps the adapters out of the frozen vision tower, which has equally named parts.
        targets = "|".join(spec.lora.targets)
        model = get_peft_model(
            model,
            LoraConfig(
                r=spec.lora.rank, lora_alpha=spec.lora.alpha, target_modules=rf".*language_model.*\.({targets})"
            ),
        )
    # Trained weights are fp32, and `swim.train.autocast` computes in bf16; or bf16, with masters in `swim.optimizer`.
    trained_dtype = getattr(torch, getattr(spec, "weights", "float32"))
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(trained_dtype)
    return model


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """A plain Hugging Face folder (safetensors, JSON) that stock `from_pretrained` reads; adapters are merged in, and
    are also in its folder `ADAPTERS`, as PEFT reads them."""
    if hasattr(model, "merge_and_unload"):
        # Merging rounds to the precision of the base (bf16), out of which the adapters cannot be computed again.
        # Without `save_embedding_layers=False` PEFT asks the hub about the base.
        model.save_pretrained(folder / ADAPTERS, save_embedding_layers=False)
        model = model.merge_and_unload()
    decoder_config = model.get_decoder().config
    probed = decoder_config._attn_implementation
    decoder_config._attn_implementation = probed.removeprefix(PREFIX)
    model.save_pretrained(folder, safe_serialization=True)
    decoder_config._attn_implementation = probed
    tokenizer.save_pretrained(folder)
