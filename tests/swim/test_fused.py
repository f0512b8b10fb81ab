"""Compiled norms, gates and rotary embeddings: the same numbers through the graph that torch captured, one graph for
all layers, and nothing left behind."""

from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters

from swim.models import tiny
from swim.models.fused import compiled_elementwise
from swim.recipe import TinyModel
from swim.supervision.attention import attach

SHAPE = TinyModel(layers=3)


@pytest.fixture
def model() -> Any:
    built, _ = tiny.build(SHAPE)
    attach(built)
    built.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return built.train()


def gradients(model: Any, length: int) -> dict[str, torch.Tensor]:
    model.zero_grad()
    ids = torch.randint(10, 30, (1, length), generator=torch.Generator().manual_seed(length))
    model(input_ids=ids).logits.square().sum().backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_a_compiled_model_computes_the_same(model: Any) -> None:
    lengths = (24, 31, 45)
    expected = [gradients(model, length) for length in lengths]
    counters.clear()
    # The graph is what torch captured; it is run by eager kernels, which need no compiler.
    with compiled_elementwise(model.model.language_model, "aot_eager") as counts:
        assert counts == {"norm": 2 * SHAPE.layers + 1, "mlp": SHAPE.layers, "rotary": SHAPE.layers}
        for length, before in zip(lengths, expected, strict=True):
            after = gradients(model, length)
            assert before.keys() == after.keys()
            for name in before:
                torch.testing.assert_close(after[name], before[name], rtol=1e-3, atol=1e-4)
    # Three functions, each for the first length and once more for any length.
    assert counters["stats"]["unique_graphs"] == 6
    assert not any("forward" in vars(module) for module in model.modules())
    after = gradients(model, 24)
    assert all(torch.equal(after[name], expected[0][name]) for name in after)


def test_another_model_of_the_class_is_not_compiled(model: Any) -> None:
    other, _ = tiny.build(SHAPE)
    with compiled_elementwise(model, "aot_eager") as counts:
        assert counts["norm"] > 2 * SHAPE.layers + 1  # with those of the vision tower
        counters.clear()
        other(input_ids=torch.tensor([[11, 12, 13]]))
        assert counters["stats"].get("unique_graphs", 0) == 0


def test_a_forward_of_somebody_else_is_left_alone(model: Any) -> None:
    norm = model.model.language_model.norm
    norm.forward = lambda hidden: hidden
    with compiled_elementwise(model.model.language_model, "aot_eager") as counts:
        assert counts["norm"] == 2 * SHAPE.layers
    assert "forward" in vars(norm)
