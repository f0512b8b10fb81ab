"""Clips decoded while training: the numbers of stored clips, from data that fits neither memory nor object store."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

import nano
from swim.data.synthetic import shapes_world
from swim.recipe import FramePolicy, NLReferFiles, ShapesWorld
from swimlab import Arm
from swimlab.cli import experiment_file
from swimlab.data import preparation, streamed_clips
from swimlab.data.preparation import PipelineError, prepare
from swimlab.data.prepared_clips import StoredClips, load_prepared
from swimlab.data.streamed_clips import StreamedClips
from swimlab.experiment.run_settings import Settings
from swimlab.store.sweep_store import SweepStore

OBJECT_STORE_BYTES = 80 * 2**20


@pytest.fixture(scope="module")
def four_cpus() -> Iterator[None]:
    ray.init(
        address="local",
        num_cpus=4,
        include_dashboard=False,
        object_store_memory=OBJECT_STORE_BYTES,
        log_to_driver=False,
    )
    yield
    ray.shutdown()


@pytest.fixture
def data(tmp_path: Path) -> NLReferFiles:
    """Sixteen drawn clips and their rows as a user would bring them; two of them cannot be used."""
    world, folder = ShapesWorld(clips=12, held_out=4), tmp_path / "data"
    for split, n in (("train", 12), ("held_out", 4)):
        rows: list[Any] = shapes_world.write(world, split, range(n), folder)
        if split == "train":
            rows[3] |= {"video": "videos/gone.mp4"}
            rows[7] = "no row"
        (folder / f"{split}.json").write_text(json.dumps(rows))
    return NLReferFiles(
        annotations=(str(folder / "train.json"),),
        held_out_annotations=(str(folder / "held_out.json"),),
        videos=str(folder),
        frames=world.frames,
    )


@pytest.mark.slow
@pytest.mark.ray
def test_a_streamed_trial_is_the_stored_trial(four_cpus: None, data: NLReferFiles, tmp_path: Path) -> None:
    recipe = nano.recipe(steps=11, base=False, data=data)
    found = {}
    for name, flags in (("stored", {}), ("streamed", {"clips": "stream", "decode_cpus": 2})):
        chosen = Settings(store=str(tmp_path / name), cache=tmp_path / "cache", workers=2, **flags)
        with pytest.raises(SystemExit) as ended:
            experiment_file.run([nano.ablation(seeds=(0,), arms=(Arm("a"),))], chosen, lambda: recipe)
        assert ended.value.code == 0
        store = SweepStore(chosen.store)
        ((trial_id, record),) = store.records().items()
        # Nothing is decoded for a film alone: a streamed trial has none.
        decided = {name: entry.sha256 for name, entry in record.files.items() if name != "film.parquet"}
        clips = [path for path in store.list_files("clips") if "/part-" in path]
        found[name] = (trial_id, record.metrics, decided)
        assert bool(clips) == (name == "stored")
        assert record.metrics["train.clips"] == 10
        assert record.cost.data_wait_s > 0
    assert found["streamed"] == found["stored"]


@pytest.mark.fault(
    injection="streamed clips do not fit Ray's object store",
    symptom="training hangs, or a rank gets others' rows",
    expected="right: each rank its rows in its order",
)
@pytest.mark.slow
@pytest.mark.ray
def test_more_than_the_object_store_holds(four_cpus: None, tmp_path: Path) -> None:
    """Each rank of a worker group gets its own rows in its own order."""
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    folder = tmp_path / "data"
    folder.mkdir()
    side, rows = 320, []
    for i in range(6):
        frames_THWC = np.full((10, side, side, 3), 40 * i, np.uint8)
        (folder / f"{i}.mp4").write_bytes(shapes_world.encode_mp4(frames_THWC))
        said = [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "Runs."}]
        rows.append({"id": str(i), "video": f"{i}.mp4", "conversations": said})
    (folder / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    frames = FramePolicy(max_frames=10, min_pixels=64, max_pixels=side * side, cell_px=8)
    files = NLReferFiles(annotations=(str(folder / "a.jsonl"),), videos=str(folder), frames=frames)
    store = SweepStore(str(tmp_path / "store"))
    prepared = prepare(files, "f", store, tmp_path / "scratch", store_clips=False)
    reads = 30
    assert 2 * reads * 10 * side * side * 3 > 2 * OBJECT_STORE_BYTES

    def loop(config: dict[str, Any]) -> list[int]:
        # A task's clips beside the store as they are beside one of gigabytes: of 64 MiB each all would go to the disk.
        streamed_clips._TASK_BYTES = 8 * 2**20
        rank = ray.train.get_context().get_world_rank()
        streamed = StreamedClips(store, prepared, "train", files, cpus=1)
        order = np.random.default_rng(rank).integers(0, 6, config["reads"]).tolist()
        seen = [(int(c.key[-1]), c.frames_THWC.shape, int(c.frames_THWC.mean())) for c in streamed.read(order)]
        assert [number for number, _, _ in seen] == order
        assert all(shape == (10, side, side, 3) and abs(mean - 40 * number) < 4 for number, shape, mean in seen)
        return order

    result = TorchTrainer(
        loop,
        train_loop_config={"reads": reads},
        scaling_config=ScalingConfig(num_workers=2, resources_per_worker={"CPU": 1}),
        run_config=RunConfig(storage_path=str(tmp_path / "run")),
    ).fit()
    assert len(result.return_value) == reads


@pytest.mark.fault(
    injection="a video disappears between the check and a streamed epoch",
    symptom="the batch is short without a word",
    expected="error names the row",
)
@pytest.mark.ray
def test_a_row_that_broke_since_it_was_checked_is_named(two_cpus: None, data: NLReferFiles, tmp_path: Path) -> None:
    (file,) = map(Path, data.held_out_annotations)
    rows = json.loads(file.read_text())
    turns = [{"from": "human", "value": "What does <region> do?"}, {"from": "gpt", "value": "It moves."}]
    rows.append(rows[0] | {"conversations": turns, "annotation": rows[0]["annotation"][:1]})
    file.write_text(json.dumps(rows))
    data = data.model_copy(update={"placeholders": "keep", "formats": (*data.formats, "videorefer")})
    store = SweepStore(str(tmp_path / "store"))
    prepared = prepare(data, "f", store, tmp_path / "scratch", store_clips=False)
    assert load_prepared(store, "f") is None
    assert load_prepared(store, "f", stored=False) == prepared
    assert (prepared.rows("train"), prepared.rows("held_out"), prepared.quarantine.rows) == (10, 5, 2)
    stored = prepare(data, "f", store, tmp_path / "scratch")
    streamed = StreamedClips(store, prepared, "held_out", data, cpus=1)
    order = [2, 0, 2, 4]
    expected = [clip.to_row() for clip in StoredClips(store, stored, "held_out").read(order)]
    assert [clip.to_row() for clip in streamed.read(order)] == expected
    assert list(streamed.read([])) == []
    (Path(data.videos) / "videos" / "held_out_000001.mp4").unlink()
    with pytest.raises(PipelineError, match=r"held_out:00000001:.*no such file.*could be used when the data was check"):
        list(streamed.read([0, 1]))


def test_a_plan_without_cpus_to_decode_on_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    stream = ["--clips", "stream"]
    for flags, why in (
        (["--workers", "1", *stream], "reserve CPUs for it"),
        ([*stream, "--decode-cpus", "2"], "needs --workers"),
        (["--workers", "3", *stream, "--decode-cpus", "2"], "2 for 3 workers"),
        (["--decode-cpus", "2"], "only --clips stream uses them"),
    ):
        with pytest.raises(SystemExit, match="2"):
            experiment_file.settings(Settings, flags)
        assert why in capsys.readouterr().err
    assert experiment_file.settings(Settings, ["--workers", "1", *stream, "--decode-cpus", "1"]).decode_cpus == 1
    with pytest.raises(SystemExit):
        nano.ablation().main(argv=["plan", "--workers", "1", *stream, "--decode-cpus", "1"])
    assert "--clips stream is for your own files" in capsys.readouterr().out


def test_an_estimate_refuses_before_anything_is_decoded(
    data: NLReferFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swimlab.data.size_estimate.SMALL_BYTES", 0)

    def decoded(*_: Any) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(preparation, "_decoded", decoded)
    store, bytes_a_clip = SweepStore(str(tmp_path / "store")), 4 * 64 * 64 * 3
    said: list[tuple[str, int, int]] = []
    with pytest.raises(PipelineError, match=r"16 rows decode to about 0\.000786 GB .*estimated from .*--clips stream"):
        prepare(data, "f", store, tmp_path, lambda *step: said.append(step), max_clips_bytes=15.9 * bytes_a_clip)
    assert {stage for stage, _, _ in said} == {"find rows", "estimate size"}
    with pytest.raises(AssertionError, match="decoded"):
        prepare(data, "f", store, tmp_path, max_clips_bytes=16 * bytes_a_clip)
