"""For the experiments about finished models: a store with two of them, both benchmarks of embedded clips, a judge."""

import io
from pathlib import Path
from types import ModuleType
from typing import Any

import bench_files
import pytest
from answering_kit import commit_trial, prepare_here
from llm_server import Reply
from rich.console import Console

from swim.evaluation.judging import AXES
from swimlab.cli.benchmark_file import BenchmarkSettings
from swimlab.store.sweep_store import SweepStore


def judging(body: dict[str, Any], n: int) -> Reply:
    """A judge that likes long answers."""
    said = body["messages"][1]["content"].rpartition("\n")[2]
    grade = min(5, len(said.split()))
    return Reply("\n".join(f"{number}. {name}: {grade}" for number, name in enumerate(AXES.values(), 1)))


def flags(folder: Path, monkeypatch: pytest.MonkeyPatch, clips: int) -> dict[str, Any]:
    """Flags of a store with two models, and files of both benchmarks."""
    prepare_here(monkeypatch)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    store = SweepStore(str(folder / "store"))
    commit_trial(store, "base0", 0)
    commit_trial(store, "swim0", 1)
    descriptions, choices = bench_files.write(folder, clips)
    return {
        "base": ("base0",),
        "swim": ("swim0",),
        "bench_d": descriptions.annotations[0],
        "bench_q": choices.annotations[0],
        "videos": str(folder),
        "judge": "judge-1",
        "max_new_tokens": 5,
        "store": store.uri,
        "cache": folder / "cache",
    }


def shown(experiment: ModuleType, settings: BenchmarkSettings) -> str:
    """What an experiment prints."""
    console = Console(width=250, record=True, file=io.StringIO())
    assert experiment.run(settings, console) == 0
    return console.export_text()
