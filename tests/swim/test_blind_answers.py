"""Recipes whose answers do not see the video: the same rows are blind in training, in evaluation and as an answer is
written."""

import copy
from dataclasses import replace

import pytest
import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from swim.data.encode import collate, pack
from swim.data.types import Turn
from swim.evaluation.evaluate import run_suite
from swim.evaluation.generate import Decoding, Prompt, encode_prompt, generate
from swim.supervision.forward import last_hidden
from swim.supervision.objective import SupervisedModel
from swim.train import Trained, encoder_for, train


@pytest.fixture
def blind(nano):
    """The recipe, its answers blind."""
    return nano.override({"blind_answers": True, "evaluation": {"mediation": {}, "attention": {}}})


@pytest.fixture
def blinding(blind, stock, tokenizer):
    """Its encoder."""
    return encoder_for(blind, stock, tokenizer)


def words(tokenizer, sample, marked_L):
    return "".join(tokenizer.decode([token]) for token in sample.input_ids_L[marked_L].tolist())


def test_what_is_blind_begins_behind_the_noun_and_ends_with_the_answer(blinding, encoder, tokenizer, clips):
    clip = clips[0]
    nouns = [f"<ins>{row.noun}</ins>" for row in encoder(clip).nouns[::2]]
    sample = blinding(clip)
    end, start = "<|im_end|>", "<|im_start|>"
    answers = [turn.gpt.replace("<ins>", "").replace("</ins>", "") for turn in clip.turns]
    wanted = [f".{end}\n{start}assistant\n{answer}{end}" for answer in answers]
    assert words(tokenizer, sample, sample.blind_L) == "".join(wanted)
    assert not encoder(clip).blind_L.any()
    # A question that goes on behind its noun, one that tags nothing, and one without words.
    asked = [f"Is {nouns[0]} near {nouns[1]} or not?", "What moves?", ""]
    other = replace(clip, masks=(), turns=tuple(Turn(human=human, gpt="Yes.") for human in asked))
    sample = blinding(other)
    template = f"{end}\n{start}assistant\nYes.{end}"
    assert words(tokenizer, sample, sample.blind_L) == f" or not?{template}{template}{template}"


