"""The Python environment of lmms-eval, and one run of its command there: it needs packages that cannot be installed
beside ours (`infra/README.md`), so it is a process of its own and its files are what we read."""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("lmms_eval", "torch", "transformers", "torchvision", "decord", "av", "qwen-vl-utils")
_PROBE = f"""
import json
from importlib import metadata
found = {{}}
for name in {PACKAGES!r}:
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""
_PROBE_S = 60
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)  # before any fork: loading takes locks that another thread may hold then
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_SECRET = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS?)(_|$)", re.IGNORECASE)  # not TOKENIZERS_…
# Ours: they would make its Python import our packages, or start as one of our workers.
_OURS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "RAY_", "SWIMLAB_", "AWS_")
_TAIL_LINES = 12
_BEAT_S = 5.0


class LmmsError(RuntimeError):
    """A task could not be scored by lmms-eval. The message says why and what to do."""


@dataclass(frozen=True)
class Environment:
    """`python` of the environment, and the versions of the packages that decide a result."""

    python: Path
    versions: Mapping[str, str]

    @property
    def version(self) -> str:
        """That of lmms-eval. What it writes itself is its git state, which an installed package has none of."""
        return self.versions["lmms_eval"]


def probe(python: Path) -> Environment:
    """The environment of an interpreter. Raises LmmsError where there is none, or none with lmms-eval."""
    advice = "`make lmms-env` makes .venv-lmms, or name another one with --lmms-python"
    try:
        answer = subprocess.run(
            [str(python), "-I", "-c", _PROBE], capture_output=True, text=True, timeout=_PROBE_S, check=False
        )
    except OSError as error:
        raise LmmsError(f"lmms-eval: no Python at {python} ({error.strerror}): {advice}") from error
    except subprocess.TimeoutExpired as error:
        raise LmmsError(f"lmms-eval: {python} did not answer within {_PROBE_S} s: run it by hand") from error
    if answer.returncode:
        raise LmmsError(f"lmms-eval: {python} does not start ({answer.stderr.strip()[-300:]}): {advice}")
    versions = json.loads(answer.stdout)
    if missing := [name for name in ("lmms_eval", "torch", "transformers") if name not in versions]:
        raise LmmsError(f"lmms-eval: {python} has no {', '.join(missing)}: {advice}")
    return Environment(python, versions)


def variables(hf_home: Path, *, online: bool, judged: bool, ours: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables of its process. Tasks are code of others: of keys and tokens they get that of the judge where they
    ask one (`OPENAI_*`), and that of the hub where they may download."""
    passed = {
        name: value
        for name, value in ours.items()
        if not name.startswith(_OURS)
        and (
            not _SECRET.search(name)
            or (judged and name.startswith(("OPENAI_", "AZURE_")))
            or (online and name.startswith("HF_"))
        )
    }
    offline = {} if online else dict.fromkeys(("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"), "1")
    # ActivityNet-QA cannot be imported without HF_HOME, and the videos of all tasks lie below it.
    return passed | offline | {"HF_HOME": str(hf_home), "TOKENIZERS_PARALLELISM": "false"}


def run(command: list[str], log: Path, env: Mapping[str, str], beat: Callable[[], None] = lambda: None) -> None:
    """Runs a command until it ends, its output in `log` without colours and without the keys and tokens in `env`; it
    ends with this process, and everything that it started with it. `beat` is called every few seconds.

    Raises LmmsError when it ended with an error. Success says little: lmms-eval also ends with 0 after most errors, so
    look for its results.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )
        try:
            while True:
                try:
                    code = process.wait(timeout=_BEAT_S)
                    break
                except subprocess.TimeoutExpired:
                    beat()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            log.write_text(_clean(log.read_text("utf-8", "replace"), env), "utf-8")
    if code:
        how = f"signal {-code} ended it" if code < 0 else f"it ended with code {code}"
        raise LmmsError(f"{how}: {explain(log.read_text('utf-8'), code)}")


def explain(text: str, code: int = 0) -> str:
    """What a log says of a failure and what to do, else its last lines."""
    for pattern, advice in _CAUSES:
        if match := re.search(pattern, text):
            return f"{match[0].strip()}: {advice}"
    if code in (-signal.SIGKILL, -signal.SIGTERM):
        return "the machine's memory may be full, or somebody ended it: free memory and run the same command again"
    return "its last lines:\n" + "\n".join(text.strip().splitlines()[-_TAIL_LINES:])


# What lmms-eval 0.7.3 and the libraries below it print, most telling first.
_CAUSES = (
    (
        r"Tasks not found: [^\n]*?(?=\. Try|\n|$)",
        "see its `tasks list`; a task of your own needs --include-path FOLDER",
    ),
    (
        r"(?:torch\.)?(?:cuda\.)?OutOfMemoryError[^\n]*|CUDA out of memory[^\n]*",
        "give fewer frames or pixels with --model-args, or use a GPU with more memory",
    ),
    (
        r"[^\n]*(?:OfflineModeIsEnabled|LocalEntryNotFoundError|Couldn't find[^\n]*(?:Hub|cache)|"
        r"Cannot send a request|couldn't connect to 'https://huggingface\.co')[^\n]*",
        "a data set is not in HF_HOME: name the folder that has it with --hf-home, or download it with --online",
    ),
    (
        r"[^\n]*(?:[Vv]ideo path: ?\S+ does not exist)",
        "the task's videos are not below HF_HOME: name the folder that has them with --hf-home, or use --online",
    ),
    (
        r"[^\n]*All \d+ attempts failed",
        "the judge that lmms-eval asks itself gave no verdict on a row, which ends its run: check OPENAI_API_KEY, "
        "OPENAI_API_URL and the network, and run the same command again",
    ),
    (
        r"AssertionError: Unexpected kwargs[^\n]*",
        "this lmms-eval knows no such --model-args: see the class of the model in its `models list`",
    ),
    (r"No space left on device", "free space below HF_HOME and the folder for temporary files"),
    (r"ModuleNotFoundError: [^\n]*", "the environment is not whole: delete it and run `make lmms-env` again"),
)


def _clean(text: str, env: Mapping[str, str]) -> str:
    text = _COLOURS.sub("", text)
    for value in (value for name, value in env.items() if value and _SECRET.search(name)):
        text = text.replace(value, "[REDACTED]")  # lmms-eval prints the token of the hub
    return text


def _end_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
