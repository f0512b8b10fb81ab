"""How many tokens the conversations of a data set are: measured on its prepared clips, and before there are any the
most that the recipe allows."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator

import pyarrow.parquet as pq

from swim.recipe import Recipe
from swimlab.data.prepared_clips import PreparedData, load_prepared
from swimlab.experiment.model_shape import Shape, shape_of
from swimlab.experiment.training_forecast import RowTokens, policy_tokens
from swimlab.store.sweep_store import SweepStore

MOST_PARTS = 8
# Of English, by Qwen's tokenizer; of the markup of a conversation and of each turn in it.
CHARS_A_TOKEN = 4
MARKUP_TOKENS, TURN_TOKENS = 20, 10


def row_tokens(store: SweepStore, recipe: Recipe, clips_fingerprint: str) -> RowTokens:
    """Of the recipe's training clips: some parts of the prepared ones, without their frames. Text is estimated from its
    characters, since a hub model's tokenizer may not be on this machine. Raises OSError where the store cannot be
    read."""
    prepared, shape = load_prepared(store, clips_fingerprint), shape_of(recipe.model)
    rows = list(_rows(store, prepared, shape, recipe.data.frames.cell_px)) if prepared and shape else []
    if not rows:
        return policy_tokens(recipe)
    visual, text, answer = zip(*rows, strict=True)
    return RowTokens(
        visual=statistics.fmean(visual),
        text=statistics.fmean(text),
        longest_visual=max(visual),
        longest_text=max(text),
        answer=max(answer),
        basis=f"of {len(rows)} prepared clips, text by its characters",
    )


def _rows(store: SweepStore, prepared: PreparedData, shape: Shape, cell_px: int) -> Iterator[tuple[int, int, int]]:
    """(visual tokens, text tokens, tokens of answers) of clips, spread over all parts."""
    parts = prepared.splits["train"]
    for part in parts[:: max(1, len(parts) // MOST_PARTS)][:MOST_PARTS]:
        with store.open(f"{prepared.folder}/{part.name}") as file:
            table = pq.read_table(file, columns=["shape", "turns"])
        for (frames, height, width, _), text in zip(
            table["shape"].to_pylist(), table["turns"].to_pylist(), strict=True
        ):
            turns = json.loads(text)
            asked, answered = (sum(len(turn[side]) for turn in turns) // CHARS_A_TOKEN for side in ("human", "gpt"))
            markup = MARKUP_TOKENS + TURN_TOKENS * len(turns)
            yield shape.visual_tokens(frames, height, width, cell_px), asked + answered + markup, answered
