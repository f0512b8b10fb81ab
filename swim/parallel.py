"""A training step over several processes: a copy of the model on each (DDP) or a share of it (FSDP2).

Without a process group nothing is wrapped. Both average gradients over the ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from swim.models import vision_modules
from swim.supervision.objective import SupervisedModel, stock


def ranks() -> tuple[int, int]:
    """This process's rank and the number of ranks; (0, 1) without a process group."""
    return (dist.get_rank(), dist.get_world_size()) if _grouped() else (0, 1)


def from_rank_0(values: Sequence[int], device: torch.device) -> tuple[int, ...]:
    """Rank 0's values on every rank, all of which must call with equally many."""
    if ranks()[1] == 1:
        return tuple(values)
    told = torch.tensor(values, device=device, dtype=torch.int64)
    dist.broadcast(told, 0)
    return tuple(told.tolist())


def on_all_ranks(holds: bool, device: torch.device) -> bool:
    """Whether it holds on every rank. Every rank must call."""
    if ranks()[1] == 1:
        return holds
    least = torch.tensor(int(holds), device=device)
    dist.all_reduce(least, dist.ReduceOp.MIN)
    return bool(least.item())


def _grouped() -> bool:
    return dist.is_available() and dist.is_initialized()


@dataclass(frozen=True)
class Sharding:
    """How a sharded model uses a device. `reshard`: a layer's weights are given up after its forward pass and gathered
    again for the backward pass; without it they stay (faster, and the memory of the whole model). `cpu_offload`: shares
    of weights, gradients and optimiser states lie in CPU memory, and the step is taken there (on GPUs the process group
    then needs a backend for either, "cpu:gloo,cuda:nccl")."""

    reshard: bool = True
    cpu_offload: bool = False


def wrap_model(
    module: SupervisedModel, device: torch.device, shard: bool, sharding: Sharding = Sharding()
) -> nn.Module:
    """The module on its device, wrapped for the process group. Call it before creating the optimiser.

    With `shard` each rank has 1/world of every weight, gradient and optimiser state, and only the current layer (and
    the next) in full. Trained weights that are bf16 become fp32 shares, gathered in bf16, whose gradients are summed in
    fp32: the shares are their masters. Every rank must have equal weights. Raises ValueError without a process group.
    """
    if shard:
        if not _grouped():
            raise ValueError(
                "a model is sharded over a process group, and there is none: train on workers, or unset it"
            )
        # Not moved to the device in full: fully_shard moves one layer at a time and keeps a share.
        mesh = init_device_mesh(device.type, (dist.get_world_size(),))
        settings: dict[str, Any] = {"mesh": mesh, "reshard_after_forward": sharding.reshard}
        trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        if any(parameter.dtype == torch.bfloat16 for parameter in trained):
            # Inputs are left as they are: among them are fp32 pixels and masks.
            settings["mp_policy"] = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
            for parameter in trained:
                parameter.data = parameter.data.float()
        if sharding.cpu_offload:
            settings["offload_policy"] = CPUOffloadPolicy(pin_memory=device.type == "cuda")
        model = stock(module.model)
        for part in (*vision_modules(model), *model.get_decoder().layers):
            fully_shard(part, **settings)
        fully_shard(module, **settings)
        return module
    module.to(device)
    if ranks()[1] == 1:
        return module
    return DistributedDataParallel(module, device_ids=[device] if device.type == "cuda" else None)


def unwrap_model(module: nn.Module) -> SupervisedModel:
    """This rank's whole model without its wrapper. Raises ValueError for a sharded one."""
    if isinstance(module, FSDPModule):
        raise ValueError(
            "no rank has the whole of a sharded model while it trains: leave --shard out to evaluate it then"
        )
    inner = module.module if isinstance(module, DistributedDataParallel) else module
    assert isinstance(inner, SupervisedModel)
    return inner


def gradient_sync(module: nn.Module, last: bool) -> AbstractContextManager[Any]:
    """The context of a micro-batch: copies (DDP) exchange gradients after the last one only. Shares (FSDP2) do after
    each, because an unexchanged gradient needs the memory of the whole model (30 GB in fp32 for 7B)."""
    if isinstance(module, DistributedDataParallel) and not last:
        return module.no_sync()
    return nullcontext()


def clip_gradients(parameters: Sequence[nn.Parameter], max_norm: float) -> Tensor:
    """Scales all gradients to a norm of at most `max_norm`; returns the norm before that, the same on every rank."""
    grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if any(grad.dtype == torch.bfloat16 for grad in grads):
        # In bf16 the norm itself would have three digits. No sharded gradient is bf16.
        norm: Tensor = torch.linalg.vector_norm(
            torch.stack([torch.linalg.vector_norm(grad, dtype=torch.float32) for grad in grads])
        )
        scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
        for grad in grads:
            grad.mul_(scale)
        return norm
    total = nn.utils.clip_grad_norm_(parameters, max_norm)
    return total.full_tensor() if isinstance(total, DTensor) else total


def whole_state(module: nn.Module) -> dict[str, Any] | None:
    """The weights of a sharded module, on the CPU of rank 0 (nothing on the others); None for a module that is not
    sharded. Every rank must call."""
    if not isinstance(module, FSDPModule):
        return None
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    state: dict[str, Any] = get_model_state_dict(module, options=options)
    return state
