"""A run saved on two ranks goes on: on two with the same bytes, on one, or on two that hold it otherwise, with the same
numbers but for rounding."""

import json
from dataclasses import dataclass
from functools import partial

import pytest
import torch
import torch.distributed as dist

from swim import models
from swim.checkpoint import Checkpoint, Piece, Snapshot, facts_file, tensors_file
from swim.outputs import MetricPoint
from swim.recipe import HubModel, Lora, Optim
from swim.train import Host, train

SAVED, MORE = 2, 10


@dataclass(frozen=True)
class Way:
    """What is trained, and how two ranks hold it. Among numbers of another rounding bf16 weights part sooner."""

    shard: bool
    lora: bool = False
    checkpointing: bool = False
    weights: str = "float32"

    @property
    def tolerance(self) -> float:
        return 1e-4 if self.weights == "float32" else 1e-2

    def __str__(self) -> str:
        parts = "fsdp" if self.shard else "ddp", "lora" if self.lora else "full", self.weights
        return " ".join(parts) + (" checkpointing" if self.checkpointing else "")


CORE = Way(shard=True, checkpointing=True)
ALL = [
    *(Way(shard, lora, checkpointing) for shard in (False, True) for lora in (False, True) for checkpointing in (0, 1)),
    *(Way(shard, lora, True, "bfloat16") for shard in (False, True) for lora in (False, True)),
]


@pytest.fixture
def recipe_of(nano, tmp_path):
    models.save(*models.build(nano.model), tmp_path / "base")

    def recipe(way):
        spec = HubModel(
            path=str(tmp_path / "base"),
            dtype=way.weights,
            weights=way.weights,
            layers=3,
            cell_px=8,
            lora=Lora(rank=3, alpha=4) if way.lora else None,  # no multiple of the ranks
            gradient_checkpointing=way.checkpointing,
        )
        return nano.override({"model": spec, "optim": Optim(steps=SAVED + MORE, batch=2, warmup_steps=2)})

    return recipe


def state_of(trained):
    return {name: tensor.clone() for name, tensor in trained.model.state_dict().items()}


def save(folder, step, values, now):
    if step == SAVED:
        now.checkpoint().save(folder)


def runs(rank, folder, cases, clips):
    """On either rank: a run that is saved on its way, the same resumed, and resumed where ranks hold it otherwise."""
    for way, recipe in cases.items():
        place = folder / str(way)
        whole = train(recipe, clips, host=Host(shard=way.shard, on_step=partial(save, place)))
        dist.barrier()
        again = train(recipe, clips, host=Host(shard=way.shard, resume=Checkpoint.load(place)))
        assert again.curve == whole.curve
        otherwise = train(recipe, clips, host=Host(shard=not way.shard, resume=Checkpoint.load(place)))
        check_losses(otherwise.curve, whole.curve, way.tolerance)
        if rank == 0:
            first, second = state_of(whole), state_of(again)
            assert first.keys() == second.keys()
            assert all(torch.equal(first[name], second[name]) for name in first)
            (place / "curve.json").write_text(json.dumps([[p.step, p.name, p.value] for p in whole.curve]))


def check_losses(ours, wanted, tolerance):
    wanted = {(p.step, p.name): p.value for p in wanted if p.name == "loss"}
    ours = {(p.step, p.name): p.value for p in ours if p.name == "loss"}
    assert len(ours) == len(wanted) == SAVED + MORE
    assert ours == pytest.approx(wanted, rel=tolerance)


def check(ways, recipe_of, clips, tmp_path, two_ranks):
    cases = {way: recipe_of(way) for way in ways}
    two_ranks(runs, tmp_path, cases, clips)
    for way, recipe in cases.items():
        saved = Checkpoint.load(tmp_path / str(way))
        assert (saved.step, len(saved.pieces)) == (SAVED, 2)
        assert any(piece.rows < piece.shape[0] for piece in saved.pieces[0].values() if piece.shape) == way.shard
        wanted = [
            MetricPoint(step=step, name=name, value=value)
            for step, name, value in json.loads((tmp_path / str(way) / "curve.json").read_text())
        ]
        seen = []
        host = Host(resume=saved, on_step=lambda step, values, now, seen=seen: seen.append(step))
        check_losses(train(recipe, clips, host=host).curve, wanted, way.tolerance)
        assert seen == list(range(SAVED + 1, SAVED + MORE + 1))


