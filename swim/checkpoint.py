"""The state of a run between two steps, as tensors and a curve: all that the remaining steps depend on. Not pickled.

A run resumed from it ends with the same bytes as an uninterrupted run (one process, one machine).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from swim.outputs import MetricPoint

_TENSORS, _FACTS = "run.safetensors", "run.json"


@dataclass(frozen=True)
class Checkpoint:
    """The state after `step` steps: trained weights, AdamW state and torch's generator, by name, and the curve."""

    step: int
    tensors: dict[str, Tensor]
    curve: tuple[MetricPoint, ...]

    def save(self, folder: Path) -> None:
        """Two files, safetensors and JSON."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.tensors, folder / _TENSORS)
        facts = {"step": self.step, "curve": [[p.step, p.name, p.value] for p in self.curve]}
        (folder / _FACTS).write_text(json.dumps(facts))

    @classmethod
    def load(cls, folder: Path) -> Checkpoint:
        """Inverse of `save`. Raises OSError or ValueError for a folder that holds no checkpoint."""
        facts = json.loads((folder / _FACTS).read_text())
        curve = tuple(MetricPoint(step=step, name=name, value=value) for step, name, value in facts["curve"])
        return cls(facts["step"], load_file(folder / _TENSORS), curve)


def capture(step: int, module: nn.Module, optimizer: torch.optim.Optimizer, curve: list[MetricPoint]) -> Checkpoint:
    """Copies of everything on the CPU, so that training can continue."""
    tensors: dict[str, Tensor] = {f"model.{name}": p for name, p in module.named_parameters() if p.requires_grad}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": value for key, value in state.items()}
    tensors["generator"] = torch.get_rng_state()
    return Checkpoint(step, {name: t.detach().cpu().clone().contiguous() for name, t in tensors.items()}, tuple(curve))


def restore(checkpoint: Checkpoint, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put model, optimiser and generator back. Raises ValueError for a checkpoint of another model."""
    parameters: dict[str, Tensor] = {f"model.{name}": p for name, p in module.named_parameters() if p.requires_grad}
    stored = {name for name in checkpoint.tensors if name.startswith("model.")}
    if stored != parameters.keys():
        raise ValueError(
            f"the checkpoint is of another model: {sorted(stored ^ parameters.keys())[:3]} are in one of the two only"
        )
    state: dict[int, dict[str, Any]] = {}
    for name, tensor in checkpoint.tensors.items():
        if name in parameters:
            with torch.no_grad():
                parameters[name].copy_(tensor)
        elif name.startswith("optimizer."):
            _, index, key = name.split(".")
            state.setdefault(int(index), {})[key] = tensor.clone()
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    torch.set_rng_state(checkpoint.tensors["generator"])
