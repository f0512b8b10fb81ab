"""Whose attention is supervised, and onto whose masks: answering rows, the wrong object, KL as published."""

from dataclasses import replace

import pytest
import torch
from family_checkpoints import CELL_PX, config_of, tokenizer_of

from swim.data.annotations.markup import strip_tags
from swim.data.answer_tokens import AnswerTokens, answers_of_turns
from swim.data.documents import documents
from swim.data.encode import IGNORE, Encoder, collate
from swim.data.family import family_of
from swim.recipe import Objective, Optim, Readout
from swim.supervision.forward import last_hidden
from swim.supervision.maps import count_maps, noun_maps, plan_reading
from swim.supervision.objective import SupervisedModel, stock
from swim.supervision.presets import objective
from swim.supervision.targets import patch_frames, render, with_targets
from swim.train import train

CPU = torch.device("cpu")
LAYERS = (0, 2)


def word(tokenizer, sample, position):
    return tokenizer.decode([int(sample.input_ids_L[position])]).strip()


# ---- Where answers are.
def test_answers_of_turns_are_runs_of_labels():
    assert answers_of_turns([False, True, True, False, True], [(1, 4), (0, 1), (0, 2)]) == [
        AnswerTokens((1, 2), (1, 2)),
        AnswerTokens((4,), (4,)),
    ]
    assert answers_of_turns([], []) == []


def test_the_first_noun_of_a_turn_has_its_answer(encoder, tokenizer, clips):
    for sample in map(encoder, clips):
        questions = [noun for noun in sample.nouns if not noun.in_answer]
        assert [noun.answer for noun in sample.nouns if noun.in_answer] == [AnswerTokens()] * len(questions)
        labels = [t for noun in questions for t in noun.answer.tokens]
        assert labels == (sample.labels_L != IGNORE).nonzero()[:, 0].tolist()
        for noun in questions:
            text = tokenizer.decode(sample.input_ids_L[list(noun.answer.tokens)])
            assert text.startswith(f"The {noun.noun} is ")
            slots = sample.clip.turns[noun.turn].slots
            words = [sample.clip.turns[noun.turn].word_at(slot) for slot in slots]
            assert [word(tokenizer, sample, first) for first in noun.answer.slots] == words


@pytest.mark.parametrize("name", CELL_PX)
def test_in_every_family_each_turn_has_its_answer(name, clips):
    tokenizer = tokenizer_of(name)
    encoder = Encoder(tokenizer, family_of(config_of(name, tokenizer)), system=None)
    sample = encoder(clips[0])
    answers = [noun.answer for noun in sample.nouns[::2]]
    assert [t for answer in answers for t in answer.tokens] == (sample.labels_L != IGNORE).nonzero()[:, 0].tolist()
    for turn, answer in zip(clips[0].turns, answers, strict=True):
        text = tokenizer.decode(sample.input_ids_L[list(answer.tokens[:-1])])
        assert text.strip() == strip_tags(turn.gpt)[0]
        assert [word(tokenizer, sample, first) for first in answer.slots] == [turn.word_at(slot) for slot in turn.slots]


def test_an_answer_about_several_objects_is_nobodys(encoder, clips):
    clip = clips[0]
    nouns = encoder(replace(clip, masks=(clip.masks[0], clip.masks[2], *clip.masks[2:]))).nouns
    assert [noun.answer == AnswerTokens() for noun in nouns] == [True, True, False, True, False, True]


@pytest.mark.parametrize("side", ["left", "right"])
def test_answers_move_with_the_padding(encoder, tokenizer, clips, side):
    short = replace(clips[1], turns=clips[1].turns[:1], masks=clips[1].masks[:2])
    batch = collate([encoder(clips[0]), encoder(short)], tokenizer.pad_token_id, side)
    noun = batch.nouns[1][0]
    assert (batch.labels_BL[1] != IGNORE).nonzero()[:, 0].tolist() == list(noun.answer.tokens)


def test_a_truncated_answer_is_refused(encoder, tokenizer, model, clips, batch_of):
    batch = batch_of(clips[0])
    cut = batch.nouns[0][-1].tokens[0] + 2
    inputs = batch.inputs | {name: batch.inputs[name][:, :cut] for name in ("input_ids", "attention_mask")}
    found = documents(model.config, inputs)
    assert plan_reading(found, batch.nouns, Readout(layers=LAYERS), model, CPU)
    with pytest.raises(ValueError, match="was the text truncated"):
        plan_reading(found, batch.nouns, Readout(layers=LAYERS, query="answer-last"), model, CPU)


# ---- Gradients reach the rows that are read.
@pytest.mark.parametrize("query", ["noun", "answer", "answer-before", "answer-last"])
def test_the_loss_of_an_answer_is_of_its_rows_alone(model, batch_of, clips, query):
    """With keys and values that carry no gradient, the last supervised layer's queries get one at the rows read."""
    batch = batch_of(clips[0])
    layer = model.get_decoder().layers[2].self_attn
    seen = []
    layer.q_proj.register_forward_hook(lambda module, args, output: (output.retain_grad(), seen.append(output))[1])
    SupervisedModel(model, Objective(layers=(2,), query=query))(
        batch.inputs, batch.labels_BL, batch.nouns
    ).mask_sum.backward()
    rows = {
        "noun": [noun.tokens[-1] for noun in batch.nouns[0]],
        "answer": [t - 1 for noun in batch.nouns[0] for t in noun.answer.tokens],
        "answer-before": [t - 1 for noun in batch.nouns[0] for t in noun.answer.slots],
        "answer-last": [noun.answer.tokens[-1] - 1 for noun in batch.nouns[0][::2]],
    }[query]
    assert seen[0].grad[0].abs().sum(-1).nonzero()[:, 0].tolist() == sorted(rows)


