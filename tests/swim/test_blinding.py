"""Rows made blind to the video, in five stock families: what eager attention under a whole mask gives, and no other row
of a layer changes."""

import copy

import pytest
import torch
from tiny_families import FAMILIES, build, collate, samples
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from swim.data.documents import documents
from swim.data.positions import with_positions
from swim.recipe import Readout
from swim.supervision.attention import attach
from swim.supervision.blinding import BlindRows
from swim.supervision.forward import last_hidden
from swim.supervision.maps import plan_reading

CPU = torch.device("cpu")
families = pytest.mark.parametrize("name", FAMILIES)
bases = pytest.mark.parametrize("base", ["sdpa", "eager"])


def masked(module, query, key, value, attention_mask, hidden, **kwargs):
    """Eager attention with −∞ at `hidden`: (batch row, query position, key positions)."""
    key, value = (x.repeat_interleave(query.shape[1] // key.shape[1], 1) for x in (key, value))
    scores = query @ key.transpose(2, 3) * kwargs["scaling"] + attention_mask
    for row, position, columns in hidden:
        scores[row, :, position, columns] = -torch.inf
    weights = scores.softmax(-1)
    return (weights @ value).transpose(1, 2).contiguous(), weights


@pytest.fixture(scope="module", autouse=True)
def _masked():
    AttentionInterface.register("masked", masked)
    AttentionMaskInterface.register("masked", ALL_MASK_ATTENTION_FUNCTIONS["eager"])


def probed(name, base):
    model = build(name)
    model.get_decoder().config._attn_implementation = base
    attach(model)
    return model


def planned(model, inputs, nouns):
    """The rows to blind, and the same by hand."""
    found = documents(model.config, inputs)
    reading = plan_reading(found, nouns, Readout(layers="all", query="noun-mean"), model, CPU)
    hidden = [
        (found[i].row, position, found[i].visual.columns_K)
        for i, of_document in enumerate(nouns)
        for noun in of_document
        for position in noun.tokens
    ]
    return reading.probe.blind_rows(), hidden


@families
@pytest.mark.parametrize(("base", "side"), [("sdpa", "left"), ("eager", "right")])
def test_blind_rows_are_eager_attention_under_a_mask_and_so_is_their_gradient(name, base, side):
    model, family = probed(name, base), FAMILIES[name]
    inputs, _, nouns = collate(family, samples(family), side)
    blind, hidden = planned(model, inputs, nouns)
    assert len({len([h for h in hidden if h[0] == row]) for row in range(3)}) > 1  # so that rows are padded
    oracle = copy.deepcopy(model)
    oracle.get_decoder().config._attn_implementation = "masked"
    wanted_BLD = oracle.model(**with_positions(model.config, inputs), use_cache=False, hidden=hidden).last_hidden_state
    found_BLD = last_hidden(model, inputs, None, blind)
    real = inputs["attention_mask"].bool()
    torch.testing.assert_close(found_BLD[real], wanted_BLD[real], rtol=1e-4, atol=1e-5)
    seeing_BLD = last_hidden(model, inputs, None)
    rows = torch.tensor([(row, position) for row, position, _ in hidden]).T
    assert (found_BLD - seeing_BLD)[tuple(rows)].abs().amax(-1).min() > 0.01

    weight = torch.randn(wanted_BLD.shape, generator=torch.Generator().manual_seed(0)) * real[..., None]
    for of_model, output in ((model, found_BLD), (oracle, wanted_BLD)):
        (output * weight).sum().backward()
        assert of_model.get_decoder().layers[0].self_attn.q_proj.weight.grad.abs().max() > 0
    pairs = [(p.grad, q.grad) for p, q in zip(model.parameters(), oracle.parameters(), strict=True)]
    total = torch.stack([q.norm() for _, q in pairs if q is not None]).norm()
    assert all((p is None) == (q is None) for p, q in pairs)
    assert torch.stack([(p - q).norm() for p, q in pairs if p is not None]).norm() < 1e-4 * total


@families
@bases
def test_nothing_else_changes(name, base):
    """The first layer's output: blind rows differ, all others are the same to the bit; so is a pass without them."""
    model, family = probed(name, base), FAMILIES[name]
    inputs, _, nouns = collate(family, samples(family))
    blind, hidden = planned(model, inputs, nouns)
    outputs = []
    first = model.get_decoder().layers[0].self_attn
    hook = first.register_forward_hook(lambda module, args, output: outputs.append(output[0]))
    with torch.no_grad():
        plain_BLD = last_hidden(model, inputs, None)
        last_hidden(model, inputs, None, blind)
        hook.remove()
        model.get_decoder().config._attn_implementation = base
        assert torch.equal(
            model.model(**with_positions(model.config, inputs), use_cache=False).last_hidden_state, plain_BLD
        )
    same_BL = (outputs[0] == outputs[1]).all(-1)
    changed = {(row, position) for row, position, _ in hidden}
    assert {tuple(place) for place in (~same_BL).nonzero().tolist()} == changed


def test_a_row_without_padding_has_no_mask_in_sdpa_and_is_causal_all_the_same():
    family = FAMILIES["qwen2_5_vl"]
    inputs, _, nouns = collate(family, samples(family)[:1])
    models = {base: probed("qwen2_5_vl", base) for base in ("sdpa", "eager")}
    with torch.no_grad():
        found = {
            base: last_hidden(model, inputs, None, planned(model, inputs, nouns)[0]) for base, model in models.items()
        }
    torch.testing.assert_close(found["sdpa"], found["eager"], rtol=1e-4, atol=1e-5)


def test_attention_with_something_for_every_query_is_refused():
    blind = BlindRows(torch.tensor([0]), torch.tensor([[2]]), torch.tensor([[0, 1]]), torch.ones(1, 2, dtype=bool))
    heads = torch.zeros(1, 2, 4, 8)
    with pytest.raises(ValueError, match="position_bias, which cannot be cut to a few rows"):
        blind.apply((heads.transpose(1, 2), None), None, None, heads, heads, heads, None, {"position_bias": heads})
