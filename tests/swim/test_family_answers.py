"""Every family answers: the prompt is what training wrote, and batches and caches change nothing."""

import pytest
from family_checkpoints import CELL_PX, checkpoint

from swim import models
from swim.evaluation.generate import Decoding, Prompt, encode_prompt, generate
from swim.train import Trained, encoder_for


@pytest.mark.parametrize("name", CELL_PX)
def test_a_family_answers_alike_in_batches_and_without_a_cache(name, nano, clips, tmp_path):
    spec = checkpoint(name, tmp_path / "base", dtype="float32")
    recipe = nano.override({"model": spec, "data.frames.cell_px": spec.cell_px})
    model, tokenizer = models.build(recipe.model)
    trained = Trained(model.eval(), tokenizer, encoder_for(recipe, model, tokenizer), [])
    prompts = [Prompt(clip, turn.human, n) for clip in clips[:2] for n, turn in enumerate(clip.turns[:2])]
    prompts.append(Prompt(clips[2], "What?", system="Be brief."))
    alone = generate(recipe, trained, prompts, Decoding(max_new_tokens=4), batch_size=1)
    for size, cache in ((5, True), (1, False)):
        again = generate(recipe, trained, prompts, Decoding(max_new_tokens=4), batch_size=size, cache=cache)
        assert [answer.token_ids for answer in again] == [answer.token_ids for answer in alone]
    assert [len(answer.pointing) for answer in alone] == [1, 1, 1, 1, 0]  # the last question has no noun
    encoded, closing = encode_prompt(trained.encoder, prompts[0])
    whole = trained.encoder(clips[0])
    begin = int((whole.labels_L >= 0).nonzero()[0])
    assert encoded.input_ids_L.tolist() == whole.input_ids_L[:begin].tolist()
    labels = whole.labels_L.tolist()
    ends = [i for i, label in enumerate(labels) if label >= 0 and (i + 1 == len(labels) or labels[i + 1] < 0)]
    assert {labels[i] for i in ends} == {closing}
