"""Does training reach its speed on this GPU?  One script: step time, MFU, memory, cost of supervision, numerics.

    python experiments/systems/gpu_check.py --out gpu.json            # one H200, within 6 minutes
    python experiments/systems/gpu_check.py --size tiny --out t.json  # on a CPU, seconds: only shows that it runs

Random weights in the shape of Qwen2.5-VL-7B; needs no network, Ray, PyAV or data. Every part runs in a process of its
own on a GPU, and the JSON is whole after every value.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path

import torch
import transformers

from gpu_model import SHAPES
from gpu_parts import PARTS, Check, run_part
from gpu_results import BARS, Results, derive, table

BUDGET_S = 330.0
SHARES = {"autocast": 0.24, "masters": 0.26, "overhead": 0.36, "numerics": 0.14}
GRACE_S = 25.0  # what a part may take longer, at the cost of those after it


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("gpu_check.json"), help="the JSON file to write")
    parser.add_argument("--size", choices=("7b", "tiny"), help="default: 7b on a GPU, tiny on a CPU")
    parser.add_argument("--only", help="parts, comma-separated: " + ",".join(PARTS))
    parser.add_argument("--budget-s", type=float, default=BUDGET_S, help="seconds for all parts together")
    parser.add_argument("--rounds", type=int, default=16, help="most rounds of a part")
    parser.add_argument("--no-compile", action="store_true", help="run norms, gates and rotary embeddings uncompiled")
    parser.add_argument("--commit", default="", help="the commit measured; default: asked of git")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)  # a child process
    parser.add_argument("--until", type=float, help=argparse.SUPPRESS)  # its deadline, `time.monotonic`
    chosen = parser.parse_args()
    names = chosen.only.split(",") if chosen.only else list(PARTS)
    if unknown := [name for name in names if name not in PARTS]:
        parser.error(f"--only {','.join(unknown)}: the parts are {', '.join(PARTS)}")
    if chosen.rounds < 2:
        parser.error(f"--rounds {chosen.rounds}: an interval needs 2 or more")
    chosen.only = names
    chosen.size = chosen.size or ("7b" if torch.cuda.is_available() else "tiny")
    return chosen


def answer_of(*command: str) -> str:
    """What a command prints; "" where it cannot be run."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def describe(results: Results, commit: str) -> None:
    """Machine and versions."""
    on_gpu = torch.cuda.is_available()
    results.note(
        card=torch.cuda.get_device_name() if on_gpu else platform.processor() or platform.machine(),
        card_memory_gb=torch.cuda.get_device_properties(0).total_memory / 1e9 if on_gpu else None,
        driver=answer_of("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader") if on_gpu else None,
        torch=torch.__version__,
        transformers=transformers.__version__,
        python=platform.python_version(),
        commit=commit or answer_of("git", "rev-parse", "HEAD"),
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def measure(chosen: argparse.Namespace, part: str, until_s: float) -> None:
    """One part in this process."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    check = Check(
        SHAPES[chosen.size],
        device,
        Results(chosen.out),
        until_s,
        chosen.rounds,
        compiled=device.type == "cuda" and not chosen.no_compile,
    )
    run_part(part, check)


def measure_apart(chosen: argparse.Namespace, part: str, until_s: float) -> None:
    """One part in a process of its own, whose memory is free again when it ends, and which is ended when it hangs."""
    command = [sys.executable, __file__, "--part", part, "--out", str(chosen.out), "--until", str(until_s)]
    command += ["--size", chosen.size, "--rounds", str(chosen.rounds)]
    command += ["--no-compile"] if chosen.no_compile else []
    try:
        code = subprocess.run(command, check=False, timeout=until_s - time.monotonic() + GRACE_S).returncode
    except subprocess.TimeoutExpired:
        Results(chosen.out).fail(part, "ended for want of time")
        return
    if code < 0:
        Results(chosen.out).fail(part, f"ended by signal {-code}")


def main() -> int:
    """Exit code 0 where every part ran, whatever the bars say."""
    chosen = arguments()
    if chosen.part:
        measure(chosen, chosen.part, chosen.until)
        return 0
    chosen.out.unlink(missing_ok=True)
    describe(Results(chosen.out), chosen.commit)
    began_s = time.monotonic()
    for number, part in enumerate(chosen.only):
        left_s = began_s + chosen.budget_s - time.monotonic()
        until_s = time.monotonic() + left_s * SHARES[part] / sum(SHARES[later] for later in chosen.only[number:])
        if torch.cuda.is_available():
            measure_apart(chosen, part, until_s)
        else:
            try:
                measure(chosen, part, until_s)
            except Exception:  # recorded by the part
                traceback.print_exc()
    results = Results(chosen.out)
    shape = SHAPES[chosen.size]
    derive(results, shape.step_flops(shape.tokens))
    # The bars are those of a 7B model on an H200.
    results.note(bars=[bar.judge(results) for bar in BARS] if chosen.size == "7b" else [])
    results.note(took_s=time.monotonic() - began_s)
    print(f"{results.facts['card']}, torch {results.facts['torch']}, {results.facts['took_s']:.0f} s\n{table(results)}")
    return 1 if results.facts["failures"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
