"""`swim` in somebody else's trainer: the README's example, run as it stands, and what it says when used wrongly."""

from dataclasses import replace

import pytest
import torch
from readme_snippets import TRAINER
from readme_table import run_as_printed

from swim import models
from swim.data.documents import documents, tagged_nouns
from swim.data.encode import collate, pack
from swim.data.masks.encodings import decode
from swim.models import tiny
from swim.recipe import TinyModel
from swim.supervision.objective import SupervisedModel
from swim.supervision.presets import objective


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


def test_the_readmes_example_trains_in_twenty_lines(clips, encoder, tokenizer, tmp_path):
    stock, _ = tiny.build(TinyModel(hidden=32, layers=6, intermediate=32, vision_hidden=16, vision_depth=1))
    # Published checkpoints are bf16.
    models.save(stock.bfloat16(), tokenizer, tmp_path / "checkpoint")
    example = run_as_printed(TRAINER)
    assert len(example.splitlines()) <= 20

    def sample(clip):
        # The example supervises one noun: the question's; its answer keeps its words and loses its tag.
        turn = clip.turns[0]
        gpt = turn.gpt.replace("<ins>", "").replace("</ins>", "")
        clip = one_turn(clip)
        batch = collate([encoder(clip)], tokenizer.pad_token_id)
        text = chat(clip).replace(turn.gpt, gpt)
        return text, batch.inputs, batch.labels_BL, [{t: uncompressed(rle) for t, rle in clip.masks[0].items()}]

    names = {"checkpoint": str(tmp_path / "checkpoint"), "loader": [sample(clip) for clip in clips[:3]] * 2}
    exec(example, names)
    before, after = dict(stock.named_parameters()), dict(names["model"].named_parameters())
    for name in ("model.language_model.layers.2.self_attn.q_proj.weight", "lm_head.weight"):
        assert (before[name].float() != after[name]).float().mean() > 0.9, name
    assert names["losses"].mask_count == 2
    assert names["losses"].mask.isfinite()
    exec(run_as_printed("model.model.visual.requires_grad_(False)"), names)
    assert not any(p.requires_grad for p in names["model"].model.visual.parameters())
    assert any(p.requires_grad for p in names["model"].parameters())


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


def test_packed_samples_are_told_apart_by_where_they_end(stock, clips, encoder, tokenizer):
    batch = pack([encoder(one_turn(clip)) for clip in clips[:2]], stock.config)
    for clip, nouns, document in zip(clips, batch.nouns, documents(stock.config, batch.inputs), strict=False):
        found = tagged_nouns(tokenizer, chat(clip), clip.masks[:2], batch.inputs, end=document.end)
        assert [noun.tokens for noun in found] == [noun.tokens for noun in nouns]


def test_weights_and_schedule_are_in_the_total(model, clips, encoder, tokenizer):
    batch = collate([encoder(clips[0])], tokenizer.pad_token_id)
    supervised = SupervisedModel(model, objective("official-code", layers=(0, 2), mask_schedule="linear-down"))
    losses = supervised(batch.inputs, batch.labels_BL, batch.nouns)
    for progress in (0.25, 1.0):
        wanted = 0.05 * losses.text + (1 - progress) * losses.mask
        torch.testing.assert_close(supervised.total(losses, progress), wanted)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": "evne:6"}, "did you mean 'even'"),
        ({"layers": "even:6"}, "asks for 6 layers; the model has 3"),
        ({"layers": (0,), "chosen_heads": (4,)}, r"chosen_heads \[4\] are outside the model's 4"),
    ],
)
def test_what_the_model_lacks_is_said_at_once(stock, changes, message):
    with pytest.raises(ValueError, match=message):
        SupervisedModel(stock, objective("paper", **changes))


def test_masks_as_they_come_from_json_are_refused(model, clips, encoder, tokenizer):
    batch = collate([encoder(one_turn(clips[0]))], tokenizer.pad_token_id)
    supervised = SupervisedModel(model, objective("paper", layers=(0,)))
    for masks in ({"0": clips[0].masks[0][0]}, {0: uncompressed(clips[0].masks[0][0])}):
        with pytest.raises(ValueError, match=r"swim\.data\.masks\.to_rle"):
            supervised(batch.inputs, batch.labels_BL, [[replace(batch.nouns[0][0], masks=masks)]])
