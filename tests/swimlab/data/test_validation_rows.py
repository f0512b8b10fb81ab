"""The clips that choose are prepared alone, and only where they are asked for."""

from pathlib import Path

import pytest
import trained
from pipeline_kit import FRAMES, in_process, read, row, videos, written

from swim.data.annotations.samples import parse_row
from swim.data.synthetic import shapes_world
from swim.data.video.decode import decode_sample
from swim.recipe import NLReferFiles, ShapesWorld
from swimlab.data import preparation
from swimlab.data.preparation import PipelineError, load_quarantine, prepare
from swimlab.identity.splits import VALIDATION
from swimlab.store.sweep_store import SweepStore

__all__ = ["videos"]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SweepStore:
    monkeypatch.setattr(preparation, "_decoded", in_process)
    monkeypatch.setattr(preparation, "draw_embedded", trained.drawn)
    return SweepStore(str(tmp_path / "store"))


def test_a_users_rows(store: SweepStore, videos: Path, tmp_path: Path) -> None:
    data = NLReferFiles(
        annotations=(written(tmp_path, "a.jsonl", [row("r", "0.mp4")]),),
        validation_annotations=(written(tmp_path, "v.jsonl", [row("v", "1.mp4"), row("gone", "gone.mp4")]),),
        videos=str(videos),
        frames=FRAMES,
    )
    training = prepare(data, "f", store, tmp_path / "scratch")
    assert list(training.index) == ["train"]
    choosing = prepare(data, "g", store, tmp_path / "scratch", splits=VALIDATION)
    assert list(choosing.index) == ["validation"]
    for split in ("validation", "held_out"):  # all that this data set has is scored
        assert [clip.key for clip in read(store, choosing, split)] == ["v:00000000:v"]
    assert load_quarantine(store, choosing).select(["split", "file"]).to_pylist() == [
        {"split": "validation", "file": data.validation_annotations[0]}
    ]
    empty = data.model_copy(update={"validation_annotations": (written(tmp_path, "e.jsonl", [row("x", "x.mp4")]),)})
    with pytest.raises(PipelineError, match="1 of 1 rows cannot be used, no row of 'validation' is left"):
        prepare(empty, "h", store, tmp_path / "scratch", splits=VALIDATION)


def test_the_embedded_data(store: SweepStore, tmp_path: Path) -> None:
    config = ShapesWorld(clips=5, held_out=2, validation=3, seed=3)
    prepared = prepare(config, "f", store, tmp_path / "scratch", splits=VALIDATION)
    rows = shapes_world.write(config, "validation", range(3), tmp_path / "direct")
    samples = [parse_row(raw, file="validation.json", row=i) for i, raw in enumerate(rows)]
    expected = [decode_sample(sample, tmp_path / "direct", config.frames).to_row() for sample in samples]
    assert [clip.to_row() for clip in read(store, prepared, "validation")] == expected
