"""How fast one thread of this machine multiplies float32 matrices of a recipe's own shape. No torch is needed."""

from __future__ import annotations

import math
import os
import platform
import subprocess
import sys
from functools import cache
from pathlib import Path

from swimlab.base import remembered

_PROBE_S = 0.15
_MOST_FLOPS = 1e9  # of one product: some hundredths of a second
_LARGEST = 4096
_REMEMBERED = 256
# A process of its own: the number of BLAS threads is fixed when NumPy is imported, and a trial has one. The best of
# many products: others on the machine only make some of them slower.
_PROBE = """
import sys, time
import numpy as np
rows, inner, columns = map(int, sys.argv[1:4])
a, b = np.ones((rows, inner), np.float32), np.ones((inner, columns), np.float32)
a @ b
best, until = float("inf"), time.perf_counter() + float(sys.argv[4])
while best == float("inf") or time.perf_counter() < until:
    began = time.perf_counter()
    a @ b
    best = min(best, time.perf_counter() - began)
print(2 * rows * inner * columns / best)
"""
_ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OPENBLAS", "OMP", "MKL", "VECLIB_MAXIMUM")}


@cache  # in this process: of thousands of trials, few differ in these sizes
def flops_per_s(rows: int, inner: int, columns: int, cache_dir: Path) -> float:
    """The speed of (rows × inner) @ (inner × columns), with rows rounded to a power of two and all sizes limited so
    that a product takes a moment. Remembered for each processor and shape."""
    inner, columns = min(inner, _LARGEST), min(columns, _LARGEST)
    rows = max(1, min(rows, _LARGEST, int(_MOST_FLOPS / (2 * inner * columns))))
    rows = 2 ** round(math.log2(rows))
    memory, key = cache_dir / "machine-probe.json", f"{processor()}: {rows} × {inner} × {columns}"
    if isinstance(remembered_speed := remembered.load(memory).get(key), float):
        return remembered_speed
    shape = [str(n) for n in (rows, inner, columns)]
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, *shape, str(_PROBE_S)],
        env=os.environ | _ONE_THREAD,
        capture_output=True,
        text=True,
        check=True,
    )
    measured = float(done.stdout)
    remembered.add(memory, {key: measured}, most=_REMEMBERED)
    return measured


@cache  # the kernel writes /proc/cpuinfo anew for each reader, with a paragraph for each CPU
def processor() -> str:
    """The model of this machine's processor, or what Python reports of it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
