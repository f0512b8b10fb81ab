"""Two ranks give what one gives, but for rounding: every loss is a global sum ÷ a global count."""

import json
from dataclasses import replace

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from swim.train import Host, train


def run(rank, folder, recipe, clips):
    """One of two processes; rank 0 writes the curve."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    told = []
    train(recipe, clips, host=Host(micro_batch=1, on_step=lambda step, values: told.append(values)))
    dist.destroy_process_group()
    if rank == 0:
        (folder / "curve.json").write_text(json.dumps(told))


def test_two_ranks_of_unequal_clips_train_as_one(nano, clips, tmp_path):
    # Between the ranks labels and maps differ in number, and one conversation has no mask at all.
    uneven = [
        replace(clip, turns=clip.turns[:n], masks=clip.masks[: 2 * n])
        for clip, n in zip(clips, (1, 2, 3) * 2, strict=True)
    ]
    uneven[4] = replace(uneven[4], masks=())
    alone = []
    train(nano, uneven, host=Host(on_step=lambda step, values: alone.append(values)))
    mp.spawn(run, args=(tmp_path, nano, uneven), nprocs=2)
    together = json.loads((tmp_path / "curve.json").read_text())
    assert len(alone) == len(together) == 3
    assert together[0] == pytest.approx(alone[0], rel=1e-5)
    for one, two in zip(alone, together, strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-4)


def test_a_batch_that_does_not_divide_over_the_ranks_is_refused(nano, clips, monkeypatch):
    monkeypatch.setattr("swim.train._ranks", lambda: (0, 3))
    with pytest.raises(ValueError, match=r"optim.batch 4 does not divide over 3 workers"):
        train(nano, clips)
