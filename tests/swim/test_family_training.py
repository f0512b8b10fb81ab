"""Five families go the whole way of a recipe: trained, evaluated, saved, read again here and by stock transformers."""

from dataclasses import replace

import pytest
import torch
from family_checkpoints import CELL_PX, checkpoint
from transformers import AutoModelForImageTextToText, AutoTokenizer

from swim import models
from swim.data.encode import collate
from swim.evaluation.evaluate import evaluate, restore
from swim.recipe import Lora, Optim, Recipe
from swim.train import train

families = pytest.mark.parametrize("name", CELL_PX)


@pytest.fixture
def recipe_of(nano, tmp_path):
    def make(name: str, **fields) -> Recipe:
        spec = checkpoint(name, tmp_path / "base", **fields)
        changes = {"model": spec, "data.frames.cell_px": spec.cell_px, "optim": Optim(steps=2, batch=2, lr=1e-3)}
        return nano.override(changes)

    return make


@families
def test_trained_evaluated_saved_and_read_again(name, recipe_of, clips, tmp_path):
    # One of them with a tower in 16 bits, which comes back as it was.
    recipe = recipe_of(name, dtype="bfloat16" if name == "llava_onevision" else "float32")
    recipe = recipe.override({"evaluation.mediation": {}})
    if name == "qwen3_vl":
        # One of them with rows of answers, on the wrong object.
        recipe = recipe.override({"objective.query": "answer-before", "objective.target": "wrong-object"})
    base, _ = models.build(recipe.model)
    trained = train(recipe, clips)
    losses = {point.name: point.value for point in trained.curve if point.step == 2}
    assert losses["text_loss"] > 0
    assert losses["mask_loss"] > 0
    vision = {f"model.{path}" for path, _ in models.vision_parameters(trained.model)}
    moved = {
        path
        for (path, p), q in zip(base.named_parameters(), trained.model.parameters(), strict=True)
        if not torch.equal(p, q)
    }
    # Tower and projector stay; of the language model what reads positions alone may stay as well.
    assert any("project" in path or "merger" in path for path in vision)
    assert not moved & vision
    assert {path.split(".")[-2] for path in moved} >= {"q_proj", "k_proj", "v_proj", "down_proj"}

    scores = evaluate(recipe, trained, clips[:2])
    assert scores.metrics["attention.nouns"] == 6
    assert scores.metrics["attention_own.ap"] > 0
    assert scores.metrics["mediation.slots"] > 0
    models.save(trained.model, trained.tokenizer, tmp_path / "saved")
    again = restore(recipe, tmp_path / "saved")
    assert evaluate(recipe, again, clips[:2]).scores == scores.scores

    stock = AutoModelForImageTextToText.from_pretrained(tmp_path / "saved").eval()
    assert type(stock) is type(base)
    inputs = collate([again.encoder(clips[0])], again.tokenizer.pad_token_id).inputs
    with torch.no_grad():
        assert torch.isfinite(stock(**inputs).logits).all()
    assert AutoTokenizer.from_pretrained(tmp_path / "saved").get_vocab() == trained.tokenizer.get_vocab()


def test_adapters_reach_the_language_model_alone(recipe_of, clips):
    """Whose name is another one than in the other families, beside a tower with equally named parts."""
    trained = train(recipe_of("smolvlm", lora=Lora(rank=2, alpha=4), dtype="bfloat16"), clips)
    adapted = {path for path, _ in trained.model.named_parameters() if "lora_B" in path}
    assert len(adapted) == 3 * 4
    assert not [path for path in adapted if "vision" in path or "project" in path or "connector" in path]
    assert all(p.any() for path, p in trained.model.named_parameters() if "lora_B" in path)


def test_videos_of_two_lengths_go_together_or_are_refused(recipe_of, clips):
    short = replace(clips[1], frames_THWC=clips[1].frames_THWC[:2], frame_indices=(0, 1), masks=())
    for name in ("smolvlm", "llava_onevision"):
        recipe = recipe_of(name)
        model, tokenizer = models.build(recipe.model)
        trained = train(recipe.override({"optim.steps": 0}), clips)
        batch = collate([trained.encoder(clips[0]), trained.encoder(short)], tokenizer.pad_token_id)
        if name == "llava_onevision":
            with pytest.raises(ValueError, match=r"videos of 2, 4 frames in one forward pass.*micro-batch to 1"):
                batch.inputs  # noqa: B018
            continue
        alone = collate([trained.encoder(short)], tokenizer.pad_token_id)
        with torch.no_grad():
            together = model(**batch.inputs).logits[1, : alone.labels_BL.shape[1]]
            torch.testing.assert_close(together, model(**alone.inputs).logits[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"family": "qwen2-vl"}, "model.family is 'qwen2-vl', and .* is a 'smolvlm': set model.family to 'smolvlm'"),
        ({"layers": 2}, "model.layers says 2, .* has 3"),
        ({"cell_px": 28}, "model.cell_px says 28, .* has 4"),
    ],
)
def test_a_recipe_that_is_not_its_checkpoint_is_refused(tmp_path, changes, message):
    spec = checkpoint("smolvlm", tmp_path)
    with pytest.raises(ValueError, match=message):
        models.build(spec.model_copy(update=changes))


def test_a_checkpoint_with_other_statistics_is_refused(tmp_path):
    spec = checkpoint("smolvlm", tmp_path)
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}')
    models.build(spec)
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": [0.4, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}')
    with pytest.raises(ValueError, match="normalises pixels with mean and deviation"):
        models.build(spec)