@pytest.fixture
def masked(monkeypatch):
    """Attention with the lowest number at `hidden` [B, L, L], as an implementation of its own."""

    def attention(module, query, key, value, attention_mask, hidden, **kwargs):
        length = query.shape[2]
        causal_LL = torch.ones(length, length, dtype=torch.bool).tril()
        seen = (attention_mask if attention_mask is not None else causal_LL[None, None]) & ~hidden[:, None]
        return ALL_ATTENTION_FUNCTIONS["sdpa"](module, query, key, value, seen, **kwargs)

    AttentionInterface.register("masked_answers", attention)
    AttentionMaskInterface.register("masked_answers", ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
    yield "masked_answers"
    del AttentionInterface._global_mapping["masked_answers"], AttentionMaskInterface._global_mapping["masked_answers"]


def test_training_is_that_of_a_model_under_a_whole_mask(blinding, stock, model, nano, masked, tokenizer, clips):
    """Loss and gradient, of a batch of unequal conversations."""
    short = replace(clips[1], turns=clips[1].turns[:1], masks=clips[1].masks[:2])
    batch = collate([blinding(clips[0]), blinding(short)], tokenizer.pad_token_id)
    objective = nano.objective.model_copy(update={"mask_weight": 0.0})
    supervised = SupervisedModel(model, objective)
    losses = supervised(batch.inputs, batch.labels_BL, batch.nouns)
    oracle = copy.deepcopy(supervised)
    oracle.model.get_decoder().config._attn_implementation = masked
    blind_BL = torch.nn.utils.rnn.pad_sequence([sample.blind_L for sample in batch.samples], batch_first=True)
    video_BL = batch.tokens["input_ids"] == model.config.video_token_id
    whole = {name: value for name, value in batch.inputs.items() if name != "blind"}
    wanted = oracle(whole | {"hidden": blind_BL[:, :, None] & video_BL[:, None]}, batch.labels_BL, batch.nouns)
    torch.testing.assert_close(losses.text, wanted.text)
    seeing = supervised(whole, batch.labels_BL, batch.nouns)
    assert abs(seeing.text.item() - losses.text.item()) > 1e-4
    for loss in (losses, wanted):
        loss.text.backward()
    pairs = [(p.grad, q.grad) for p, q in zip(supervised.parameters(), oracle.parameters(), strict=True)]
    total = torch.stack([q.norm() for _, q in pairs if q is not None]).norm()
    assert torch.stack([(p - q).norm() for p, q in pairs if p is not None]).norm() < 1e-5 * total


def test_packed_conversations_are_as_blind_as_padded_ones(blinding, model, tokenizer, clips):
    samples = [blinding(clip) for clip in clips[:2]]
    with torch.no_grad():
        alone = [last_hidden(model, collate([sample], tokenizer.pad_token_id).inputs, None)[0] for sample in samples]
        packed = last_hidden(model, pack(samples, model.config).inputs, None)[0]
    torch.testing.assert_close(packed, torch.cat(alone), rtol=1e-4, atol=1e-5)


def test_the_trained_recipe_is_blind_in_every_suite(blind, nano, clips):
    """The answering rows have nothing to lose, and what the suite `attention` says of answers is what `mediation`
    says."""
    one_step = {"optim.steps": 1}
    trained = train(blind.override(one_step), clips)
    assert run_suite("mediation", blind, trained, clips).metrics["mediation.by_answer"] == 0
    # The same weights see another first loss.
    blind_loss, seeing_loss = (
        next(point.value for point in curve if point.name == "text_loss")
        for curve in (trained.curve, train(nano.override(one_step), clips).curve)
    )
    assert abs(blind_loss - seeing_loss) > 1e-6
    seeing = replace(trained, encoder=encoder_for(nano, trained.model, trained.tokenizer))
    losses = [run_suite("attention", blind, model, clips[:1]).metrics["answer.loss"] for model in (trained, seeing)]
    assert losses[0] != losses[1]


@pytest.mark.parametrize("cache", [True, False])
def test_an_answer_is_written_blind(blind, model, tokenizer, blinding, clips, cache):
    """Token by token as one pass over prompt and answer finds it, in a batch of unequal prompts; and not as it is
    written by a model that sees."""
    with torch.no_grad():
        model.lm_head.weight.normal_(generator=torch.Generator().manual_seed(1))
    trained = Trained(model.eval(), tokenizer, blinding, [])
    prompts = [Prompt(clip, question) for clip in clips[:3] for question in ("What <ins>lemon</ins> moves?", "What?")]
    answers = generate(blind, trained, prompts, Decoding(max_new_tokens=4), cache=cache)
    for answer, prompt in zip(answers, prompts, strict=True):
        encoded, _ = encode_prompt(blinding, prompt)
        added = {"input_ids_L": torch.tensor(answer.token_ids), "labels_L": torch.tensor(answer.token_ids)}
        added["blind_L"] = torch.ones(len(answer.token_ids), dtype=torch.bool)
        whole = replace(encoded, **{name: torch.cat([getattr(encoded, name), more]) for name, more in added.items()})
        with torch.no_grad():
            hidden_LD = last_hidden(model, collate([whole], tokenizer.pad_token_id).inputs, None)[0]
        written_LD = hidden_LD[len(encoded.input_ids_L) - 1 : -1]
        assert model.lm_head(written_LD).argmax(-1).tolist() == list(answer.token_ids)
    seeing = replace(trained, encoder=encoder_for(blind.override({"blind_answers": False}), model, tokenizer))
    assert [answer.leads for answer in generate(blind, seeing, prompts, Decoding(max_new_tokens=4))] != [
        answer.leads for answer in answers
    ]
