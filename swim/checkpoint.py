"""The state of a run between two steps: all that the remaining steps depend on. Safetensors and JSON, never pickled.

Each rank writes what it holds: a share of every weight and moment under FSDP2; under DDP rank 0 writes all of them, the
others their random state. In a folder of its own:

    rank-<r>.safetensors   model.<weight> · optimizer.<moment>.<weight> · generator[.cuda]
    rank-<r>.json          step, ranks, and of each tensor which rows of the whole it is; with rank 0's the curve

Any number of ranks, sharded or not, resumes from it and reads the rows that it needs. On as many ranks as saved it a
run ends with the same bytes as an uninterrupted one (on a CPU); on another number only rounding differs. Weights are
stored in fp32: a bf16 weight beside a master is that master, rounded.

torch.distributed.checkpoint can write safetensors, too. It is not used: to load, every rank needs the files of all
ranks on its disk, and an asynchronous save needs a process group with a CPU backend, which NCCL alone is not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from swim import parallel
from swim.optimizer import MasterAdamW
from swim.outputs import MetricPoint


def tensors_file(rank: int) -> str:
    """The name of the file with what a rank held."""
    return f"rank-{rank:05}.safetensors"


def facts_file(rank: int) -> str:
    """The name of the JSON file about a rank's tensors."""
    return f"rank-{rank:05}.json"


