"""The tokens of a row are counted as its model's encoder writes them, for every kind of family."""

from pathlib import Path

import numpy as np
import pytest
from family_checkpoints import checkpoint

import nano
from swim import models
from swim.data.types import Clip, DataError, Turn
from swim.recipe import ModelConfig
from swim.train import encoder_for
from swimlab.data.context_limit import ContextLimit

CLIP = Clip(
    key="a",
    turns=(Turn(human="What is the dog?", gpt="It runs."), Turn(human="Where?", gpt="Over the hill and far away.")),
    frames_THWC=np.zeros((4, 64, 32, 3), dtype=np.uint8),
    frame_indices=(0, 30, 60, 7200),
    fps=30.0,
)


@pytest.mark.parametrize("name", ["tiny", "qwen3_vl", "llava_onevision", "smolvlm"])
def test_a_clip_of_one_token_too_many_is_refused_as_by_the_encoder(name: str, tmp_path: Path) -> None:
    spec: ModelConfig = nano.SHAPE if name == "tiny" else checkpoint(name, tmp_path)
    recipe = nano.recipe(base=False, model=spec, **{"data.frames.cell_px": spec.cell_px})
    encoder = encoder_for(recipe, *models.build(spec))
    length = len(encoder(CLIP).input_ids_L)
    limit = ContextLimit.of(spec)
    if name != "tiny":  # before a clip is decoded
        with pytest.raises(ValueError, match=r"model\.cell_px says 28"):
            ContextLimit.of(spec.model_copy(update={"cell_px": 28}))
    assert limit.positions == encoder.positions
    limit.model_copy(update={"positions": length}).check(CLIP, spec.cell_px)
    encoder.positions = length - 1
    with pytest.raises(DataError) as by_encoder:
        encoder(CLIP)
    short = limit.model_copy(update={"positions": length - 1})
    with pytest.raises(DataError) as by_limit:
        short.check(CLIP, spec.cell_px)
    assert by_limit.value.reason == by_encoder.value.reason

    # Of a row whose text was counted before its video was seen.
    counted = limit.text_tokens(CLIP.turns), CLIP.size_THW, CLIP.seconds_T, spec.cell_px
    with pytest.raises(DataError, match="positions"):
        short.check_counted(*counted)
    limit.model_copy(update={"positions": length + 2}).check_counted(*counted)
