"""A trial's checkpoint as a folder that `AutoModelForImageTextToText` and `AutoProcessor` load without our code.

The weights are the stored files, byte for byte; what is missing beside them is written here, at the time of the export,
so that it is no part of what was trained and renames no trial.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from transformers import AutoConfig, AutoTokenizer

from swim.data.family import Family, family_of
from swim.models import ADAPTERS
from swim.recipe import HubModel, Recipe
from swimlab.checkpoints import processor_files
from swimlab.checkpoints.chat_template import template_for
from swimlab.store.records import TrialRecord
from swimlab.store.sweep_store import SweepStore

Form = Literal["merged", "adapters"]
CARD = "README.md"
_ADAPTER_CONFIG = "adapter_config.json"
# How the files that a tokenizer saves begin.
_TOKENIZER_FILES = ("tokenizer", "vocab", "merges", "special_tokens", "added_tokens", "chat_template")


def write_checkpoint(store: SweepStore, record: TrialRecord, out: Path, form: Form, card: str) -> list[Path]:
    """Writes the folder, whole or not at all.

    Args:
        store: where the trial is.
        record: the trial.
        out: the folder to make; it may be there if it is empty.
        form: adapters merged into the weights, or alone, to be loaded onto the base that the recipe names.
        card: the content of README.md.

    Returns:
        The files, without their folder, sorted.

    Raises:
        StoreError: when the checkpoint was not kept, or was altered; the message says what to do.
        ValueError: when `out` holds files, this code cannot read the recipe, the trial has no adapters of their own, is
            of a model family whose processor is not written, or answers blind to the video.
    """
    recipe = Recipe.model_validate(record.recipe)
    if recipe.blind_answers:
        raise ValueError(
            f"trial {record.trial_id} was trained with answers blind to the video (blind_answers in its recipe). "
            "In any other program they would, and its checkpoint would answer otherwise: ask it by `swimlab ask`"
        )
    config = json.loads(store.open_file(record.trial_id, "checkpoint/config.json"))
    try:
        processor_files.processor_of(config["model_type"])
    except ValueError as error:
        raise ValueError(
            f"trial {record.trial_id}: {error}; or copy the processor's files of the recipe's model beside the "
            f"weights in {store.uri}/{record.folder}/checkpoint"
        ) from error
    if form == "adapters":
        _check_adapters(record, recipe)
    with _new_folder(out) as folder:
        if form == "adapters":
            _fetch_adapters(store, record, folder, recipe.model)
        else:
            store.download(record.trial_id, "checkpoint/", folder)
            shutil.rmtree(folder / ADAPTERS, ignore_errors=True)  # whole weights have none
        _add_processor(folder, recipe, _family(config))
        (folder / CARD).write_text(card, encoding="utf-8")
        return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def _check_adapters(record: TrialRecord, recipe: Recipe) -> None:
    name = f"trial {record.trial_id}"
    if not isinstance(recipe.model, HubModel) or recipe.model.lora is None:
        raise ValueError(f"{name} trained whole weights (no model.lora in its recipe): leave --adapters out")
    if recipe.init is not None:
        raise ValueError(
            f"{name} starts from trial {record.init_trial_id}, whose weights are on no hub for its adapters to be "
            "loaded onto: leave --adapters out"
        )
    if f"checkpoint/{ADAPTERS}/{_ADAPTER_CONFIG}" not in record.files:
        raise ValueError(f"{name} was stored when adapters were only merged: leave --adapters out, or run it again")


def _fetch_adapters(store: SweepStore, record: TrialRecord, folder: Path, model: Any) -> None:
    """The adapters and the tokenizer. Not the base's config.json: beside it transformers looks for whole weights."""
    store.download(record.trial_id, f"checkpoint/{ADAPTERS}/", folder)
    for name in record.files:
        place, _, file = name.rpartition("/")
        if place == "checkpoint" and file.startswith(_TOKENIZER_FILES):
            (folder / file).write_bytes(store.open_file(record.trial_id, name))
    path = folder / _ADAPTER_CONFIG
    # PEFT names the folder that the base was loaded from on the machine that trained.
    content = json.loads(path.read_text()) | {"base_model_name_or_path": model.path, "revision": model.revision}
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def _family(config: dict[str, Any]) -> Family:
    return family_of(AutoConfig.for_model(**config))


def _add_processor(folder: Path, recipe: Recipe, family: Family) -> None:
    frames, of_hub = recipe.data.frames, isinstance(recipe.model, HubModel)
    pictures = processor_files.HUB_PICTURE_PIXELS if of_hub else (frames.min_pixels, frames.max_pixels)
    content = processor_files.processor_config(family, frames, pictures)
    (folder / processor_files.FILE).write_text(json.dumps(content, indent=2) + "\n")
    system = family.chat.system_prompt if of_hub else None
    template = template_for(AutoTokenizer.from_pretrained(folder), family, system)
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """A folder that becomes `out` when the block ends well, and is deleted when it does not."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} is there and not empty: name a new folder, nothing is overwritten")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent, ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch, "folder")
        folder.mkdir()
        yield folder
        if out.exists():
            out.rmdir()
        folder.rename(out)
