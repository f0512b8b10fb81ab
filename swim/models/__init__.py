"""Build, load, freeze and save models. One module per `model.kind`, each with `build(spec) -> (model, tokenizer)`."""

import importlib
from pathlib import Path
from typing import Any

import torch
from torch import nn
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
    for _, parameter in vision_parameters(model):
        parameter.requires_grad_(False)
    if isinstance(spec, HubModel) and spec.lora is not None:
        from peft import LoraConfig, get_peft_model

        # The regular expression keeps the adapters out of the frozen vision tower, which has equally named parts.
        targets = "|".join(spec.lora.targets)
        decoder = next(name for name, module in model.named_modules() if module is model.get_decoder())
        model = get_peft_model(
            model,
            LoraConfig(r=spec.lora.rank, lora_alpha=spec.lora.alpha, target_modules=rf"{decoder}\..*\.({targets})"),
        )
    # Trained weights are fp32, and `swim.train.autocast` computes in bf16; or bf16, with masters in `swim.optimizer`.
    trained_dtype = getattr(torch, getattr(spec, "weights", "float32"))
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(trained_dtype)
    return model


def vision_modules(model: Any) -> list[nn.Module]:
    """Vision tower and projector of a stock model: all parts below its head but the language model."""
    return [part for part in model.model.children() if part is not model.get_decoder()]


def vision_parameters(model: Any) -> list[tuple[str, nn.Parameter]]:
    """What the paper freezes (section 4.1), tower and projector: all parameters below the head of a stock model but
    those of the language model, by name."""
    language = {id(parameter) for parameter in model.get_decoder().parameters()}
    return [(name, p) for name, p in model.model.named_parameters() if id(p) not in language]


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
