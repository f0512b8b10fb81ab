"""Evaluation: the same ruler for every arm, answers counted against their ceiling, nothing silently left out."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from swim import models
from swim.data.annotations.samples import parse_row
from swim.data.documents import documents
from swim.data.masks.encodings import decode
from swim.data.synthetic.shapes_world import row
from swim.data.synthetic.vocabulary import plain
from swim.data.types import Clip
from swim.evaluation import metrics
from swim.evaluation.answer_ceiling import ceiling
from swim.evaluation.attention import summarise
from swim.evaluation.evaluate import evaluate, restore, run_suite
from swim.evaluation.film import film, filmed_clips
from swim.outputs import SampleScore
from swim.recipe import HubModel, ShapesWorld
from swim.supervision.maps import noun_maps, plan_reading, upsample
from swim.train import Trained, encoder_for

FAMILIES = ("attribute", "its_noun", "gap")


@pytest.fixture
def trained(nano, model, tokenizer):
    return Trained(model, tokenizer, encoder_for(nano, model, tokenizer), [])


class Parrot(torch.nn.Module):
    """Says the next token of whatever it is shown, but for one it never says."""

    def __init__(self, inner, mute=-1):
        super().__init__()
        self.inner, self.mute = inner, mute
        self.lm_head, self.config = torch.nn.Identity(), inner.config

    def model(self, **inputs):
        result = self.inner.model(**inputs)
        following = inputs["input_ids"].roll(-1, 1)
        following = following.masked_fill(following == self.mute, 0)
        result.last_hidden_state = torch.nn.functional.one_hot(following, 400).float()
        return result


def slot_of(turn, name):
    (slot,) = (slot for slot in turn.slots if slot.name == name)
    return plain(turn.gpt)[slot.start : slot.end]


def without_own(found):
    return {name: value for name, value in found.items() if not name.startswith("attention_own.")}


def test_rerun_is_equal_and_batches_do_not_matter(nano, trained, clips):
    first, again = evaluate(nano, trained, clips), evaluate(nano, trained, clips)
    assert first == again
    split = evaluate(nano, trained, clips, micro_batch=2)
    assert split.metrics == pytest.approx(first.metrics, abs=1e-5)
    assert [(s.key, s.tag, s.metric) for s in split.scores if s.tag >= 0 and "own" not in s.metric] == [
        (s.key, s.tag, s.metric) for s in first.scores if s.tag >= 0 and "own" not in s.metric
    ]
    assert len(split.overlays) == len(first.overlays) == 4


def test_one_ruler_for_every_arm_and_the_arms_own_beside_it(nano, trained, clips):
    mean = evaluate(nano, trained, clips).metrics
    released = evaluate(
        nano.override({"objective.fusion": "released-product", "objective.normalise": "minmax"}), trained, clips
    ).metrics
    before = evaluate(nano.override({"objective.query": "before", "objective.domain": "frame"}), trained, clips).metrics
    control = evaluate(nano.override({"objective.mask_weight": 0}), trained, clips).metrics
    assert without_own(mean) == without_own(released) == without_own(before) == control
    assert mean["attention_own.ap"] == mean["attention.ap"]
    assert released["attention_own.mass"] != mean["attention.mass"]
    assert before["attention_own.ap"] != mean["attention.ap"]


def test_attention_scores_are_the_metrics_of_the_questions_nouns(nano, trained, clips, batch_of):
    found = evaluate(nano, trained, clips[:2])
    assert found.metrics["attention.nouns"] == 6
    batch = batch_of(*clips[:2])
    found_documents = documents(trained.model.config, batch.inputs)
    readout = nano.evaluation["attention"].readout
    reading = plan_reading(found_documents, batch.nouns, readout, trained.model, torch.device("cpu"))
    with torch.no_grad():
        trained.model(**batch.inputs, probe=reading.probe)
    maps = noun_maps(reading, reading.probe.stacked_SNRK(), "mean", "none")
    for b, sample in enumerate(batch.samples):
        noun = sample.nouns[2]  # the second question's
        (item,) = (item for item in maps if (item.read.document, item.read.noun.tag) == (b, 2))
        map_N = upsample(item.map_PHW, (64, 64)).double().numpy().ravel()
        frames_T = [decode(rle) for rle in noun.masks.values()]
        inside_N = np.stack([frames_T[0] | frames_T[1], frames_T[2] | frames_T[3]]).ravel() > 0
        wanted = metrics.scores(map_N, inside_N, threshold=0.5)
        wanted["entropy"] = metrics.entropy(item.map_PHW.double().numpy().ravel())
        rows = {s.metric: s for s in found.scores if (s.key, s.tag) == (sample.clip.key, 2)}
        assert {f"attention.{name}" for name in wanted} == {name for name in rows if "own" not in name}
        for name, value in wanted.items():
            assert rows[f"attention.{name}"].value == pytest.approx(value, abs=1e-6)
            assert (rows[f"attention.{name}"].turn, rows[f"attention.{name}"].noun) == (1, noun.noun)


def test_answers_are_the_models_own_next_tokens(nano, trained, clips, batch_of):
    found = evaluate(nano, trained, clips[:1])
    batch = batch_of(clips[0])
    with torch.no_grad():
        out = trained.model(**batch.inputs, labels=batch.labels_BL, use_cache=False)
    labels_L = batch.labels_BL[0, 1:]
    right = (out.logits[0, :-1].argmax(-1) == labels_L)[labels_L >= 0]
    assert found.metrics["answer.token_accuracy"] == pytest.approx(right.double().mean().item())
    assert found.metrics["answer.loss"] == pytest.approx(out.loss.item(), rel=1e-5)


def test_a_perfect_answerer_scores_one_and_the_ceiling_is_the_data_sets(nano, trained, clips):
    found = evaluate(nano, replace(trained, model=Parrot(trained.model)), clips).metrics
    assert found["answer.accuracy"] == found["answer.accuracy.motion"] == found["answer.token_accuracy"] == 1
    assert found["answer.ceiling"] == pytest.approx(ceiling([clip.turns for clip in clips]))
    assert 0 < found["answer.ceiling"] < 1


def test_only_the_slot_that_is_wrong_counts_as_wrong(nano, trained, clips, tokenizer):
    (striped,) = tokenizer(" striped")["input_ids"]
    found = evaluate(nano, replace(trained, model=Parrot(trained.model, mute=striped)), clips)
    right = [s.value for s in found.scores if s.metric == "answer.accuracy.pattern"]
    asked = [slot_of(turn, "pattern") == "plain" for clip in clips for turn in clip.turns]
    assert right == asked
    assert 0 < sum(asked) < len(asked)
    assert found.metrics["answer.accuracy.size"] == found.metrics["answer.accuracy.motion"] == 1


def test_rows_without_tags_or_masks_are_scored_on_answers_only(nano, trained, clips):
    silent = [replace(clip, masks=()) for clip in clips]
    found = evaluate(nano, trained, silent)
    assert found.overlays == []
    assert found.metrics["attention.nouns"] == 0
    assert {s.metric.partition(".")[0] for s in found.scores} == {"answer"}
    mixed = evaluate(nano, trained, [silent[0], clips[1]])
    assert mixed.metrics["attention.nouns"] == 3
    assert [o.key for o in mixed.overlays] == [clips[1].key]


def test_overlays_hold_the_map_beside_its_mask(nano, trained, clips):
    half = replace(clips[0], masks=tuple({t: rle for t, rle in track.items() if t < 2} for track in clips[0].masks))
    (overlay,) = evaluate(nano, trained, [half]).overlays
    assert (overlay.grid, overlay.frame_size, overlay.annotated) == ((2, 8, 8), (64, 64), (True, False))
    map_THW = np.frombuffer(overlay.map, np.float32).reshape(overlay.grid)
    masks_THW = np.frombuffer(overlay.masks, np.uint8).reshape(2, 64, 64)
    assert map_THW[0].sum() > 0
    assert masks_THW[0].any()
    assert not map_THW[1].any()
    assert not masks_THW[1].any()
    frames = np.frombuffer(overlay.frames, np.uint8).reshape(2, 64, 64, 3)
    np.testing.assert_array_equal(frames, half.frames_THWC[::2])


def test_slots_are_pooled_over_words_not_over_slot_names():
    def row(metric, value):
        return SampleScore(key="k", turn=0, tag=-1, noun="", metric=metric, value=value)

    found = summarise([row("answer.accuracy.size", v) for v in (1, 1, 1)] + [row("answer.accuracy.motion", 0)])
    assert found == {
        "answer.accuracy": 0.75,
        "answer.accuracy.motion": 0.0,
        "answer.accuracy.size": 1.0,
        "attention.nouns": 0.0,
    }


def test_building_from_a_folder_evaluates_alike(nano, trained, clips, tmp_path):
    models.save(trained.model, trained.tokenizer, tmp_path / "saved")
    model, tokenizer = models.build(nano.model, tmp_path / "saved")
    loaded = Trained(model.eval(), tokenizer, encoder_for(nano, model, tokenizer), [])
    assert evaluate(nano, loaded, clips[:2]) == evaluate(nano, trained, clips[:2])


def test_attributes_are_read_beside_the_nouns_that_have_one(nano, trained, clips):
    data = ShapesWorld(prompts="attribute", difficulty="hard-twins", objects=3)
    twins = []
    for index in range(3):
        entry, frames_THWC = row(data, "train", index)
        sample = parse_row(json.loads(json.dumps(entry)), file="twins.json", row=index)
        twins.append(Clip(sample.key, sample.turns, frames_THWC, (0, 1, 2, 3), 4.0, sample.tracks))
    asked = nano.override({"evaluation.attention.attributes": True})
    found = evaluate(asked, trained, twins)
    told = [turn for clip in twins for turn in clip.turns if turn.human.split("<ins>")[0].split()[-1] != "the"]
    rows = [row for row in found.scores if row.metric == "attention_attribute.entropy"]
    assert 0 < len(rows) == len(told) < sum(len(clip.turns) for clip in twins) + 1
    for name in ("entropy", "ap"):
        values = {f: [r.value for r in found.scores if r.metric == f"attention_{f}.{name}"] for f in FAMILIES}
        assert values["gap"] == pytest.approx(np.subtract(values["its_noun"], values["attribute"]))
        assert values["its_noun"] != values["attribute"]
    before = evaluate(asked.override({"evaluation.attention.readout.query": "before"}), trained, twins)
    by_tag = {(r.key, r.tag): r.value for r in before.scores if r.metric == "attention.ap"}
    assert all(by_tag[r.key, r.tag] == r.value for r in found.scores if r.metric == "attention_attribute.ap")
    assert not any(name.startswith("attention_gap") for name in evaluate(asked, trained, clips).metrics)


def test_a_film_frame_is_the_map_of_the_overlay(nano, trained, clips):
    frames = film(nano, trained, clips[:4], 7)
    overlays = evaluate(nano, trained, clips).overlays
    assert [(f.step, f.key, f.tag, f.grid) for f in frames] == [(7, o.key, o.tag, o.grid) for o in overlays]
    for frame, overlay in zip(frames, overlays, strict=True):
        ours, theirs = np.frombuffer(frame.map, np.float32), np.frombuffer(overlay.map, np.float32)
        assert ours == pytest.approx(theirs, abs=1e-6)


def test_a_saved_model_is_evaluated_like_the_one_in_memory(nano, trained, clips, tmp_path):
    models.save(trained.model, trained.tokenizer, tmp_path)
    assert evaluate(nano, restore(nano, tmp_path), clips) == evaluate(nano, trained, clips)


def test_what_was_trained_in_fp32_is_restored_in_fp32(nano, trained, clips, tmp_path):
    """A bf16 model's trained weights are fp32, its frozen tower is bf16: loading all of it in bf16 would round."""
    models.save(trained.model, trained.tokenizer, tmp_path / "stock")
    hub = HubModel(path=str(tmp_path / "stock"), layers=nano.model.layers, cell_px=nano.model.cell_px)
    recipe = nano.model_copy(update={"model": hub})
    model, tokenizer = models.build(hub)
    with torch.no_grad():
        model.lm_head.weight += 1e-4 * torch.rand_like(model.lm_head.weight)
    in_memory = Trained(model.eval(), tokenizer, encoder_for(recipe, model, tokenizer), [])
    models.save(model, tokenizer, tmp_path / "tuned")
    restored = restore(recipe, tmp_path / "tuned")
    for name, weight in restored.model.state_dict().items():
        assert weight.dtype == model.state_dict()[name].dtype, name
        assert torch.equal(weight, model.state_dict()[name]), name
    assert evaluate(recipe, restored, clips) == evaluate(recipe, in_memory, clips)


def test_suites_are_run_by_name_and_a_recipe_without_them_measures_nothing(nano, trained, clips):
    assert run_suite("attention", nano, trained, clips) == evaluate(nano, trained, clips)
    none = nano.override({"evaluation": {}})
    assert evaluate(none, trained, clips).metrics == {}
    assert filmed_clips(none) == 0
    with pytest.raises(ValueError, match=r"has no 'readout' \(choices: .*attention, .*\); evaluation maps suites"):
        nano.override({"evaluation": {"readout": {"layers": "all"}}})
    with pytest.raises(ValueError, match=r"the nearest is 'evaluation.attention.attributes'"):
        nano.override({"evaluation.attributes": True})
