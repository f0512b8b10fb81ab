"""The model that a trial, a folder or a name on the hub stands for, ready to be asked and looked at."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from transformers import AutoTokenizer

from swim import models
from swim.data.encode import Encoder
from swim.data.family import family_of
from swim.evaluation.attention_config import AttentionConfig
from swim.evaluation.evaluate import restore
from swim.model_family import family_name
from swim.models.vision import prepare_vision
from swim.models.weights import load_weights
from swim.recipe import HubModel, NLReferFiles, Objective, Readout, Recipe
from swim.train import Trained
from swimlab.checkpoints.chat_template import system_prompt
from swimlab.checkpoints.processor_files import frame_policy, processor_of
from swimlab.store import query
from swimlab.store.newest_results import newest_results
from swimlab.store.scratch import scratch_folder
from swimlab.store.sweep_store import SweepStore

PAPER_LAYERS = 6  # a smaller model is read at all of its layers
# What a folder needs for our loader; a hub's repository may hold much more.
_FILES = ["*.json", "*.safetensors", "*.jinja", "*.txt"]
_HUB = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")


@dataclass(frozen=True)
class NamedModel:
    """A model with the recipe that says how it computes and which frames it sees. `start`: what its training started
    from, as `load` takes it; None for fresh weights, and where only the folder is known."""

    name: str
    recipe: Recipe
    trained: Trained
    readout: Readout
    start: str | None


@contextmanager
def load(source: str, store_uri: str, device: torch.device) -> Iterator[NamedModel]:
    """The model of a source; files of a trial are on a temporary folder until the block ends.

    Args:
        source: a folder with a checkpoint, a name on the hub ("org/name", "org/name@revision"), a trial's id or the
            beginning of one.
        store_uri: the store that trials are looked for in.
        device: where the model computes.

    Raises:
        StoreError: for a trial that is not there, or whose checkpoint was not kept; the message says what to do.
        ValueError: for a folder that holds no such model.
        OSError: for weights that cannot be read or fetched.
    """
    if (folder := Path(source)).is_dir() and (folder / "config.json").is_file():
        yield _of_folder(folder, source, device)
    elif _HUB.fullmatch(source):
        yield _of_folder(_fetched(source), source, device)
    elif "/" in source or folder.is_dir():
        raise ValueError(f"{source} is no folder with a config.json, no trial and no name on the hub (org/name)")
    else:
        with _of_trial(query.open_store(store_uri), source, device) as model:
            yield model


@contextmanager
def _of_trial(store: SweepStore, prefix: str, device: torch.device) -> Iterator[NamedModel]:
    trial_id = query.resolve(store, prefix)
    result = newest_results(store, [trial_id]).get(trial_id)
    if result is None:
        raise ValueError(f"trial {trial_id} has no result yet: `swimlab show {trial_id}` says what it waits for")
    recipe = Recipe.model_validate(result.whole_recipe())
    measured = recipe.evaluation.get("attention")
    readout = measured.readout if isinstance(measured, AttentionConfig) else Readout(layers=recipe.objective.layers)
    start = result.init_trial_id
    if start is None and isinstance(recipe.model, HubModel):
        start = recipe.model.path + (f"@{recipe.model.revision}" if recipe.model.revision else "")
    with scratch_folder("ask") as scratch:
        folder = store.download(trial_id, "checkpoint/", scratch / "checkpoint")
        trained = restore(recipe, folder, device)
        yield NamedModel(f"{recipe.name} {trial_id[:8]}", recipe, trained, readout, start)


def _of_folder(folder: Path, name: str, device: torch.device) -> NamedModel:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    try:
        processor_of(str(config.get("model_type")))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    dtype = _dtype(config)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    # Where older checkpoints have the template of their processor, beside one of the tokenizer that takes texts only.
    if (legacy := folder / "chat_template.json").is_file():
        tokenizer.chat_template = json.loads(legacy.read_text(encoding="utf-8"))["chat_template"]
    loaded = load_weights(folder, dtype)
    family, text = family_of(loaded.config), loaded.config.get_text_config()
    try:
        system = system_prompt(tokenizer, family)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    cell_px = family.cell_px
    spec = HubModel(
        path=str(folder),
        family=family_name(loaded.config.model_type),
        dtype=dtype,
        weights=dtype,
        layers=text.num_hidden_layers,
        cell_px=cell_px,
        gradient_checkpointing=False,
    )
    readout = Readout() if text.num_hidden_layers >= PAPER_LAYERS else Readout(layers="all")
    recipe = Recipe(
        name=name,
        model=spec,
        data=NLReferFiles(annotations=(), videos="", frames=frame_policy(folder, cell_px)),
        objective=Objective(layers="all"),
    )
    model = models.prepare(loaded, spec)
    prepare_vision(model, device)
    model.to(device).eval()
    encoder = Encoder(tokenizer, family, system=system, positions=text.max_position_embeddings)
    return NamedModel(name, recipe, Trained(model, tokenizer, encoder, []), readout, None)


def _dtype(config: dict[str, Any]) -> Any:
    text = config.get("text_config") or {}
    dtype = config.get("dtype") or config.get("torch_dtype") or text.get("dtype") or "float32"
    return dtype if dtype in ("float32", "bfloat16") else "float32"


def _fetched(source: str) -> Path:
    repository, _, revision = source.partition("@")
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=_FILES))
    except (LocalEntryNotFoundError, HfHubHTTPError) as error:
        raise OSError(f"{source} is no folder here, and the hub does not give it: {error}") from error