def test_a_run_of_two_ranks_goes_on_on_two_and_on_one(recipe_of, clips, tmp_path, two_ranks):
    check([CORE], recipe_of, clips, tmp_path, two_ranks)


@pytest.mark.slow
def test_every_way_of_training_goes_on(recipe_of, clips, tmp_path, two_ranks):
    check([way for way in ALL if way != CORE], recipe_of, clips, tmp_path, two_ranks)


def on_both(rank, folder, recipe, clips, wanted):
    resumed = train(recipe, clips, host=Host(shard=True, resume=Checkpoint.load(folder)))
    check_losses(resumed.curve, wanted, 1e-4)


@pytest.mark.slow
def test_a_run_of_one_process_goes_on_on_two(recipe_of, clips, tmp_path, two_ranks):
    recipe = recipe_of(CORE)
    whole = train(recipe, clips, host=Host(on_step=partial(save, tmp_path / "step")))
    two_ranks(on_both, tmp_path / "step", recipe, clips, whole.curve)


@pytest.mark.fault(
    injection="a file of one rank is missing in a step checkpoint, or lacks rows",
    symptom="a part of the weights starts from nothing",
    expected="error says what is missing",
)
def test_a_checkpoint_that_is_not_whole_is_refused(nano, clips, tmp_path):
    train(nano, clips, host=Host(on_step=lambda step, values, now: now.checkpoint().save(tmp_path)))
    facts = json.loads((tmp_path / facts_file(0)).read_text())
    name = next(name for name in facts["pieces"] if name.startswith("model."))
    first, rows, shape = facts["pieces"][name]
    facts["pieces"][name] = [first, rows - 1, shape]
    (tmp_path / facts_file(0)).write_text(json.dumps(facts))
    with pytest.raises(ValueError, match="the checkpoint lacks rows of"):
        train(nano, clips, host=Host(resume=Checkpoint.load(tmp_path)))
    (tmp_path / facts_file(0)).write_text(json.dumps(facts | {"ranks": 2}))
    with pytest.raises(FileNotFoundError, match=facts_file(1)):
        Checkpoint.load(tmp_path)
    (tmp_path / facts_file(1)).write_text(json.dumps(facts | {"ranks": 2, "step": 1}))
    with pytest.raises(ValueError, match="not of one step"):
        Checkpoint.load(tmp_path)


def test_shares_of_any_size_are_read_from_shares_of_any_other(tmp_path):
    whole, curve = torch.arange(14.0).reshape(7, 2), ()
    for rank, (first, end) in enumerate([(0, 3), (3, 6), (6, 7)]):
        shares = {"w": Piece(first, end - first, (7, 2))}
        Snapshot(5, {"w": whole[first:end].clone(), "n": torch.tensor(9.0)}, curve, shares, rank, 3).save(tmp_path)
    saved = Checkpoint.load(tmp_path)
    assert saved.shapes() == {"w": (7, 2), "n": ()}
    opened = []

    def file(name):
        opened.append(name)
        return original(name)

    original = saved.file
    for own in range(3):
        opened.clear()
        target, number = torch.zeros(7, 2), torch.zeros(())
        Checkpoint(5, curve, saved.pieces, file).read({"w": target, "n": number}, own)
        assert torch.equal(target, whole)
        assert number == 9
        assert opened[0] == tensors_file(own)
        assert sorted(opened) == [tensors_file(rank) for rank in range(3)]
    opened.clear()
    Checkpoint(5, curve, saved.pieces, file).read({"n": number}, 1)
    assert opened == [tensors_file(1)]
