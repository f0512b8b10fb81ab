"""The process that runs a trial's stored code: started without this process's credentials, and served with clips.

Whoever can write to the store decides what that code is. It gets no variable that names a key, a token or a password,
no terminal, and clips only as this process reads them for it.
"""

from __future__ import annotations

import json
import os
import re
import site
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from swimlab.data.prepared_clips import PipelineError, StoredClips
from swimlab.execution import replay_child
from swimlab.store.errors import StoreError

# What numbers, messages and temporary files need. Names of proxies are left out: their URLs may hold passwords.
_PASSED = frozenset({"LANG", "LANGUAGE", "LD_LIBRARY_PATH", "PATH", "PYTHONHASHSEED", "TMPDIR", "TZ"})
_PASSED_PREFIXES = (
    "ATEN_", "CUBLAS_", "CUDA_", "CUDNN_", "DNNL_", "GOMP_", "HIP_", "KMP_", "LC_", "MKL_", "NVIDIA_", "OMP_",
    "ONEDNN_", "OPENBLAS_", "PYTORCH_", "ROCR_", "TORCH_ALLOW_",
)  # fmt: skip


class ReplayError(RuntimeError):
    """The trial could not be run again. The message says why."""


def environment(source: Path, home: Path, ours: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables of the process. Its home is an empty folder: this user's holds files of credentials. Models of the
    hub are found where this process would find them."""
    passed = {name: value for name, value in ours.items() if name in _PASSED or name.startswith(_PASSED_PREFIXES)}
    hub = ours.get("HF_HUB_CACHE") or os.path.join(ours.get("HF_HOME") or "~/.cache/huggingface", "hub")
    return passed | {
        "HOME": str(home),
        "HF_HUB_CACHE": os.path.expanduser(hub),
        "PYTHONUSERBASE": site.getuserbase(),
        "PYTHONPATH": str(source),
        # As in the trials' processes (Ray sets the first, torch's own threads are fixed by the stored code).
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
    }


@contextmanager
def started(job: dict[str, Any], clips: StoredClips, source: Path, scratch: Path) -> Iterator[Iterator[dict[str, Any]]]:
    """The lines that the process writes, but for its requests of clips, which are answered. Raises ReplayError with its
    last output when it fails."""
    reading, writing = os.pipe()
    served, serving = os.pipe()
    description, errors, home = scratch / "job.json", scratch / "stderr", scratch / "home"
    home.mkdir()
    description.write_text(json.dumps(job | {"lines": writing, "clips": served}))
    # -P: the folder of the script holds swimlab's modules, which are nobody's top-level names.
    command = [sys.executable, "-P", replay_child.__file__, str(description)]
    with errors.open("wb") as stderr, os.fdopen(reading) as lines, os.fdopen(serving, "wb") as answers:
        process = subprocess.Popen(
            command,
            env=environment(source, home),
            pass_fds=(writing, served),
            stdin=subprocess.DEVNULL,
            stdout=stderr,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # no terminal
        )
        os.close(writing)
        os.close(served)
        try:
            yield _without_requests(lines, answers, clips)
            code = process.wait()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if code:
        output = errors.read_text("utf-8", "replace").strip()
        if lacking := re.search(r"ModuleNotFoundError: No module named '(swim\.[^']*)'", output):
            raise ReplayError(
                f"the stored source lacks {lacking[1]}, which this trial loads: its code fingerprint does not cover it"
            )
        raise ReplayError(f"the stored code ended with {code}: {output[-2000:] or 'it said nothing'}")


def _without_requests(lines: Iterator[str], answers: BinaryIO, clips: StoredClips) -> Iterator[dict[str, Any]]:
    for text in lines:
        line = json.loads(text)
        if "clip" not in line:
            yield line
            continue
        try:
            row = clips.row(line["clip"])
        except PipelineError as error:
            raise StoreError(str(error)) from error
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, row.schema) as stream:
            stream.write_table(row)
        answer = sink.getvalue()
        try:
            answers.write(struct.pack(">Q", answer.size))
            answers.write(answer)
            answers.flush()
        except BrokenPipeError:  # it has ended: its exit code and output say why
            return
