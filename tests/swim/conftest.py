"""A handful of easy clips and the smallest model they fit, built once and copied for each test."""

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import ranks
import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from swim import models
from swim.data.annotations.samples import parse_row
from swim.data.encode import Batch, Encoder, collate
from swim.data.family import Family, family_of
from swim.data.synthetic.shapes_world import row
from swim.data.types import Clip
from swim.models import tiny
from swim.recipe import Optim, Recipe, ShapesWorld, TinyModel

SHAPE = TinyModel(hidden=32, layers=3, heads=4, kv_heads=2, intermediate=32, vision_hidden=16, vision_depth=1)
DATA = ShapesWorld(objects=3, clips=6, held_out=2, seed=2)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., None]]:
    """See `ranks.two_ranks`."""
    with ranks.two_ranks(tmp_path_factory) as run:
        yield run


@pytest.fixture(scope="session")
def clips() -> tuple[Clip, ...]:
    """Six clips of three objects, two tags and one turn each. The frames as drawn, because golden numbers must not
    depend on a codec."""

    def clip(index: int) -> Clip:
        entry, frames_THWC = row(DATA, "train", index)
        sample = parse_row(json.loads(json.dumps(entry)), file="easy.json", row=index)
        return Clip(sample.key, sample.turns, frames_THWC, (0, 1, 2, 3), 4.0, sample.tracks)

    return tuple(clip(index) for index in range(DATA.clips))


@pytest.fixture(scope="session")
def _built() -> tuple[Any, Any]:
    return tiny.build(SHAPE)


@pytest.fixture
def stock(_built: tuple[Any, Any]) -> Any:
    """A model as transformers makes it, in eval mode."""
    return copy.deepcopy(_built[0])


@pytest.fixture
def recorded(stock: Any) -> Iterator[tuple[Any, dict[int, tuple[torch.Tensor, torch.Tensor]]]]:
    """A stock model that notes queries and keys (rotated) of every layer; nothing of ours is attached to it."""
    seen: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def note(module: Any, query: torch.Tensor, key: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        seen[module.layer_idx] = (query.detach().double(), key.detach().double())
        return ALL_ATTENTION_FUNCTIONS["sdpa"](module, query, key, *args, **kwargs)

    AttentionInterface.register("noting", note)
    AttentionMaskInterface.register("noting", ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
    stock.get_decoder().config._attn_implementation = "noting"
    yield stock, seen
    del AttentionInterface._global_mapping["noting"], AttentionMaskInterface._global_mapping["noting"]


@pytest.fixture
def model(stock: Any) -> Any:
    """The same weights, probe attached and vision frozen, as `swim.models.build` leaves them."""
    models.attach(stock)
    stock.model.visual.requires_grad_(False)
    return stock


@pytest.fixture(scope="session")
def tokenizer(_built: tuple[Any, Any]) -> Any:
    return _built[1]


@pytest.fixture(scope="session")
def family(tokenizer: Any) -> Family:
    return family_of(tiny.config(SHAPE, tokenizer))


@pytest.fixture(scope="session")
def encoder(tokenizer: Any, family: Family) -> Encoder:
    return Encoder(tokenizer, family, system=None)


@pytest.fixture(scope="session")
def batch_of(encoder: Encoder, tokenizer: Any) -> Callable[..., Batch]:
    return lambda *chosen: collate([encoder(clip) for clip in chosen], tokenizer.pad_token_id)


@pytest.fixture
def nano() -> Recipe:
    """Three steps of SWIM on the six clips."""
    return Recipe(
        name="nano",
        model=SHAPE,
        data=DATA,
        optim=Optim(steps=3, batch=4, warmup_steps=1),
        objective={"layers": (0, 2)},
        evaluation={"attention": {"readout": {"layers": (0, 2)}}},
    )
