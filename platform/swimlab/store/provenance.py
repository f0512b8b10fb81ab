"""Provenance of a result (source, versions, host, numerics): recorded with it, but no part of its identity."""

import platform
import socket
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from uuid import uuid4

import swim
from swimlab.store.records import Provenance

PACKAGES = ("torch", "transformers", "ray", "numpy", "swimlab")


def utc_now() -> str:
    """The time of day for `started_at` and `finished_at`: UTC, ISO 8601, whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def gather(
    *, numerics: Mapping[str, str | int], started_at: str, finished_at: str, source_sha256: str | None = None
) -> Provenance:
    """The provenance of a trial. `numerics`: device, dtype and world size, or the whole class. A package that is not
    installed is absent from `versions`, and a source tree that is no git checkout has no sha. Never fails."""
    sha, dirty = git_state(Path(swim.__file__).parent)
    return Provenance(
        git_sha=sha,
        git_dirty=dirty,
        versions=versions(),
        host=socket.gethostname(),
        numerics=framework_versions() | dict(numerics),
        started_at=started_at,
        finished_at=finished_at,
        source_sha256=source_sha256,
    )


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that can change a result."""
    installed = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return installed


def framework_versions() -> dict[str, str | int]:
    """The versions that are part of the numerics class."""
    installed = versions()
    return {name: installed[name] for name in ("torch", "transformers") if name in installed}


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's model name, with family and model number where Linux has them: behind a hypervisor the name of
    every Intel server may be "Intel(R) Xeon(R) Processor"."""
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    first = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in reversed(lines))}
    name = first.get("model name") or platform.processor() or platform.machine()
    numbers = [f"{key.removeprefix('cpu ')} {first[key]}" for key in ("cpu family", "model") if key in first]
    return f"{name} ({', '.join(numbers)})" if numbers else name


def git_state(folder: Path) -> tuple[str | None, bool | None]:
    """(HEAD, are there uncommitted changes?) of the checkout around a folder; None outside a checkout."""
    sha = _git(folder, "rev-parse", "--verify", "HEAD")
    status = _git(folder, "status", "--porcelain")
    return sha, None if status is None else bool(status)


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        answer = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def new_run_id() -> str:
    """A unique id whose order is that of time."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{uuid4().hex[:6]}"
