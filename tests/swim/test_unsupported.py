"""Scores and logits that SWIM does not compute are refused, and layers without softmax attention are not chosen."""

import pytest
import torch
from tiny_families import FAMILIES, MROPE, PAD, TEXT, TOWER, collate, samples
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GptOssConfig,
    Llama4TextConfig,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3_5TextConfig,
)

from swim.data.documents import Document, Noun, Visual
from swim.data.types import Rle
from swim.recipe import Objective, Readout
from swim.supervision.attention import attach
from swim.supervision.maps import check_readout, plan_reading
from swim.supervision.objective import SupervisedModel
from swim.supervision.unsupported import softmax_layers

CPU = torch.device("cpu")
SMALL = {key: value for key, value in TEXT.items() if key != "max_position_embeddings"} | {"head_dim": 8}


def sliding(window):
    """Full, sliding, full."""
    types = ["full_attention", "sliding_attention", "full_attention"]
    text = TEXT | MROPE | {"use_sliding_window": True, "sliding_window": window, "layer_types": types}
    vision = {"out_hidden_size": 32, "intermediate_size": 24, "window_size": 8, "fullatt_block_indexes": [1]}
    config = Qwen2_5_VLConfig(text_config=text, vision_config=TOWER | vision, **FAMILIES["qwen2_5_vl"].ids())
    torch.manual_seed(0)
    return Qwen2_5_VLForConditionalGeneration(config)


def supervise(model, layers):
    family = FAMILIES["qwen2_5_vl"]
    return SupervisedModel(model, Objective(layers=layers))(*collate(family, samples(family)[:1]))


def test_a_window_shorter_than_the_sample_is_refused_in_a_supervised_layer():
    length = len(samples(FAMILIES["qwen2_5_vl"])[0].ids)
    message = rf"layer 1 attends to {length - 1} tokens \(config.sliding_window\), and a sample has {length}"
    for layers in ((1,), "all"):
        with pytest.raises(ValueError, match=message):
            supervise(sliding(length - 1), layers)
    assert supervise(sliding(length - 1), (0, 2)).mask_count > 0
    # One that holds the sample is none, and the longer row of a batch does not matter.
    model, family = sliding(length), FAMILIES["qwen2_5_vl"]
    inputs, labels_BL, nouns = collate(family, samples(family)[:1])
    padded = {
        k: torch.nn.functional.pad(v, (0, 4), value=PAD) if v.shape == labels_BL.shape else v for k, v in inputs.items()
    }
    wide_BL = torch.nn.functional.pad(labels_BL, (0, 4), value=-100)
    wide = SupervisedModel(model, Objective(layers="all"))(padded, wide_BL, nouns)
    torch.testing.assert_close(wide.mask_sum, supervise(sliding(99), "all").mask_sum)


def reading(model, readout, length=12):
    """A text as if tokens 2 to 5 were a video of one frame of 2 × 2 tokens, and token 8 a noun."""
    ids_BL = torch.randint(1, 60, (1, length), generator=torch.Generator().manual_seed(1))
    document = Document(0, 0, length, Visual(torch.arange(2, 6), (1, 2, 2), 1))
    noun = Noun((8,), {0: Rle(height=2, width=2, counts="04")})
    return ids_BL, plan_reading([document], [[noun]], readout, model, CPU)


def run(config, layers=(0, 1), implementation="eager"):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=implementation).eval()
    attach(model)
    ids_BL, planned = reading(model, Readout(layers=layers))
    attentions = model(ids_BL, use_cache=False, probe=planned.probe, output_attentions=True).attentions
    return planned.probe.stacked_SNRK()[:, 0, 0], attentions


MOE = {"num_local_experts": 2, "num_experts_per_tok": 1}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (Gemma2Config(**SMALL, final_logit_softcapping=None), r"layer 0: scores are capped \(config.attn_logit_soft"),
        (Gemma2Config(**SMALL), r"config.final_logit_softcapping is 30.0.*set it to None"),
        (GptOssConfig(**SMALL, **MOE), "layer 0: attention sinks"),
        (
            Llama4TextConfig(**SMALL, **MOE, intermediate_size_mlp=48, attention_chunk_size=8),
            r"layer 0 attends to 8 tokens \(config.attention_chunk_size\), and a sample has 12",
        ),
    ],
    ids=["capped scores", "capped logits", "sinks", "chunks"],
)
def test_what_changes_scores_or_logits_is_refused(config, message):
    with pytest.raises(ValueError, match=message):
        run(config)


def test_without_the_cap_the_same_model_is_read():
    maps_SK, attentions = run(
        Gemma2Config(**SMALL, final_logit_softcapping=None, attn_logit_softcapping=None, query_pre_attn_scalar=8)
    )
    for map_K, a_BHLL in zip(maps_SK, attentions, strict=False):
        row_HK = a_BHLL[0, :, 8, 2:6]
        torch.testing.assert_close(map_K, (row_HK / row_HK.sum(-1, keepdim=True)).mean(0))


def hybrid(layers):
    return Qwen3_5TextConfig(
        **SMALL | {"num_hidden_layers": layers, "num_attention_heads": 4},
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        linear_num_key_heads=2,
        linear_num_value_heads=4,
    )


@pytest.mark.parametrize(
    ("choice", "layers"),
    [
        ("all", (3, 7, 11, 15)),
        ("even:2", (7, 15)),
        ("first:0.5", (3, 7)),
        ("last:1", (15,)),
        ("single:2", (11,)),
        ((7, 3), (3, 7)),
    ],
)
def test_choices_are_of_the_layers_with_softmax_attention(choice, layers):
    """Qwen3.5 has full attention in every fourth layer."""
    assert softmax_layers(hybrid(16)) == (3, 7, 11, 15)
    assert check_readout(Readout(layers=choice), hybrid(16)) == layers


def test_layers_without_softmax_attention_are_refused():
    with pytest.raises(ValueError, match=r"layers \[0, 2\] have no softmax attention.*\[3, 7\]"):
        check_readout(Readout(layers=(0, 2, 3)), hybrid(8))
    with pytest.raises(ValueError, match="asks for 6 layers; the model has 2"):
        check_readout(Readout(layers="even:6"), hybrid(8))


def test_a_hybrid_model_is_read_where_it_attends():
    maps_SK, attentions = run(hybrid(8), layers="all")
    full = [a_BHLL for a_BHLL in attentions if a_BHLL is not None]
    assert len(maps_SK) == len(full) == 2
    for map_K, a_BHLL in zip(maps_SK, full, strict=True):
        row_HK = a_BHLL[0, :, 8, 2:6]
        torch.testing.assert_close(map_K, (row_HK / row_HK.sum(-1, keepdim=True)).mean(0))
