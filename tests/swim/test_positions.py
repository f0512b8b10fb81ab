"""Rotary positions by hand, by the rule of the models' authors: text goes on behind the largest position so far."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from swim.data.encode import collate, pack
from swim.data.positions import with_positions
from swim.evaluation.film import film
from swim.evaluation.noun_attention import read
from swim.models.families.qwen2_vl import VIDEO_TYPE
from swim.recipe import Objective
from swim.supervision.objective import SupervisedModel
from swim.train import Trained

TEXT, IMAGE, VIDEO, PAD = 9, 1, 2, 0


def config(family):
    vision = SimpleNamespace(spatial_merge_size=2, tokens_per_second=2)
    return SimpleNamespace(model_type=family, image_token_id=IMAGE, video_token_id=VIDEO, vision_config=vision)


def call(family, *rows, **inputs):
    ids_BL = torch.tensor(rows)
    types_BL = torch.where(ids_BL == VIDEO, 2, torch.where(ids_BL == IMAGE, 1, 0))
    given = {"input_ids": ids_BL, "mm_token_type_ids": types_BL, "attention_mask": (ids_BL != PAD).long()}
    return with_positions(config(family), given | {key: torch.tensor(value) for key, value in inputs.items()})


def positions(family, *rows, **inputs):
    return call(family, *rows, **inputs)["position_ids"].permute(1, 0, 2).tolist()


# Three steps of 1 × 2 visual tokens (2 × 4 patches) between two and three text tokens.
LONG = [TEXT] * 2 + [VIDEO] * 6 + [TEXT] * 3
GRID = [[3, 2, 4]]


@pytest.mark.parametrize(
    ("seconds", "time", "behind"),
    [
        (10.0, (0, 20, 40), 43),  # 30 s of video: 2 positions a second, text behind 2 + 40
        (1.3, (0, 2, 5), 8),  # 2.6 and 5.2, rounded down
        (0.1, (0, 0, 0), 4),  # the width decides
    ],
)
def test_qwen2_5_vl_counts_time_and_text_goes_on_behind_it(seconds, time, behind):
    wanted = [
        [0, 1, *(2 + t for t in time for _ in range(2)), behind, behind + 1, behind + 2],
        [0, 1, 2, 2, 2, 2, 2, 2, behind, behind + 1, behind + 2],
        [0, 1, 2, 3, 2, 3, 2, 3, behind, behind + 1, behind + 2],
    ]
    assert positions("qwen2_5_vl", LONG, video_grid_thw=GRID, second_per_grid_ts=[seconds]) == [wanted]


def test_qwen2_vl_counts_temporal_patches():
    [(time, height, width)] = positions("qwen2_vl", LONG, video_grid_thw=GRID)
    assert time == [0, 1, 2, 2, 3, 3, 4, 4, 5, 6, 7]
    assert height == [0, 1, 2, 2, 2, 2, 2, 2, 5, 6, 7]
    assert width == [0, 1, 2, 3, 2, 3, 2, 3, 5, 6, 7]


def test_qwen3_vl_has_text_between_steps():
    row = [TEXT, VIDEO, VIDEO, TEXT, VIDEO, VIDEO, TEXT]
    [(time, height, width)] = positions("qwen3_vl", row, video_grid_thw=[[2, 2, 4]])
    assert time == height == [0, 1, 1, 3, 4, 4, 6]
    assert width == [0, 1, 2, 3, 4, 5, 6]


def test_rows_images_and_padding_on_either_side():
    rows = [[TEXT, IMAGE, IMAGE, VIDEO, VIDEO, TEXT, PAD], [PAD, PAD, PAD, VIDEO, VIDEO, TEXT, TEXT], [TEXT] * 7]
    inputs = {"image_grid_thw": [[1, 4, 2]], "video_grid_thw": [[2, 2, 2], [1, 2, 4]], "second_per_grid_ts": [3.0, 9.0]}
    first, second, third = positions("qwen2_5_vl", *rows, **inputs)
    # The image is two rows high and no time long; the video is one token a step, 6 positions apart.
    assert first == [[0, 1, 1, 3, 9, 10, 0], [0, 1, 2, 3, 3, 10, 0], [0, 1, 1, 3, 3, 10, 0]]
    assert second == [[0, 0, 0, 0, 0, 2, 3], [0, 0, 0, 0, 0, 2, 3], [0, 0, 0, 0, 1, 2, 3]]
    assert third == [list(range(7))] * 3


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_what_is_given_stays_and_what_is_missing_is_refused(family):
    grids = {"video_grid_thw": torch.tensor([[1, 2, 4]]), "second_per_grid_ts": torch.tensor([1.0])}
    inputs = {"input_ids": torch.tensor([[TEXT, VIDEO, VIDEO, TEXT]])} | grids
    own = torch.arange(4).expand(3, 1, -1)
    assert with_positions(config(family), inputs | {"position_ids": own})["position_ids"] is own
    with pytest.raises(ValueError, match=r"2 visual tokens, and mm_token_type_ids are missing.*position_ids"):
        with_positions(config(family), inputs)
    types = {"mm_token_type_ids": torch.tensor([[0, 0, 2, 2]])}
    with pytest.raises(ValueError, match="mm_token_type_ids mark others"):
        with_positions(config(family), inputs | types)
    types["mm_token_type_ids"] = torch.tensor([[0, 2, 2, 0]])
    with pytest.raises(ValueError, match=r"token 1 .*their grid \(1, 1, 3\).*do not truncate"):
        with_positions(config(family), inputs | types | {"video_grid_thw": torch.tensor([[1, 2, 6]])})
    with pytest.raises(ValueError, match=r"there is none left|1 videos"):
        call(family, [VIDEO, TEXT, VIDEO], video_grid_thw=[[1, 2, 2]], second_per_grid_ts=[1.0] * 1)
    text = {"input_ids": torch.tensor([[TEXT] * 3])}
    assert with_positions(config(family), text) == text


def test_seconds_of_a_qwen2_5_video_are_not_guessed():
    with pytest.raises(ValueError, match="1 videos, and 0 second_per_grid_ts"):
        call("qwen2_5_vl", LONG, video_grid_thw=GRID)


@pytest.mark.parametrize("family", ["llava_onevision", "smolvlm", "unheard_of"])
def test_families_with_one_dimension_need_nothing(family):
    assert "position_ids" not in call(family, LONG)


def test_training_evaluation_film_and_packing_have_the_same_positions(model, clips, encoder, tokenizer, nano):
    """A clip of 40 s: patches 20 s and so 80 positions apart, each 8 × 8 tokens."""
    clip = replace(clips[0], frame_indices=(0, 10, 20, 30), fps=1.0)
    batch = collate([encoder(clip)], tokenizer.pad_token_id)
    received = []
    model.get_decoder().register_forward_pre_hook(
        lambda _, args, kwargs: received.append(kwargs["position_ids"]), with_kwargs=True
    )
    trained = Trained(model, tokenizer, encoder, [])
    SupervisedModel(model, Objective(layers=(0,)))(batch.inputs, batch.labels_BL, batch.nouns)
    with torch.no_grad():
        read(trained, batch, batch.nouns, Objective(layers=(0,)))
        model.model(**pack([encoder(clip)], model.config).inputs)
    film(nano, trained, [clip], 0)
    training, evaluating, packed, filmed = received
    is_video_L = batch.inputs["mm_token_type_ids"][0] == VIDEO_TYPE
    first = int(is_video_L.nonzero()[0])
    time_L = training[0, 0]
    assert time_L[is_video_L].unique().tolist() == [first, first + 80]
    assert time_L[int(is_video_L.nonzero()[-1]) + 1 :].tolist()[:3] == [first + 81, first + 82, first + 83]
    for other in (evaluating, packed[1:], filmed):
        assert torch.equal(training, other)


def test_a_supervised_model_refuses_video_without_token_types_with_and_without_nouns(model, clips, batch_of):
    batch = batch_of(clips[0])
    del batch.inputs["mm_token_type_ids"]
    for objective in (Objective(layers=(0,)), Objective(layers=(0,), mask_weight=0)):
        with pytest.raises(ValueError, match="mm_token_type_ids are missing"):
            SupervisedModel(model, objective)(batch.inputs, batch.labels_BL, batch.nouns)
