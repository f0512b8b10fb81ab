"""What lmms-eval wrote about one model and one task, kept in the store by the name of what decides it.

    lmms/<run_id>/<nonce>/samples/<task>.jsonl, log.txt   as lmms-eval wrote them
    lmms/<run_id>/run.json                                create-only, written last: the run, and lmms-eval's results

Kept apart from the scores, as generations are: when our reader of the files is mended, they are read again, and hours
of a GPU are not spent again.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import FiniteFloat

from swim.frozen import Frozen
from swim.recipe import FramePolicy
from swimlab.checkpoints.export import write_checkpoint
from swimlab.evaluating.lmms import environment
from swimlab.evaluating.lmms.environment import Environment, LmmsError
from swimlab.identity.canonical import canonical_json, plain_fields
from swimlab.identity.naming import digest
from swimlab.store import provenance
from swimlab.store.attempts import Attempt, entry_of, put_once
from swimlab.store.errors import StoreError
from swimlab.store.evaluation_records import TrialTarget
from swimlab.store.records import FileEntry, TrialRecord
from swimlab.store.scratch import scratch_folder
from swimlab.store.sealed_json import SealedModel
from swimlab.store.sweep_store import SweepStore

# Families of ours → the class of lmms-eval that loads their checkpoints and takes the frames below as arguments.
BACKENDS = {"qwen2-vl": "qwen2_vl", "qwen2-5-vl": "qwen2_5_vl", "qwen3-vl": "qwen3_vl"}
_SAMPLES = "samples/"


class GeneralTask(Frozen):
    """A task and all that decides its numbers: lmms-eval's version, its class of model with the arguments, at most
    `limit` rows, the hash of the user's own task files (`include`) and the judge; "" where there is none."""

    task: str
    lmms_eval: str
    backend: str
    model_args: dict[str, str | int | float]
    limit: int | None = None
    include: str = ""
    judge: str = ""


@dataclass(frozen=True)
class Where:
    """Where lmms-eval runs, which decides no number. `include_path`: a folder of the user's own tasks; `gpu`: whether
    it takes the first GPU, by default where there is one."""

    environment: Environment
    hf_home: Path
    online: bool = False
    gpu: bool | None = None
    include_path: Path | None = None

    @property
    def use_gpu(self) -> bool:
        """Whether a GPU is taken."""
        return torch.cuda.is_available() if self.gpu is None else self.gpu

    def with_gpu(self, gpu: bool) -> Where:
        """The same, with or without a GPU."""
        return replace(self, gpu=gpu)


class StoredRun(SealedModel):
    """A run that is whole. `results` is the content of lmms-eval's own file; `files` are in `folder`."""

    run_id: str
    task: GeneralTask
    target: TrialTarget
    results: dict[str, Any]
    folder: str
    files: dict[str, FileEntry]
    versions: dict[str, str]
    numerics: dict[str, str | int]
    run_s: FiniteFloat

    @property
    def samples(self) -> dict[str, str]:
        """Task → the name of its samples."""
        names = (name for name in self.files if name.startswith(_SAMPLES))
        return {name.removeprefix(_SAMPLES).removesuffix(".jsonl"): name for name in names}


def run_id(target: TrialTarget, task: GeneralTask) -> str:
    """The name of the run of these weights on a task."""
    return digest(canonical_json({"target": target.model_dump(), "task": plain_fields(task)}))


def load(store: SweepStore, name: str) -> StoredRun | None:
    """A run that is whole, None where there is none. Raises StoreError for a damaged one."""
    path = f"lmms/{name}/run.json"
    try:
        return StoredRun.from_json(store.read(path))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise StoreError(
            f"{store.uri}/{path} is damaged ({error}): delete lmms/{name} to run the task again"
        ) from error


def read_file(store: SweepStore, run: StoredRun, name: str) -> str:
    """A file of a run. Raises StoreError where it is gone or altered."""
    path = f"{run.folder}/{name}"
    try:
        data = store.read(path)
    except FileNotFoundError as error:
        raise StoreError(f"{store.uri}/{path} is gone: delete lmms/{run.run_id} to run the task again") from error
    if entry_of(data) != run.files[name]:
        raise StoreError(f"{store.uri}/{path} was altered: delete lmms/{run.run_id} to run the task again")
    return data.decode()


