"""The hash of the weights a trial starts from, taken before its first step."""

from __future__ import annotations

import hashlib
from itertools import chain

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from swim import parallel

# What is copied to the CPU at a time: a 7B model is hashed without a second one in memory.
CHUNK_BYTES = 64 * 2**20


def start_weights(module: nn.Module) -> str | None:
    """SHA-256 over name, dtype, shape and bytes of every parameter and buffer of the model inside `module` (a
    `SupervisedModel`, plain or wrapped for a process group), by name; those that no file holds, too.

    Every rank must call; rank 0 answers, the others get None. Copies (DDP) start equal, so rank 0's is hashed. Of a
    sharded model (FSDP) one tensor after another is gathered, so that it has the hash it would have whole; bf16 weights
    have another one, since their shares are fp32.
    """
    rank, _ = parallel.ranks()
    inner = module.module if isinstance(module, DistributedDataParallel) else module
    assert isinstance(inner.model, nn.Module)
    digest = hashlib.sha256()
    tensors: dict[str, Tensor] = dict(chain(inner.model.named_parameters(), inner.model.named_buffers()))
    # Of a padded vision tower (`swim.models.vision.pad_mlps`) a state dict has what was there before.
    tensors |= {name: tensor for name, tensor in inner.model.state_dict().items() if name in tensors}
    for name, tensor in sorted(tensors.items()):
        whole = tensor.detach()
        if isinstance(whole, DTensor):
            whole = whole.full_tensor()
        if rank == 0:
            digest.update(f"{name} {whole.dtype} {list(whole.shape)}\n".encode())
            content = whole.reshape(-1).view(torch.uint8)
            for at in range(0, len(content), CHUNK_BYTES):
                digest.update(content[at : at + CHUNK_BYTES].cpu().numpy().data)
    return digest.hexdigest() if rank == 0 else None
