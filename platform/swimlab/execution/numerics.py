"""The numerics class: what decides how numbers are rounded, as this process computes them.

On the CPU that is the instruction set which torch uses (ATEN_CPU_CAPABILITY can lower it), the processor, by which MKL
and oneDNN choose their kernels, and those libraries; on a GPU its name, CUDA and cuDNN. Of a GPU run the processor is
no part: it builds the weights, whose hash is recorded, and scales pixels, which IEEE rounds alike everywhere.

Imports torch, which takes seconds: only for what trains. `swimlab.store.provenance` holds what is quick.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence

import torch
import torch.distributed as dist

from swim import parallel
from swim.recipe import HubModel, Recipe
from swimlab.store import provenance

# Set by hand to make a library choose other kernels; torch does not report them.
SWITCHES = (
    "DNNL_DEFAULT_FPMATH_MODE",
    "DNNL_MAX_CPU_ISA",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "ONEDNN_MAX_CPU_ISA",
    "OPENBLAS_CORETYPE",
)
MOST_BYTES = 4096

Numerics = Mapping[str, str | int]


def numerics_class(*, device: str, dtype: str, world_size: int) -> dict[str, str | int]:
    """The class of this process. `device`: "cpu", or the name of the GPU."""
    properties: dict[str, str | int] = {**provenance.framework_versions()}
    properties |= {"device": device, "dtype": dtype, "world_size": world_size}
    if device != "cpu":
        cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        return properties | {"cuda": torch.version.cuda or torch.version.hip or "none", "cudnn": cudnn or "none"}
    properties |= {"cpu_capability": torch.backends.cpu.get_cpu_capability(), "cpu_model": provenance.processor()}
    properties |= math_libraries(torch.__config__.show())
    switches = ", ".join(f"{name}={os.environ[name]}" for name in SWITCHES if os.environ.get(name))
    return properties | ({"switches": switches} if switches else {})


def numerics_of(recipe: Recipe, device: torch.device, *, world_size: int) -> dict[str, str | int]:
    """The class in which this process computes a recipe on a device."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    dtype = recipe.model.dtype if isinstance(recipe.model, HubModel) else "float32"
    return numerics_class(device=name, dtype=dtype, world_size=world_size)


def math_libraries(built_with: str) -> dict[str, str]:
    """BLAS, LAPACK and oneDNN out of `torch.__config__.show()`; "none" for what it does not name."""

    def matched(pattern: str) -> str:
        return match[1] if (match := re.search(pattern, built_with, re.MULTILINE)) else ""

    mkl = matched(r"Math Kernel Library Version (.+?)(?: for |$)")
    blas, lapack = matched(r"\bBLAS_INFO=(\w+)") or "none", matched(r"\bLAPACK_INFO=(\w+)") or "none"
    openblas = matched(r"OpenBLAS\s+v?([\d.]+)")
    version = {"mkl": mkl, "open": openblas}.get(blas, "")
    return {
        "blas": f"{blas} {version}".strip(),
        "lapack": lapack,
        "onednn": matched(r"MKL-DNN v(\S+)") or matched(r"oneDNN v(\S+)") or "none",
    }


def of_all_ranks(numerics: Numerics, device: torch.device) -> dict[str, str | int]:
    """The class of a worker group, whose machines may differ. Every rank must call this."""
    _, world = parallel.ranks()
    if world == 1:
        return dict(numerics)
    text = json.dumps(dict(numerics)).encode()
    if len(text) > MOST_BYTES:
        raise ValueError(f"the numerics class takes {len(text)} bytes, more than {MOST_BYTES}: {text[:200]!r}…")
    # As a tensor on the device: NCCL exchanges nothing else without being told which GPU is whose.
    encoded = torch.frombuffer(bytearray(text.ljust(MOST_BYTES)), dtype=torch.uint8).to(device)
    everyone = [torch.empty_like(encoded) for _ in range(world)]
    dist.all_gather(everyone, encoded)
    return joined([json.loads(bytes(rank.cpu().numpy())) for rank in everyone])


def continued(earlier: Numerics, now: Numerics) -> dict[str, str | int] | None:
    """The class of a run that began in one class and goes on in another; None where numbers may differ by more than the
    number of workers. Where that differs, `world_sizes` lists all in their order, a field that the class of no other
    trial has: such trials compare with none of another history."""

    def rest(numerics: Numerics) -> dict[str, str | int]:
        return {name: value for name, value in numerics.items() if name not in ("world_size", "world_sizes")}

    if rest(earlier) != rest(now):
        return None
    if dict(earlier) == dict(now):
        return dict(now)
    sizes = str(earlier.get("world_sizes", earlier.get("world_size", 1))).split(", ")
    last = str(now.get("world_size", 1))
    return dict(now) | {"world_sizes": ", ".join(sizes if sizes[-1] == last else [*sizes, last])}


def joined(ranks: Sequence[Numerics]) -> dict[str, str | int]:
    """One class for several ranks: a field that differs lists all values, so that it equals that of no single
    machine."""
    fields: dict[str, str | int] = {}
    for name in dict.fromkeys(name for rank in ranks for name in rank):
        values = dict.fromkeys(rank.get(name, "none") for rank in ranks)
        fields[name] = next(iter(values)) if len(values) == 1 else " + ".join(sorted(map(str, values)))
    return fields
