"""`swim` in somebody else's trainer: the README's example, run as it stands, and what it says when used wrongly."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from swim import models
from swim.data.encode import collate
from swim.data.masks import decode
from swim.supervision.documents import tagged_nouns

README = (Path(__file__).parents[2] / "README.md").read_text()


def chat(clip):
    """One turn's template text, tags kept, the video as one placeholder."""
    turn = clip.turns[0]
    return (
        f"<|im_start|>user\n<|vision_start|><|video_pad|><|vision_end|>{turn.human}<|im_end|>\n"
        f"<|im_start|>assistant\n{turn.gpt}<|im_end|>\n"
    )


def one_turn(clip, **changes):
    return replace(clip, turns=clip.turns[:1], masks=clip.masks[:2], **changes)


def uncompressed(rle):
    flat, counts, value = decode(rle).T.reshape(-1).tolist(), [0], 0
    for pixel in flat:
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    return {"size": [rle.height, rle.width], "counts": counts}


def test_the_readmes_example_trains_in_twenty_lines(stock, clips, encoder, tokenizer, tmp_path):
    models.save(stock, tokenizer, tmp_path / "checkpoint")
    (example,) = re.findall(r"```python\n(import torch\n.*?)```", README, re.DOTALL)
    assert len(example.splitlines()) <= 20

    def sample(clip):
        # The example supervises one noun: the question's; its answer keeps its words and loses its tag.
        turn = clip.turns[0]
        gpt = turn.gpt.replace("<ins>", "").replace("</ins>", "")
        clip = one_turn(clip)
        batch = collate([encoder(clip)], tokenizer.pad_token_id)
        text = chat(clip).replace(turn.gpt, gpt)
        return text, batch.inputs, batch.labels_BL, {t: uncompressed(rle) for t, rle in clip.masks[0].items()}

    names = {"checkpoint": str(tmp_path / "checkpoint"), "loader": [sample(clip) for clip in clips[:3]] * 2}
    exec(example, names)
    moved = {
        name
        for name, p in stock.named_parameters()
        if not torch.equal(p, dict(names["model"].named_parameters())[name])
    }
    assert {"model.language_model.layers.1.self_attn.q_proj.weight", "lm_head.weight"} <= moved
    assert names["losses"].mask_count == 2
    assert names["losses"].mask.isfinite()


@pytest.mark.parametrize("side", ["left", "right"])
def test_nouns_are_found_where_the_encoder_put_them(clips, encoder, tokenizer, side):
    samples = [encoder(one_turn(clips[0])), encoder(clips[1])]
    batch = collate(samples, tokenizer.pad_token_id, side)
    found = tagged_nouns(tokenizer, chat(clips[0]), clips[0].masks[:2], batch.inputs, row=0)
    assert [noun.tokens for noun in found] == [noun.tokens for noun in batch.nouns[0]]
    assert [noun.masks for noun in found] == list(clips[0].masks[:2])


def test_other_tokens_missing_masks_and_truncation_are_named(clips, encoder, tokenizer):
    batch = collate([encoder(one_turn(clips[0]))], tokenizer.pad_token_id)
    with pytest.raises(ValueError, match="2 <ins> tags, 1 tracks"):
        tagged_nouns(tokenizer, chat(clips[0]), clips[0].masks[:1], batch.inputs)
    with pytest.raises(ValueError, match="not the tokens of the text"):
        tagged_nouns(tokenizer, chat(clips[1]), clips[1].masks[:2], batch.inputs)
    cut = {
        name: value[:, :-4] if name in ("input_ids", "attention_mask") else value
        for name, value in batch.inputs.items()
    }
    with pytest.raises(ValueError, match="do not truncate"):
        tagged_nouns(tokenizer, chat(clips[0]), clips[0].masks[:2], cut)
