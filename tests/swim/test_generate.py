"""Free-running answers: the tokens that one pass over the whole text finds most likely, however they are computed."""

import copy
from dataclasses import fields, replace

import pytest
import tiny_families
import torch

from swim.data.encode import collate
from swim.data.positions import with_positions
from swim.data.types import DataError
from swim.evaluation import generate as module
from swim.evaluation.generate import Decoding, Prompt, encode_prompt, generate
from swim.train import Trained, encoder_for

FEW = Decoding(max_new_tokens=6)
TIE = 1e-4  # of two logits that rounding may put in either order


@pytest.fixture
def trained(nano, model, tokenizer):
    with torch.no_grad():  # spread out: at the usual 0.02 all logits are close
        model.lm_head.weight.normal_(generator=torch.Generator().manual_seed(1))
    return Trained(model.eval(), tokenizer, encoder_for(nano, model, tokenizer), [])


@pytest.fixture
def prompts(clips):
    """25 questions about six clips, of unequal lengths; of one clip the video is so long that the two rules of
    positions differ."""
    slow = replace(clips[0], fps=0.1)
    asked = [(clip, turn.human) for clip in (slow, *clips[1:]) for turn in clip.turns]
    asked += [(clip, f"Describe the {word}.") for clip, word in zip([*clips, clips[0]], "abcdefg", strict=True)]
    return [Prompt(clip, question, turn) for turn, (clip, question) in enumerate(asked)]


def most_likely(model, encoded, tokens):
    """What the model finds most likely at each place of an answer, in one pass over prompt and answer."""
    added = torch.tensor(tokens)
    longer = {field.name: added for field in fields(encoded) if field.name.endswith("_L")}
    longer["blind_L"] = encoded.blind_L[-1:].expand(len(tokens))
    whole = replace(encoded, **{name: torch.cat([getattr(encoded, name), more]) for name, more in longer.items()})
    with torch.no_grad():
        logits_LV = model(**with_positions(model.config, collate([whole], 0).inputs)).logits[0]
    return logits_LV[len(encoded.input_ids_L) - 1 :].argmax(-1).tolist()


def test_an_answer_is_what_one_pass_over_prompt_and_answer_finds_most_likely(nano, trained, prompts):
    for answer, prompt in zip(generate(nano, trained, prompts[:5], FEW), prompts, strict=False):
        encoded, _ = encode_prompt(trained.encoder, prompt)
        assert answer.finish == "limit"
        assert len(answer.token_ids) == len(answer.leads) == 6
        assert most_likely(trained.model, encoded, answer.token_ids)[:-1] == list(answer.token_ids)
        assert answer.text == trained.tokenizer.decode(answer.token_ids)
        assert (answer.key, answer.turn) == (prompt.clip.key, prompt.turn)
        assert "<ins>" not in answer.question


def test_batches_and_the_cache_change_rounding_only(nano, trained, prompts):
    alone = generate(nano, trained, prompts, FEW, batch_size=1)
    ties = 0
    for size, cache, count in ((8, True, 25), (25, True, 25), (8, False, 9)):
        again = generate(nano, trained, prompts[:count], FEW, batch_size=size, cache=cache)
        assert len(again) == count
        for first, second in zip(alone, again, strict=False):
            if first.token_ids == second.token_ids:
                assert first.leads == pytest.approx(second.leads, abs=TIE)
                continue
            pairs = zip(first.token_ids, second.token_ids, strict=True)
            parted = next(i for i, (one, other) in enumerate(pairs) if one != other)
            assert first.leads[parted] < TIE
            ties += 1
    assert ties <= 3
    assert len({answer.token_ids for answer in alone}) > 6  # the answers are of the clips and the questions


def test_the_prompt_is_the_beginning_of_the_conversation_as_trained(trained, clips):
    clip = clips[0]
    encoded, closing = encode_prompt(trained.encoder, Prompt(clip, clip.turns[0].human))
    whole = trained.encoder(clip)
    answer_begins = int((whole.labels_L >= 0).nonzero()[0])
    assert encoded.input_ids_L.tolist() == whole.input_ids_L[:answer_begins].tolist()
    assert closing == trained.tokenizer.convert_tokens_to_ids("<|im_end|>")
    told, _ = encode_prompt(trained.encoder, Prompt(clip, "What?", system="Be brief."))
    text = trained.tokenizer.decode(told.input_ids_L)
    assert text.startswith("<|im_start|>system\nBe brief.<|im_end|>")
    assert trained.encoder.system is None


def test_an_answer_stops_at_the_closing_token_or_one_that_the_authors_name(nano, trained, prompts):
    (free,) = generate(nano, trained, prompts[:1], FEW)
    place = free.token_ids.index(free.token_ids[3])
    trained.model.generation_config.eos_token_id = [free.token_ids[3], 0]
    stopped, *others = generate(nano, trained, prompts[:8], FEW)
    assert (stopped.finish, stopped.token_ids) == ("stop", free.token_ids[:place])
    assert stopped.leads == pytest.approx(free.leads[: place + 1], abs=TIE)
    assert any(len(answer.token_ids) > place for answer in others)  # the batch went on without it
    trained.model.generation_config.eos_token_id = None
    closing = trained.tokenizer.convert_tokens_to_ids("<|im_end|>")
    with torch.no_grad():
        trained.model.lm_head.weight[closing] = 9 * trained.model.lm_head.weight[free.token_ids[0]]
    (ended,) = generate(nano, trained, prompts[:1], FEW)
    assert (ended.text, ended.finish, ended.token_ids) == ("", "stop", ())


def test_positions_of_the_model_limit_an_answer(nano, trained, prompts):
    tokens = len(encode_prompt(trained.encoder, prompts[0])[0].input_ids_L)
    free, short = generate(nano, trained, prompts[:1], FEW), with_positions_of(trained, tokens + 2)
    assert generate(nano, short, prompts[:1], FEW)[0].token_ids == free[0].token_ids[:2]
    with pytest.raises(DataError, match=f"more than the model's {tokens} positions"):
        generate(nano, with_positions_of(trained, tokens), prompts[:1], FEW)


def with_positions_of(trained, positions):
    """As of a model with so many positions."""
    encoder = copy.copy(trained.encoder)
    encoder.positions = positions
    return replace(trained, encoder=encoder)


def test_logits_that_are_not_finite_are_an_error(nano, trained, prompts):
    with torch.no_grad():
        trained.model.lm_head.weight[5] = float("nan")
    with pytest.raises(FloatingPointError, match="damaged or diverged"):
        generate(nano, trained, prompts[:1], FEW)


@pytest.mark.parametrize("name", tiny_families.FAMILIES)
def test_every_family_says_the_same_with_and_without_a_cache(name):
    family, model = tiny_families.FAMILIES[name], tiny_families.build(name)
    batch = tiny_families.samples(family)[:2]
    said = {}
    for cache in (True, False):
        inputs, _, _ = tiny_families.collate(family, batch, "left")
        with torch.inference_mode():
            steps = zip(range(5), module._greedy(model, inputs, cache), strict=False)
            said[cache] = [words for _, (words, _) in steps]
    assert said[True] == said[False]
    for row, sample in enumerate(batch):
        inputs, _, _ = tiny_families.collate(family, [sample])
        with torch.inference_mode():
            logits_V = model(**with_positions(model.config, inputs)).logits[0, -1]
            logits_V[
                [tiny_families.IMAGE, tiny_families.VIDEO]
            ] = -torch.inf  # no words, though this model would say them
        assert said[True][0][row] == logits_V.argmax()
