"""A frozen tower as a GPU runs it: the same features, and the same files, as stock transformers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import Qwen2_5_VLForConditionalGeneration

from swim import models
from swim.models import tiny, vision
from swim.recipe import TinyModel

SHAPE = TinyModel(vision_hidden=48)  # its MLP is 96 wide
GRID = torch.tensor([[2, 8, 8], [1, 4, 12]])


@pytest.fixture
def model() -> Any:
    built, _ = tiny.build(SHAPE)
    built.model.visual.requires_grad_(False)
    return built


def features(model: Any) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    patches = torch.randn(int(GRID.prod(1).sum()), 3 * 2 * 4 * 4, generator=generator)
    # As in the 7B: most blocks attend within windows, which are many sequences a frame.
    model.model.visual.fullatt_block_indexes, model.model.visual.window_size = [1], 16
    with torch.no_grad():
        out: Tensor = model.model.visual(patches, grid_thw=GRID).pooler_output
    return out


def test_one_attention_call_a_layer_gives_the_same_features(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = features(model)
    calls: list[int] = []
    own = vision.varlen_attention

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(len(kwargs["cu_seq_lens_q"]) - 1)
        return own(*args, **kwargs)

    monkeypatch.setattr(vision, "varlen_attention", counted)
    vision.use_varlen_attention(model.model.visual)
    assert torch.equal(features(model), expected)
    assert len(calls) == SHAPE.vision_depth
    assert calls[0] > calls[1] == 3  # windows, then frames


def test_a_tower_in_the_graph_is_refused(model: Any) -> None:
    vision.use_varlen_attention(model.model.visual)
    with pytest.raises(RuntimeError, match="freeze it"):
        model.model.visual(torch.randn(64, 96, requires_grad=True), grid_thw=torch.tensor([[1, 8, 8]]))


def test_padding_changes_no_feature(model: Any) -> None:
    expected = features(model)
    assert vision.pad_mlps(model.model.visual) == SHAPE.vision_depth
    mlp = model.model.visual.blocks[0].mlp
    assert mlp.gate_proj.weight.shape == (128, 48)
    assert mlp.down_proj.weight.shape == (48, 128)
    torch.testing.assert_close(features(model), expected, rtol=1e-5, atol=1e-5)
    assert vision.pad_mlps(model.model.visual) == 0


def test_a_padded_tower_is_saved_and_loaded_in_its_original_shapes(model: Any, tmp_path: Path) -> None:
    _, tokenizer = tiny.build(SHAPE)
    models.save(model, tokenizer, tmp_path / "before")
    vision.use_varlen_attention(model.model.visual)
    vision.pad_mlps(model.model.visual)
    models.save(model, tokenizer, tmp_path / "after")
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("before", "after"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    configs = [(tmp_path / name / "config.json").read_text() for name in ("before", "after")]
    assert configs[0] == configs[1]
    stock = Qwen2_5_VLForConditionalGeneration.from_pretrained(tmp_path / "after")
    torch.testing.assert_close(features(stock), features(model), rtol=1e-5, atol=1e-5)
    # The other way: weights in their original shapes into a padded model.
    features_before = features(model)
    state = {name: tensor * 2 if "mlp" in name else tensor for name, tensor in stock.state_dict().items()}
    model.load_state_dict(state)
    assert model.model.visual.blocks[0].mlp.down_proj.weight.shape == (48, 128)
    assert not torch.allclose(features(model), features_before)
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())


def test_trained_weights_are_not_padded(model: Any) -> None:
    model.model.visual.requires_grad_(True)
    with pytest.raises(ValueError, match="freeze the tower"):
        vision.pad_mlps(model.model.visual)


def test_nothing_changes_for_a_cpu(model: Any) -> None:
    vision.prepare_vision(model, torch.device("cpu"))
    assert model.model.visual.config._attn_implementation != vision.VARLEN
    assert model.model.visual.blocks[0].mlp.gate_proj.out_features == 96


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_the_kernel_gives_the_features_of_sdpa() -> None:
    built, _ = tiny.build(TinyModel(vision_hidden=64))
    model = built.cuda().bfloat16()
    model.model.visual.requires_grad_(False)
    patches = torch.randn(256, 96, device="cuda", dtype=torch.bfloat16)
    grid = torch.tensor([[4, 8, 8]], device="cuda")
    with torch.no_grad():
        expected = model.model.visual(patches, grid_thw=grid).pooler_output
        vision.prepare_vision(model, torch.device("cuda"))
        torch.testing.assert_close(
            model.model.visual(patches, grid_thw=grid).pooler_output, expected, rtol=0.05, atol=0.05
        )
