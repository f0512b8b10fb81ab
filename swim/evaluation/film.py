"""Where nouns look while a model trains: maps of a few held-out clips, by the ruler of the suite `attention`."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from swim.data.encode import collate
from swim.data.types import Clip
from swim.evaluation.attention_config import AttentionConfig
from swim.evaluation.noun_attention import attentions, of_questions, read
from swim.outputs import FilmFrame
from swim.recipe import Recipe
from swim.train import Trained, autocast


def filmed_clips(recipe: Recipe) -> int:
    """How many of the first held-out clips are filmed: those with overlays; 0 where the recipe has no such suite."""
    config = recipe.evaluation.get("attention")
    return config.overlays if isinstance(config, AttentionConfig) else 0


def film(recipe: Recipe, trained: Trained, clips: Sequence[Clip], step: int) -> list[FilmFrame]:
    """Where the first noun of each clip looks after `step` steps: one frame a clip of a film over training. Raises
    KeyError for a recipe without the suite."""
    config = recipe.evaluation["attention"]
    assert isinstance(config, AttentionConfig)
    with torch.inference_mode():
        samples = [trained.encoder(clip) for clip in clips]
        device = next(trained.model.parameters()).device
        batch = collate(samples, trained.tokenizer.pad_token_id).to(device)
        first_nouns = [list(of_questions(nouns))[:1] for nouns in batch.nouns]
        with autocast(recipe, device):
            _, reading = read(trained, batch, first_nouns, config.readout)
        return [
            FilmFrame(
                step=step,
                key=attention.sample.clip.key,
                tag=attention.noun.tag,
                noun=attention.noun.noun,
                grid=map_THW.shape,
                map=map_THW.tobytes(),
            )
            for attention in (attentions(batch, reading, config.readout.fusion, "none") if reading else [])
            for map_THW in [attention.map_of_video()]
        ]