# ---- The wrong object.
def test_the_wrong_object_is_the_next_one_named(encoder, clips):
    nouns = encoder(clips[0]).nouns
    wrong = with_targets(nouns, "wrong-object")
    tracks = [clips[0].masks[i] for i in (0, 2, 4)]
    assert len({str(track) for track in tracks}) == 3
    assert [noun.masks for noun in wrong] == [tracks[i] for i in (1, 1, 2, 2, 0, 0)]
    assert [noun.tokens for noun in wrong] == [noun.tokens for noun in nouns]
    assert [noun.masks for noun in with_targets(nouns, "object")] == [noun.masks for noun in nouns]
    # Of one object, and of a second one that is never visible.
    assert [noun.masks for noun in with_targets(nouns[:2], "wrong-object")] == [{}, {}]
    unseen = [*nouns[:2], replace(nouns[2], masks={})]
    assert [noun.masks for noun in with_targets(unseen, "wrong-object")] == [{}, {}, {}]


def test_a_clip_without_another_object_is_not_supervised_and_counted(nano, clips):
    alone = [replace(clip, key=f"{clip.key} alone", turns=clip.turns[:1], masks=clip.masks[:2]) for clip in clips[:2]]
    recipe = nano.override({"objective.target": "wrong-object", "optim.steps": 1})
    counts = {}
    for name, chosen in (("all", clips[:4]), ("some", [*alone, *clips[:2]]), ("none", [*alone, *alone])):
        curve = {point.name: point.value for point in train(recipe, chosen).curve}
        counts[name] = curve.get("unsupervised_clips"), curve["mask_loss"] > 0
    assert counts == {"all": (None, True), "some": (2.0, True), "none": (4.0, False)}
    assert count_maps([], recipe.objective, 2) == 0


def mass(trained, clips):
    """The attention of questions' nouns inside their own object and inside the next one, means over annotated
    patches."""
    batch = collate([trained.encoder(clip) for clip in clips], trained.tokenizer.pad_token_id)
    nouns = [[noun for noun in of_clip if not noun.in_answer] for of_clip in batch.nouns]
    model = stock(trained.model)
    shares = {}
    for target in ("object", "wrong-object"):
        targeted = [with_targets(of_clip, target) for of_clip in nouns]
        reading = plan_reading(documents(model.config, batch.inputs), targeted, Readout(layers=LAYERS), model, CPU)
        with torch.no_grad():
            last_hidden(model, batch.inputs, reading.probe)
            maps = noun_maps(reading, reading.probe.stacked_SNRK(), "mean", "none")
        inside = [
            float((map_HW * torch.from_numpy(render(frames, tuple(map_HW.shape)))).sum() / map_HW.sum())
            for item in maps
            for map_HW, frames in zip(item.map_PHW, item.frames.values(), strict=True)
        ]
        shares[target] = sum(inside) / len(inside)
    return shares


def test_a_nano_training_points_at_the_wrong_object_where_that_is_its_target(nano, clips):
    changes = {"objective.target": "wrong-object", "objective.mask_weight": 20.0, "objective.layers": LAYERS}
    recipe = nano.override(changes | {"optim": Optim(steps=20, batch=2, warmup_steps=2, lr=1e-2)})
    shares = mass(train(recipe, clips[:2]), clips[:2])
    assert shares["wrong-object"] > 0.3
    assert shares["wrong-object"] > 3 * shares["object"]


# ---- KL as published.
def test_klal_is_the_mean_over_layers_of_the_divergence_from_the_mask(model, batch_of, clips):
    """By hand from eager attention: the answer's last token, each head renormalised over a patch's visual tokens, mean
    over heads, KL(mask ‖ attention), mean over layers."""
    batch = batch_of(*clips[:2])
    losses = SupervisedModel(model, objective("klal", layers="all"))(batch.inputs, batch.labels_BL, batch.nouns)
    model.get_decoder().config._attn_implementation = "eager"
    with torch.no_grad():
        attentions = model(**batch.inputs, use_cache=False, output_attentions=True).attentions
    wanted, count = 0.0, 0
    for b, (found, nouns) in enumerate(zip(documents(model.config, batch.inputs), batch.nouns, strict=True)):
        T, H, W = found.visual.grid
        for noun in nouns[::2]:
            row = noun.answer.tokens[-1] - 1
            for patch, frames in patch_frames(noun.masks, 2).items():
                target_K = torch.from_numpy(render(frames, (H, W))).flatten()
                target_K = target_K / target_K.sum()
                layers = []
                for a_BHLL in attentions:
                    a_HK = a_BHLL[b, :, row, found.visual.columns_K].unflatten(-1, (T, H * W))[:, patch]
                    q_K = (a_HK / a_HK.sum(-1, keepdim=True)).mean(0)
                    layers.append(torch.nn.functional.kl_div(q_K.log(), target_K, reduction="sum"))
                wanted += float(torch.stack(layers).mean())
                count += 1
    assert losses.mask_count == count > 6
    assert losses.mask_sum.item() == pytest.approx(wanted, rel=1e-5)
    total = SupervisedModel(model, objective("klal", layers="all")).total(losses)
    assert total.item() == pytest.approx(losses.text.item() + wanted / count, rel=1e-5)
