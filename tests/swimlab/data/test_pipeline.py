"""Annotation files → decoded clips in the store: exact, in order, with a reason for whatever is left out."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import psutil
import pytest
from pipeline_kit import FRAMES, contents, in_process, read, row, videos, written

import nano
from swim.data.annotations.samples import parse_row
from swim.data.synthetic import shapes_world
from swim.data.video.decode import decode_sample
from swim.recipe import FramePolicy, NLReferFiles, ShapesWorld
from swimlab import Arm
from swimlab.data import decode_part, preparation
from swimlab.data.decode_part import DecodeJob
from swimlab.data.preparation import PipelineError, load_prepared, load_quarantine, prepare
from swimlab.experiment.plan import make_plan
from swimlab.experiment.run_settings import Settings
from swimlab.store.sweep_store import SweepStore

__all__ = ["videos"]


@pytest.mark.ray
def test_good_rows_are_decoded_and_bad_ones_explained(
    two_cpus: None, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparation, "MAX_ROWS_PER_PART", 4)
    good = [row(f"r{i}", f"{i % 3}.mp4") for i in range(11)]
    (videos / "noise.mp4").write_bytes(b"no video")
    noise, up = row("noise", "noise.mp4"), row("up", "../x.mp4")
    bad = [row("gone", "gone.mp4"), "{cut", row("two", "1.mp4", tags=2), noise, up]
    data = NLReferFiles(
        annotations=(written(tmp_path, "b.jsonl", good[:6] + bad), written(tmp_path, "a.jsonl", good[6:])),
        videos=str(videos),
        frames=FRAMES,
    )
    store, seen = SweepStore(str(tmp_path / "store")), []
    prepared = prepare(data, "f1", store, tmp_path / "scratch", lambda *step: seen.append(step))

    clips = read(store, prepared, "train")
    assert [clip.key for clip in clips] == sorted(
        [f"b:{i:08d}:r{i}" for i in range(6)] + [f"a:{i:08d}:r{i + 6}" for i in range(5)]
    )
    for clip in clips:
        i = int(clip.key.rsplit("r", 1)[1])
        alone = decode_sample(parse_row(good[i], file="x.json", row=0), videos, FRAMES)
        assert (clip.turns, clip.masks, clip.frame_indices) == (alone.turns, alone.masks, alone.frame_indices)
        np.testing.assert_array_equal(clip.frames_THWC, alone.frames_THWC)

    left_out = {entry["row"]: entry for entry in load_quarantine(store, prepared).to_pylist()}
    assert {i: entry["field"] for i, entry in left_out.items()} == {
        6: "video",
        7: "row",
        8: "annotation",
        9: "video",
        10: "video",
    }
    assert all(entry["file"] == data.annotations[0] and entry["hint"] for entry in left_out.values())
    assert left_out[8]["key"] == "b:00000008:two"
    assert prepared.quarantined["annotation: N <ins> tags, N annotation entries"] == 1
    assert sum(prepared.quarantined.values()) == 5

    assert prepared.held_out == "train"
    assert prepared.rows("held_out") == prepared.rows("train") == 11
    assert read(store, prepared, "held_out")[0].key == clips[0].key
    assert len(prepared.splits["train"]) == 4  # parts of 4 rows, a's and b's apart: of 2 + 3 one (6 to 9 of b) lost all
    assert seen[-1] == ("decode clips", 16, 16)
    assert list((tmp_path / "scratch").iterdir()) == []

    one_process = SweepStore(str(tmp_path / "one-process"))
    monkeypatch.setattr(preparation, "_decoded", in_process)
    prepare(data, "f1", one_process, tmp_path / "scratch")
    assert contents(one_process) == contents(store)


@pytest.mark.fault(
    injection="most rows of a data set cannot be used",
    symptom="a model is trained on the few that are left",
    expected="error shows the reasons",
)
@pytest.mark.ray
def test_too_little_left_is_an_error_that_shows_the_reasons(two_cpus: None, videos: Path, tmp_path: Path) -> None:
    rows = [row("good", "0.mp4"), row("gone1", "gone1.mp4"), row("gone2", "gone2.mp4")]
    data = NLReferFiles(annotations=(written(tmp_path, "a.jsonl", rows),), videos=str(videos), frames=FRAMES)
    store = SweepStore(str(tmp_path / "store"))
    with pytest.raises(PipelineError, match=r"2 of 3 rows cannot be used, more than 50%.*2 × video: no such file"):
        prepare(data, "f", store, tmp_path / "scratch")
    kinds = {path.split("/")[-1].rpartition("-")[0] for path in store.list_files("clips")}
    assert kinds == {"quarantine", "train-index", "part-000000", "done-000000"}
    held_out = data.model_copy(update={"held_out_annotations": (written(tmp_path, "h.jsonl", rows[1:2]),)})
    with pytest.raises(PipelineError, match="no row of 'held_out' is left"):
        prepare(held_out, "f", store, tmp_path / "scratch", max_quarantined_share=1.0)
    assert load_prepared(store, "f") is None
    kept = prepare(data, "f", store, tmp_path / "scratch", max_quarantined_share=0.7)
    assert load_prepared(store, "f") == kept
    assert kept.rows("train") == 1


@pytest.mark.ray
def test_the_embedded_data_takes_the_same_way(two_cpus: None, tmp_path: Path) -> None:
    config = ShapesWorld(clips=66, held_out=3, seed=3)
    store = SweepStore(str(tmp_path / "store"))
    prepared = prepare(config, "shapes", store, tmp_path / "scratch")
    assert (prepared.rows("train"), prepared.rows("held_out"), prepared.quarantined) == (66, 3, {})
    for split in ("train", "held_out"):
        rows = shapes_world.write(config, split, range(prepared.rows(split)), tmp_path / "direct")
        direct = [parse_row(raw, file=f"{split}.json", row=i) for i, raw in enumerate(rows)]
        expected = sorted((decode_sample(s, tmp_path / "direct", config.frames) for s in direct), key=lambda c: c.key)
        found = read(store, prepared, split)
        assert [clip.to_row() for clip in found] == [clip.to_row() for clip in expected]


@pytest.fixture
def finished(videos: Path, tmp_path: Path) -> tuple[SweepStore, NLReferFiles]:
    """A committed data set, made without Ray from the pipeline's own tasks."""
    data = NLReferFiles(
        annotations=(written(tmp_path, "a.jsonl", [row("r", "0.mp4")]),), videos=str(videos), frames=FRAMES
    )
    return SweepStore(str(tmp_path / "store")), data


