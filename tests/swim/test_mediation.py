"""The suite `mediation` on models built by hand that read an answer through the noun, by themselves, or not at all."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from swim.data.synthetic.vocabulary import NOUNS, PATTERNS
from swim.data.types import AnswerSlot, Clip, Rle, Turn
from swim.evaluation.answer_ceiling import contested
from swim.evaluation.evaluate import run_suite
from swim.evaluation.mediation import require_softmax
from swim.supervision.attention import PREFIX, attach
from swim.train import Trained, encoder_for

WORDS = ("lemon", "plum", "wave")
SHARP = 50.0


def clip(key, patterns, turns=3):
    """Three stripes of 4 × 8 pixels, each in its noun's colour, half as bright where it is striped; of `turns` of them
    one turn each asks whether it is plain or striped."""
    frames_THWC = np.zeros((2, 16, 24, 3), np.uint8)
    for i, (noun, pattern) in enumerate(zip(WORDS, patterns, strict=True)):
        frames_THWC[:, :, 8 * i : 8 * i + 8] = np.array(NOUNS[noun]) // (1 + (pattern == "striped"))
    asked = []
    for noun, pattern in list(zip(WORDS, patterns, strict=True))[:turns]:
        slot = AnswerSlot(name="pattern", start=len("The video is "), end=len(f"The video is {pattern}"))
        asked.append(Turn(human=f"Describe the <ins>{noun}</ins>.", gpt=f"The video is {pattern}.", slots=(slot,)))
    masks = tuple({0: Rle(height=1, width=1, counts="01")} for _ in asked)
    return Clip(key, tuple(asked), frames_THWC, (0, 1), 4.0, masks)


class Stock(nn.Module):
    """Two layers of one head with weights written down. Blocks of the hidden state: which noun a token says (6), which
    one a visual token shows (6), its pattern (2), whether it is a noun, its place, what it has read (6 + 2).

    `path` "noun": the noun reads the pattern of what shows it, then every row reads the last noun. "answer": every row
    reads which noun was last, then looks for it. "none": nobody looks."""

    def __init__(self, config, tokenizer, path):
        super().__init__()
        self.config, self.path = config, path
        self.word_ids = [tokenizer.encode(f" {noun}")[0] for noun in NOUNS]
        self.lm_head = nn.Linear(2, len(tokenizer), bias=False)
        nn.init.zeros_(self.lm_head.weight)
        with torch.no_grad():
            for i, pattern in enumerate(PATTERNS):
                self.lm_head.weight[tokenizer.encode(f" {pattern}")[0], i] = 1.0
        self.layers = [
            SimpleNamespace(layer_idx=i, num_key_value_groups=1, is_causal=True, training=False) for i in (0, 1)
        ]

    def get_decoder(self):
        return SimpleNamespace(config=self.config.get_text_config())

    def attend(self, layer, query_BLD, key_BLD, value_BLD, **keywords):
        function = ALL_ATTENTION_FUNCTIONS[self.get_decoder().config._attn_implementation]
        heads = [x_BLD[:, None] for x_BLD in (query_BLD, key_BLD, value_BLD)]
        return function(self.layers[layer], *heads, None, scaling=1.0, **keywords)[0][:, :, 0]

    def model(self, input_ids, pixel_values_videos, probe=None, blind=(), **inputs):
        doors = {"probe": probe, "blind": blind}
        says_BLN = (input_ids[..., None] == torch.tensor(self.word_ids)).float()
        shown_BLN, pattern_BL2 = self.see(input_ids, pixel_values_videos)
        place_BL1 = torch.arange(input_ids.shape[1]).float()[None, :, None].expand(len(input_ids), -1, 1)
        last = (place_BL1 * 0 + 1, SHARP * place_BL1 * says_BLN.sum(-1, keepdim=True))  # of the nouns so far
        if self.path == "noun":
            read_BL2 = self.attend(0, SHARP * says_BLN, SHARP * shown_BLN, pattern_BL2, **doors)
            read_BL2 = read_BL2 * says_BLN.sum(-1, keepdim=True)
            output_BL2 = self.attend(1, *last, read_BL2, **doors)
        elif self.path == "answer":
            wanted_BLN = self.attend(0, *last, says_BLN, **doors)
            output_BL2 = self.attend(1, SHARP * wanted_BLN, SHARP * shown_BLN, pattern_BL2, **doors)
        else:
            output_BL2 = torch.zeros_like(pattern_BL2)
        return SimpleNamespace(last_hidden_state=output_BL2)

    def see(self, input_ids, pixels):
        """The noun of each visual token's colour, and its pattern by its brightness; zeros at text."""
        merge, video = self.config.vision_config.spatial_merge_size**2, input_ids == self.config.video_token_id
        rgb_X3 = pixels.reshape(int(video.sum()), merge, 3, -1).mean((1, 3))
        mean, std = torch.tensor(((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)))
        rgb_X3 = (rgb_X3 * std + mean) * 255
        colours = torch.tensor(list(NOUNS.values())).float()
        distance_X = torch.cdist(rgb_X3, torch.cat([colours, colours / 2]))
        nearest_X = distance_X.argmin(1)
        shown_BLN = torch.zeros(*input_ids.shape, len(NOUNS))
        pattern_BL2 = torch.zeros(*input_ids.shape, 2)
        shown_BLN[video] = torch.eye(len(NOUNS))[nearest_X % len(NOUNS)]
        pattern_BL2[video] = torch.eye(2)[nearest_X // len(NOUNS)]
        return shown_BLN, pattern_BL2


@pytest.fixture
def built(nano, stock, tokenizer):
    """path → metrics and scores of the suite, and the model's own recipe."""

    def measure(path, clips, **config):
        model = Stock(stock.config, tokenizer, path)
        model.config.get_text_config().num_hidden_layers = 2
        model.config.get_text_config()._attn_implementation = "sdpa"
        attach(model)
        assert model.config.get_text_config()._attn_implementation == PREFIX + "sdpa"
        recipe = nano.override({"evaluation": {"mediation": config}})
        return run_suite("mediation", recipe, Trained(model, tokenizer, encoder_for(nano, model, tokenizer), []), clips)

    return measure


CLIPS = [
    clip("differ", ("plain", "striped", "plain")),
    clip("all alike", ("striped", "striped", "striped")),
    clip("differ too", ("striped", "plain", "plain"), turns=2),
]
MEDIATED = {"noun": (1.0, 1.0, 0.0), "answer": (1.0, 0.0, 1.0), "none": (0.0, 0.0, 0.0)}
# A word that was read has the logit 1, all others have 0.
MARGINS = {"noun": 1.0, "answer": 1.0, "none": 0.0}


@pytest.mark.parametrize("path", MEDIATED)
def test_a_planted_model_is_told_by_its_path(built, path):
    accuracy, by_noun, by_answer = MEDIATED[path]
    result = built(path, CLIPS)
    wanted = {"accuracy": accuracy, "by_noun": by_noun, "by_answer": by_answer, "margin": MARGINS[path]}
    wanted = {f"mediation.{name}": value for name, value in wanted.items()}
    wanted |= {f"{name}.pattern": value for name, value in wanted.items()}
    assert result.metrics == pytest.approx(wanted | {"mediation.slots": 5.0}, abs=1e-5)
    assert [(row.key, row.turn) for row in result.scores if row.metric == "mediation.by_noun.pattern"] == [
        *(("differ", turn) for turn in range(3)),
        *(("differ too", turn) for turn in range(2)),
    ]


def test_the_rows_are_the_configurations(built):
    """Blind where the noun is predicted, the noun itself still sees."""
    assert built("noun", CLIPS, noun="before").metrics["mediation.by_noun"] == 0
    assert built("noun", CLIPS, noun="noun").metrics["mediation.by_noun"] == 1


def test_clips_without_contested_slots_or_tagged_objects_count_nothing(built):
    untagged = replace(CLIPS[0], key="untagged", masks=())
    assert built("noun", [CLIPS[1], untagged]).metrics == {"mediation.slots": 0.0}
    assert built("noun", [untagged, CLIPS[2]]).metrics["mediation.slots"] == 2
    # A turn that names two objects says of neither which rows should carry its answer.
    first, *others = CLIPS[0].turns
    both = first.model_copy(update={"human": "Describe the <ins>lemon</ins> and the <ins>plum</ins>."})
    two = replace(CLIPS[0], turns=(both, *others), masks=({0: Rle(height=1, width=1, counts="1")}, *CLIPS[0].masks))
    result = built("answer", [two])
    assert [row.turn for row in result.scores if row.metric == "mediation.by_answer.pattern"] == [1, 2]
    assert result.metrics["mediation.by_answer"] == 1


def test_contested_are_values_in_which_objects_differ_as_far_as_the_row_tells():
    def turn(size, pattern, commonest=None):
        end = len(size)
        slots = (
            AnswerSlot(name="size", start=0, end=end),
            AnswerSlot(name="pattern", start=end + 1, end=end + 1 + len(pattern), commonest=commonest),
        )
        return Turn(human="", gpt=f"{size} {pattern}", slots=slots)

    assert contested([turn("small", "plain"), turn("large", "plain")]) == [True, False, True, False]
    assert contested([turn("small", "plain", commonest="striped")]) == [False, True]
    assert contested([turn("small", "plain", commonest="plain")]) == [False, False]
    assert contested([]) == []


def test_a_model_with_layers_that_no_mask_blinds_is_refused():
    text = SimpleNamespace(num_hidden_layers=4, layer_types=[*["linear_attention"] * 3, "full_attention"])
    with pytest.raises(ValueError, match=r"layers \[0, 1, 2\] mix tokens without softmax"):
        require_softmax(SimpleNamespace(get_text_config=lambda: text))
