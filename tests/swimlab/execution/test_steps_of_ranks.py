"""Two ranks save a step into a store; those of the next attempt find it, check it together, and go on from it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import ranks
import torch

import nano
from swim.data.annotations.samples import parse_row
from swim.data.synthetic.shapes_world import row
from swim.data.types import Clip
from swim.recipe import Recipe
from swim.train import Host, Moment, train
from swimlab.execution.resume_points import latest
from swimlab.execution.step_checkpoints import StepCheckpoints
from swimlab.store.backends.local import LocalBackend
from swimlab.store.sweep_store import Attempt

CPU, SAVED = {"device": "cpu", "world_size": 2}, 2
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., None]]:
    with ranks.two_ranks(tmp_path_factory) as run:
        yield run


def clips_of(recipe: Recipe) -> list[Clip]:
    clips = []
    for index in range(recipe.data.clips):
        entry, frames_THWC = row(recipe.data, "train", index)
        sample = parse_row(json.loads(json.dumps(entry)), file="drawn.json", row=index)
        clips.append(Clip(sample.key, sample.turns, frames_THWC, (0, 1, 2, 3), 4.0, sample.tracks))
    return clips


def save_and_go_on(rank: int, folder: Path, shard: bool) -> None:
    recipe = nano.recipe(steps=5, base=False)
    clips, backend = clips_of(recipe), LocalBackend(folder)
    first, second, third = (Attempt(backend, "t", number, f"nonce{number}") for number in (1, 2, 3))

    def save(step: int, values: dict[str, float], now: Moment) -> None:
        if step == SAVED:
            saved.save(now, [], "5eed")
            saved.wait()

    with StepCheckpoints(first, CPU, every_s=1e9) as saved:
        whole = train(recipe, clips, host=Host(shard=shard, on_step=save))
    point = latest(backend, second, CPU, torch.device("cpu"))
    assert point is not None
    assert point.run.step == SAVED
    assert train(recipe, clips, host=Host(shard=shard, resume=point.run)).curve == whole.curve
    # Damage that only one of them looks at keeps both from using it.
    torch.distributed.barrier()
    if rank == 0:
        (folder / f"attempts/t/1/steps/{SAVED}/rank-00001.safetensors").write_bytes(b"something else")
    torch.distributed.barrier()
    assert latest(backend, third, CPU, torch.device("cpu")) is None


@pytest.mark.parametrize("shard", [False, True])
def test_two_ranks_go_on_from_what_they_saved_together(
    tmp_path: Path, two_ranks: Callable[..., None], shard: bool
) -> None:
    two_ranks(save_and_go_on, tmp_path, shard)