def test_what_is_committed_needs_no_ray(
    finished: tuple[SweepStore, NLReferFiles], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, data = finished
    with monkeypatch.context() as patch:
        patch.setattr(preparation, "_decoded", in_process)
        prepare(data, "f", store, tmp_path / "scratch")
    code = (
        "import sys; from pathlib import Path; from swimlab.store.sweep_store import SweepStore\n"
        "from swimlab.data.preparation import *\n"
        "from swim.recipe import NLReferFiles\n"
        f"store = SweepStore({store.uri!r}); data = NLReferFiles(annotations=('gone.json',), videos='gone')\n"
        "prepared = prepare(data, 'f', store, Path('nowhere'))\n"
        "(clip,) = StoredClips(store, prepared, 'train').read([0])\n"
        "print(clip.key, 'ray' in sys.modules, Path('nowhere').exists())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.split() == ["a:00000000:r", "False", "False"]


def test_the_first_manifest_counts(
    finished: tuple[SweepStore, NLReferFiles], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, data = finished
    monkeypatch.setattr(preparation, "_decoded", in_process)
    other = prepare(data, "f", SweepStore(str(tmp_path / "elsewhere")), tmp_path / "scratch")
    other = other.model_copy(update={"quarantined": {"written by somebody else": 1}})

    def meanwhile(*args: Any) -> Iterator[Any]:
        yield from in_process(*args)
        store.put_create_only("clips/f/manifest.json", other.model_dump_json().encode())

    monkeypatch.setattr(preparation, "_decoded", meanwhile)
    assert prepare(data, "f", store, tmp_path / "scratch") == other


@pytest.mark.fault(
    injection="a shard of prepared clips is altered or deleted",
    symptom="trials train on other pixels",
    expected="error names the folder to delete",
)
def test_a_damaged_or_missing_shard_is_noticed(
    finished: tuple[SweepStore, NLReferFiles], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, data = finished
    monkeypatch.setattr(preparation, "_decoded", in_process)
    prepared = prepare(data, "f", store, tmp_path / "scratch")
    path = Path(store.uri) / "clips" / "f" / prepared.splits["train"][0].name
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(PipelineError, match=r"not what was committed: delete clips/f/"):
        read(store, prepared, "train")
    path.unlink()
    with pytest.raises(PipelineError, match="missing"):
        read(store, prepared, "train")


def job(data: NLReferFiles, store_clips: bool = True) -> DecodeJob:
    (part,) = preparation._parts(data.annotations, 10, lambda *_: None)
    return DecodeJob(
        split="train",
        number=0,
        part=part,
        videos=data.videos,
        formats=data.formats,
        frames=FRAMES,
        folder="clips/f",
        store_clips=store_clips,
    )


def test_what_crashes_on_a_row_is_quarantined_by_name(
    finished: tuple[SweepStore, NLReferFiles], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, data = finished

    def crash(*args: Any, **_: Any) -> None:
        raise RuntimeError("parser \udc80 crashed")

    for fault in (MemoryError, OSError):  # the machine's, not the row's

        def fail(*args: Any, fault: type[Exception] = fault, **_: Any) -> None:
            raise fault

        monkeypatch.setattr(decode_part, "parse_row", fail)
        with pytest.raises(fault):
            decode_part.run(job(data), store)
    monkeypatch.setattr(decode_part, "parse_row", crash)
    result = decode_part.run(job(data), store)
    (entry,) = result.left_out
    assert entry.reason == "RuntimeError: parser \\udc80 crashed"
    assert (entry.key, result.table, result.usable) == ("a:00000000:r", None, ())


def test_a_part_that_is_done_is_not_done_again(
    finished: tuple[SweepStore, NLReferFiles], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, data = finished
    first = decode_part.run(job(data), store)
    before = contents(store)

    def decoded(*args: Any) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(decode_part, "decode_row", decoded)
    assert decode_part.run(job(data), store) == first
    assert contents(store) == before
    # The same part of the same file is known wherever it lies; another part is not.
    moved = job(data).model_copy(update={"part": job(data).part.model_copy(update={"file": "/elsewhere/a.jsonl"})})
    assert decode_part.run(moved, store) == first
    with pytest.raises(AssertionError, match="decoded again"):
        decode_part.run(job(data, store_clips=False).model_copy(update={"folder": "clips/f/checked"}), store)


def test_sixteen_arms_decode_each_clip_once(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row(f"r{i}", f"{i % 3}.mp4") for i in range(8)]
    data = NLReferFiles(annotations=(written(tmp_path, "a.jsonl", rows),), videos=str(videos), frames=FRAMES)
    fractions = [Arm(f"fraction {n}", {"data.fraction": n / 8}) for n in range(1, 9)]
    arms = (*fractions, *(Arm(f"lr {n}", {"optim.lr": n * 1e-4}) for n in range(1, 9)))
    plan = make_plan(nano.ablation(arms=arms), nano.recipe(data=data, base=False), Settings(cache=tmp_path / "cache"))
    decoded: list[str] = []
    really = decode_part.decode_row

    def count(raw: Any, number: int, job: DecodeJob) -> Any:
        decoded.append(f"{job.part.file}:{number}")
        return really(raw, number, job)

    monkeypatch.setattr(decode_part, "decode_row", count)
    monkeypatch.setattr(preparation, "_decoded", in_process)
    store = SweepStore(str(tmp_path / "store"))
    specs = [spec for wave in plan.waves for spec in wave]
    assert len({spec.trial_id for spec in specs}) == len(specs) == 32
    for spec in specs:
        assert isinstance(spec.recipe.data, NLReferFiles)
        prepare(spec.recipe.data, spec.clips_fingerprint, store, tmp_path / "scratch")
    assert sorted(decoded) == sorted({f"{data.annotations[0]}:{i}" for i in range(8)})


def kill_one_at_work() -> int | None:
    """Kills a Ray worker that has a task of the pipeline in hand, if one is seen."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if process.cmdline()[:1] == ["ray::Map(_run)"]:
                process.kill()
                return process.pid
    return None


@pytest.mark.fault(
    injection="kill -9 of Ray Data workers that decode",
    symptom="rows are missing or twice, or shards differ",
    expected="right: the same bytes",
)
@pytest.mark.ray
def test_killed_workers_and_their_number_change_nothing(
    two_cpus: None, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.data import DataContext, ExecutionResources

    monkeypatch.setattr(preparation, "MAX_ROWS_PER_PART", 1)
    rows = [row(f"r{i}", f"{i % 3}.mp4") for i in range(24)] + [row("gone", "gone.mp4")]
    data = NLReferFiles(annotations=(written(tmp_path, "a.jsonl", rows),), videos=str(videos), frames=FRAMES)
    options = DataContext.get_current().execution_options
    killed, decoding, over = list[int](), Event(), Event()

    def kill(stage: str, done: int, total: int) -> None:
        if stage == "decode clips":
            decoding.set()

    def kill_two() -> None:
        decoding.wait()
        while len(killed) < 2 and not over.wait(0.02):
            killed.extend(pid for pid in [kill_one_at_work()] if pid)

    Thread(target=kill_two, daemon=True).start()
    stored = {}
    for workers, progress in ((1, None), (2, kill)):
        monkeypatch.setattr(options, "resource_limits", ExecutionResources.for_limits(cpu=workers))
        store = SweepStore(str(tmp_path / f"store-{workers}"))
        prepared = prepare(data, "f", store, tmp_path / "scratch", progress or (lambda *_: None))
        assert prepared.rows("train") == 24
        stored[workers] = contents(store)
    over.set()
    assert killed
    assert stored[2] == stored[1]
    assert len(stored[1]) > 10


def test_files_that_cannot_be_one_data_set_are_refused(tmp_path: Path) -> None:
    store = SweepStore(str(tmp_path / "store"))
    (tmp_path / "b").mkdir()
    twins = (written(tmp_path, "a.jsonl", []), written(tmp_path / "b", "a.jsonl", []))
    for annotations, reason in ((twins, "called 'a'"), (twins[:1], "no row"), (("gone.json",), "cannot be read")):
        with pytest.raises(PipelineError, match=reason):
            prepare(NLReferFiles(annotations=annotations, videos="."), "f", store, tmp_path / "scratch")


@pytest.mark.parametrize(("max_frames", "max_pixels", "rows"), [(4, 64 * 64, 256), (32, 602_112, 4), (512, 10**7, 1)])
def test_shards_stay_small_in_memory(max_frames: int, max_pixels: int, rows: int) -> None:
    assert preparation._rows_per_part(FramePolicy(max_frames=max_frames, max_pixels=max_pixels)) == rows