@dataclass(frozen=True)
class Piece:
    """Rows [first, first + rows) of a tensor whose shape is `shape`; a scalar counts as one row."""

    first: int
    rows: int
    shape: tuple[int, ...]

    @classmethod
    def of(cls, tensor: Tensor) -> Piece:
        """The rows that this rank holds. Raises ValueError for a tensor that is split otherwise than FSDP2 does."""
        shape, rows = tuple(tensor.shape), len(_rows(tensor))
        if not isinstance(tensor, DTensor):
            return cls(0, rows, shape)
        mesh = tensor.device_mesh
        if mesh.ndim != 1 or not tensor.placements[0].is_shard(0):
            raise ValueError(f"a tensor of shape {shape} is split as {tensor.placements}, not by rows over all ranks")
        share = -(-shape[0] // mesh.size())  # as torch.chunk splits
        return cls(min(mesh.get_local_rank() * share, shape[0]), rows, shape)

    def common(self, other: Piece) -> tuple[int, int]:
        """The rows of the whole that both hold, from and to."""
        first = max(self.first, other.first)
        return first, max(first, min(self.first + self.rows, other.first + other.rows))


@dataclass(frozen=True)
class Snapshot:
    """What one rank of `world` held after `step` steps, copied to the CPU: training may go on while it is saved.
    `shares`: of those tensors that are a share of a larger one, which rows."""

    step: int
    tensors: dict[str, Tensor]
    curve: tuple[MetricPoint, ...]
    shares: dict[str, Piece] = field(default_factory=dict)
    rank: int = 0
    world: int = 1

    def save(self, folder: Path) -> None:
        """This rank's two files, into a folder that all ranks may share."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.tensors, folder / tensors_file(self.rank))
        pieces = {name: self.shares.get(name) or Piece.of(tensor) for name, tensor in self.tensors.items()}
        facts: dict[str, Any] = {"step": self.step, "ranks": self.world}
        facts["pieces"] = {name: [piece.first, piece.rows, piece.shape] for name, piece in pieces.items()}
        if self.rank == 0:
            facts["curve"] = [[p.step, p.name, p.value] for p in self.curve]
        (folder / facts_file(self.rank)).write_text(json.dumps(facts))


@dataclass(frozen=True)
class Checkpoint:
    """What the ranks of a run had saved after `step` steps; tensors are read when they are asked for. `pieces`: by
    rank, name → rows. `file`: the name of a rank's tensors file → its path, for the time of the context."""

    step: int
    curve: tuple[MetricPoint, ...]
    pieces: tuple[dict[str, Piece], ...]
    file: Callable[[str], AbstractContextManager[Path]]

    @classmethod
    def load(cls, folder: Path, file: Callable[[str], AbstractContextManager[Path]] | None = None) -> Checkpoint:
        """Of a folder with every rank's files; with `file` the tensors may lie elsewhere. Raises OSError, ValueError or
        LookupError for a folder that holds no whole checkpoint."""
        first = json.loads((folder / facts_file(0)).read_text())
        facts = [first, *(json.loads((folder / facts_file(r)).read_text()) for r in range(1, first["ranks"]))]
        if {(rank["step"], rank["ranks"]) for rank in facts} != {(first["step"], len(facts))}:
            raise ValueError(f"the files in {folder} are not of one step: delete the folder")
        curve = tuple(MetricPoint(step=step, name=name, value=value) for step, name, value in first["curve"])
        pieces = tuple(
            {name: Piece(start, rows, tuple(shape)) for name, (start, rows, shape) in rank["pieces"].items()}
            for rank in facts
        )
        return cls(first["step"], curve, pieces, file or (lambda name: nullcontext(folder / name)))

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name → shape of the whole."""
        return {name: piece.shape for rank in self.pieces for name, piece in rank.items()}

    def read(self, targets: Mapping[str, Tensor], own: int) -> None:
        """Fills each target, which may be a share, with its rows of the tensor of that name. The files of rank `own`
        are read first, others only for what is missing. Raises ValueError where rows are missing in all."""
        missing = {name: Piece.of(target) for name, target in targets.items()}
        left = {name: piece.rows for name, piece in missing.items()}
        for rank in sorted(range(len(self.pieces)), key=lambda rank: rank != own):
            common = {
                name: (*missing[name].common(piece), piece.first)
                for name, piece in self.pieces[rank].items()
                if left.get(name)
            }
            common = {name: (first, end, base) for name, (first, end, base) in common.items() if end > first}
            if not common:
                continue
            with self.file(tensors_file(rank)) as path, safe_open(path, "pt") as stored, torch.no_grad():
                for name, (first, end, base) in common.items():
                    target = _rows(targets[name])[first - missing[name].first : end - missing[name].first]
                    # A scalar has no slices.
                    whole = stored.get_slice(name) if missing[name].shape else stored.get_tensor(name).reshape(1)
                    target.copy_(whole[first - base : end - base])
                    left[name] -= end - first
        if incomplete := sorted(name for name, rows in left.items() if rows):
            raise ValueError(f"the checkpoint lacks rows of {incomplete[:3]}: start from an earlier one, or from none")


def capture(step: int, module: nn.Module, optimizer: torch.optim.Optimizer, curve: list[MetricPoint]) -> Snapshot:
    """A copy of what this rank saves. No collective: ranks need not call it together, but at the same step."""
    rank, world = parallel.ranks()
    weights = _trained(module)
    held: dict[str, Tensor] = {}
    if rank == 0 or not isinstance(module, DistributedDataParallel):
        for name, weight in weights.items():
            state = dict(optimizer.state.get(weight, {}))
            held[f"model.{name}"] = state.pop("master", weight)
            held |= {f"optimizer.{key}.{name}": value for key, value in state.items()}
    shares = {name: Piece.of(tensor) for name, tensor in held.items() if isinstance(tensor, DTensor)}
    tensors = {
        name: _local(tensor).to("cpu", torch.float32, copy=True).contiguous()
        for name, tensor in held.items()
        if name not in shares or shares[name].rows
    }
    tensors |= {name: get() for name, (get, _) in _generators(weights).items()}
    return Snapshot(step, tensors, tuple(curve), shares, rank, world)


def restore(checkpoint: Checkpoint, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Puts model, optimiser and random state back, on every rank. Raises ValueError for a checkpoint of another model
    or one that is not whole, and whatever reading its files raises."""
    weights, shapes = _trained(module), checkpoint.shapes()
    expected = {f"model.{name}": tuple(weight.shape) for name, weight in weights.items()}
    stored = {name: shape for name, shape in shapes.items() if name.startswith("model.")}
    if stored != expected:
        different = sorted(name for name in stored | expected if stored.get(name) != expected.get(name))
        raise ValueError(f"the checkpoint is of another model: {different[:3]} are in one of the two only")
    masters = isinstance(optimizer, MasterAdamW)
    targets: dict[str, Tensor] = {
        f"model.{name}": _zeros_like(weight) if masters else weight for name, weight in weights.items()
    }
    states: dict[str, dict[str, Tensor]] = {}
    for key, name in (stored_name.split(".", 2)[1:] for stored_name in shapes if stored_name.startswith("optimizer.")):
        value = _zeros_like(weights[name]) if shapes[f"optimizer.{key}.{name}"] else torch.zeros(())
        states.setdefault(name, {})[key] = targets[f"optimizer.{key}.{name}"] = value
    own = parallel.ranks()[0] % len(checkpoint.pieces)
    generators = {name: (get(), put) for name, (get, put) in _generators(weights).items() if name in shapes}
    checkpoint.read(targets | {name: state for name, (state, _) in generators.items()}, own)
    if masters:
        for name, weight in weights.items():
            with torch.no_grad():
                weight.copy_(targets[f"model.{name}"])
            if name in states:
                states[name]["master"] = targets[f"model.{name}"]
    order = {id(weight): i for i, weight in enumerate(w for group in optimizer.param_groups for w in group["params"])}
    state = {order[id(weights[name])]: values for name, values in states.items()}
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    for generator, put in generators.values():
        put(generator)


def _generators(weights: Mapping[str, Tensor]) -> dict[str, tuple[Callable[[], Tensor], Callable[[Tensor], None]]]:
    """Name → how to get and to set the state of a random generator that training may draw from."""
    generators: dict[str, tuple[Callable[[], Tensor], Callable[[Tensor], None]]] = {
        "generator": (torch.get_rng_state, torch.set_rng_state)
    }
    device = next(iter(weights.values())).device
    if device.type == "cuda":
        generators["generator.cuda"] = (
            partial(torch.cuda.get_rng_state, device),
            partial(torch.cuda.set_rng_state, device=device),
        )
    return generators


def _trained(module: nn.Module) -> dict[str, nn.Parameter]:
    inner = module.module if isinstance(module, DistributedDataParallel) else module
    return {name: weight for name, weight in inner.named_parameters() if weight.requires_grad}


def _zeros_like(weight: Tensor) -> Tensor:
    return torch.zeros_like(weight.detach(), dtype=torch.float32)


def _local(tensor: Tensor) -> Tensor:
    return (tensor.to_local() if isinstance(tensor, DTensor) else tensor).detach()


def _rows(tensor: Tensor) -> Tensor:
    """This rank's rows of a tensor, as a view; a scalar is one row."""
    local = _local(tensor)
    return local if local.dim() else local.reshape(1)
