"""A look as NumPy arrays, for whoever draws or counts by themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from swimlab.checkpoints.asking import Look

# The first view is the model that was named, the second the one beside it.
KEYS = ("model", "base")


def write_arrays(look: Look, path: Path) -> None:
    """Writes an .npz without pickles. S layers, M words, T' temporal patches, H' × W' visual tokens.

    `texts`; `words` with `word_text` (number of the text) and `word_span` [M, 2] (characters); `nouns` (numbers of
    words); `times_s` [T']; `layers` [S]; and of each model, `model` and `base`: `<m>_name`, `<m>_text` (number of its
    answer), `<m>_layers` [S, M, T', H', W'], `<m>_fused` [M, T', H', W'], and the neutral word's, `<m>_neutral_layers`
    and `<m>_neutral`. Attention is as it was read, fp32, and under the domain "video" a map's sum is 1.
    """
    arrays: dict[str, Any] = {
        "texts": np.array(look.texts),
        "words": np.array([word.word for word in look.words]),
        "word_text": np.array([word.text for word in look.words]),
        "word_span": np.array([(word.start, word.end) for word in look.words]),
        "nouns": np.array(look.nouns),
        "times_s": np.array(look.times_s),
        "layers": np.array(look.views[0].maps.layers),
    }
    for key, view in zip(KEYS, look.views, strict=False):
        arrays |= {
            f"{key}_name": np.array(view.name),
            f"{key}_text": np.array(view.text),
            f"{key}_layers": view.maps.layers_SMTHW,
            f"{key}_fused": view.maps.fused_MTHW,
            f"{key}_neutral_layers": view.maps.neutral_layers_STHW,
            f"{key}_neutral": view.maps.neutral_THW,
        }
    np.savez_compressed(path, **arrays)
