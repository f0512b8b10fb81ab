"""Weights of a checkpoint, from safetensors only: to read a pickled one runs whatever code is in it."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText


def load_weights(checkpoint: str | Path, dtype: str, revision: str | None = None) -> Any:
    """The model of a folder or of a model of the hub, in a torch dtype. Raises OSError when it cannot be read, or holds
    pickled weights only."""
    try:
        return AutoModelForImageTextToText.from_pretrained(
            checkpoint,
            revision=revision or "main",
            dtype=getattr(torch, dtype),
            attn_implementation="sdpa",
            use_safetensors=True,
        )
    except OSError as error:
        if "safetensors" not in str(error):
            raise
        raise OSError(
            f"{checkpoint} holds no weights as safetensors ({error}). Pickled ones (pytorch_model.bin) are not read, "
            "since that runs code that is in them: use a revision with model.safetensors, or convert them where you "
            "trust their source (from_pretrained(…, use_safetensors=False), then save_pretrained)"
        ) from error
