"""A benchmark of embedded clips as a user's own files, and a committed nano trial that answers it, without Ray."""

import json
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from store_kit import plausible_record, record_of

import nano
from swim import models
from swim.data.synthetic import shapes_world
from swim.recipe import NLReferFiles, Recipe, ShapesWorld
from swimlab.data import decode_part, preparation
from swimlab.evaluating.parts import StoredGeneration
from swimlab.execution import cluster
from swimlab.store.records import TrialRecord
from swimlab.store.sweep_store import SweepStore

WORLD = ShapesWorld(clips=7, held_out=2, seed=11)


def benchmark(folder: Path, clips: int = WORLD.clips) -> NLReferFiles:
    """Drawn clips and their rows: three questions about each. A last row has no video."""
    rows = shapes_world.write(WORLD, "train", range(clips), folder)
    rows.append(rows[-1] | {"id": "gone", "video": "videos/gone.mp4"})
    (folder / "bench.json").write_text(json.dumps(rows))
    return NLReferFiles(
        annotations=(str(folder / "bench.json"),), videos=str(folder), formats=("nl-refer",), frames=WORLD.frames
    )


def commit_trial(
    store: SweepStore, trial_id: str = "t1", draw: int = 0, recipe: Recipe | None = None, **changes: Any
) -> TrialRecord:
    """A trial of the nano recipe (or the one given) with fresh weights, whose head is spread out: at the usual 0.02 all
    answers are alike. Nothing is trained. `draw` numbers the weights; `changes` replace fields of the record."""
    recipe = recipe or nano.recipe(base=False, **{"model.seed": draw})
    model, tokenizer = models.build(recipe.model)
    with torch.no_grad():
        model.lm_head.weight.normal_(generator=torch.Generator().manual_seed(draw))
    attempt = store.claim(trial_id)
    assert attempt is not None
    with tempfile.TemporaryDirectory() as folder:
        models.save(model, tokenizer, Path(folder))
        attempt.put_dir(Path(folder), "checkpoint")
    record = record_of(attempt, plausible_record, recipe=recipe.model_dump(mode="json"), **changes)
    assert store.commit(attempt, record)
    return record


def parts(stored: StoredGeneration) -> dict[str, bytes]:
    """The files with a generation's answers."""
    return {
        path: stored.store.read(path) for path in stored.store.list_files(stored.folder) if path.endswith("parquet")
    }


def prepare_here(patch: pytest.MonkeyPatch) -> None:
    """Clips are decoded in this process."""
    patch.setattr(preparation, "_decoded", lambda jobs, store, _: (decode_part.run(job, store) for job in jobs))
    patch.setattr(cluster, "ray_session", nullcontext)