def make(
    trial: TrialRecord, task: GeneralTask, store: SweepStore, where: Where, attempt: Attempt, beat: Callable[[], None]
) -> StoredRun:
    """The stored run, else that of lmms-eval on the exported weights.

    Raises:
        LmmsError: when lmms-eval gives no results; its output is in the attempt then.
        StoreError: when the checkpoint was not kept.
        ValueError: for a model whose processor is not written.
    """
    target = TrialTarget.of(trial)
    name = run_id(target, task)
    if (stored := load(store, name)) is not None:
        return stored
    if task.judge and not os.environ.get("OPENAI_API_KEY"):
        raise LmmsError(f"{task.task}: lmms-eval asks {task.judge} itself: set OPENAI_API_KEY, or leave the task out")
    began_s = time.monotonic()
    with scratch_folder("lmms") as scratch:
        model, out, log = scratch / "model", scratch / "out", scratch / "log.txt"
        write_checkpoint(store, trial, model, "merged", card=f"Trial {trial.trial_id}\n")
        variables = environment.variables(where.hf_home, online=where.online, judged=bool(task.judge))
        try:
            environment.run(command(task, model, out, where), log, variables, beat)
            results, samples = files_of(out, log)
        except LmmsError as error:
            attempt.put("log.txt", log.read_bytes() if log.exists() else b"")
            raise LmmsError(f"{task.task}: {error} (its output: {store.uri}/{attempt.folder}/log.txt)") from error
        contents = {f"{_SAMPLES}{of_task}.jsonl": data for of_task, data in samples.items()}
        contents["log.txt"] = log.read_bytes()
    folder = f"lmms/{name}/{attempt.nonce}"
    run = StoredRun(
        run_id=name,
        task=task,
        target=target,
        results=results,
        folder=folder,
        files={file: put_once(store.backend, f"{folder}/{file}", data) for file, data in contents.items()},
        versions=dict(where.environment.versions),
        numerics=_numerics(where, results),
        run_s=time.monotonic() - began_s,
    )
    store.put_create_only(f"lmms/{name}/run.json", run.to_json())
    return load(store, name) or run


def command(task: GeneralTask, model: Path, out: Path, where: Where) -> list[str]:
    """The command line of lmms-eval for a folder with a checkpoint. Raises LmmsError for what its syntax cannot say."""
    device = "cuda:0" if where.use_gpu else "cpu"
    arguments = {"pretrained": model, **task.model_args, "device": device, "device_map": device}
    if bad := [name for name, value in arguments.items() if re.search("[,=]", f"{name}{value}")]:
        raise LmmsError(f"{bad[0]}={arguments[bad[0]]}: lmms-eval takes no ',' or '=' in an argument or a path")
    words = [str(where.environment.python), "-m", "lmms_eval", "--model", task.backend, "--tasks", task.task]
    words += ["--model_args", ",".join(f"{name}={value}" for name, value in arguments.items())]
    words += ["--batch_size", "1", "--log_samples", "--output_path", str(out)]
    words += ["--limit", str(task.limit)] if task.limit else []
    return words + (["--include_path", str(where.include_path)] if where.include_path else [])


def files_of(out: Path, log: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The results that a run left, and its samples by task. Raises LmmsError where there are none, and the log says
    why: lmms-eval ends with 0 after most errors."""
    files = sorted(out.rglob("*_results.json"))
    if not files:
        raise LmmsError(f"lmms-eval ended without results: {environment.explain(log.read_text('utf-8'))}")
    if len(files) > 1:
        raise LmmsError(f"{out} holds {len(files)} results, one was expected: give each run a folder of its own")
    prefix = files[0].name.removesuffix("results.json") + "samples_"
    samples = (path for path in files[0].parent.iterdir() if path.name.startswith(prefix))
    return json.loads(files[0].read_bytes()), {
        path.name.removeprefix(prefix).removesuffix(".jsonl"): path.read_bytes() for path in sorted(samples)
    }


def frame_args(frames: FramePolicy) -> dict[str, str | int | float]:
    """The frames that a trial was trained on, as arguments of the classes in `BACKENDS`."""
    return {"max_num_frames": frames.max_frames, "min_pixels": frames.min_pixels, "max_pixels": frames.max_pixels}


def include_hash(folder: Path | None) -> str:
    """Of every file below a folder of tasks, "" for None. Raises LmmsError for a folder that is not there."""
    if folder is None:
        return ""
    if not folder.is_dir():
        raise LmmsError(f"--include-path {folder}: no such folder")
    files = sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return digest(canonical_json({str(path.relative_to(folder)): entry_of(path).sha256 for path in files}))


def _numerics(where: Where, results: dict[str, Any]) -> dict[str, str | int]:
    versions = where.environment.versions
    named: dict[str, str | int] = {name: versions[name] for name in ("torch", "transformers")}
    if where.use_gpu:
        named["device"] = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cuda"
    else:
        named |= {"device": "cpu", "cpu_model": provenance.processor()}
    backend = results.get("config", {}).get("model_backend", "unknown")
    return named | {"engine": f"lmms-eval {where.environment.version}: {backend}"}
