"""The decoding measurement: all get the frames asked for, decodings are counted, and no bound is ever an error."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import measurements
import measuring
from swim.data.annotations.samples import parse_row
from swim.data.clips import InMemoryClips
from swim.data.rows.read import split
from swim.data.synthetic import shapes_world
from swim.data.types import Clip
from swim.data.video.decode import decode_frames
from swim.data.video.frame_choice import build_clip
from swimlab.cli import experiment_file
from swimlab.data import decode_part
from swimlab.store.sweep_store import SweepStore

# SWIMLAB_SMOKED=decord,dataloader,ours,prepare,cached,training,sweep measures all there is: a minute more.
SMOKED = os.environ.get("SWIMLAB_SMOKED", "decord,dataloader,ours,cached").split(",")
EXPERIMENTS = Path(__file__).parents[2] / "experiments" / "systems"
sys.path.insert(0, str(EXPERIMENTS))

import decode_data  # noqa: E402
import decode_passes  # noqa: E402
import decode_throughput  # noqa: E402
import decode_worker  # noqa: E402


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> decode_data.Data:
    made = decode_data.Data(tmp_path_factory.mktemp("cache"), "64px", 3)
    made.draw()
    return made


def settings(*arguments: str) -> decode_throughput.DecodeSettings:
    return experiment_file.settings(decode_throughput.DecodeSettings, arguments)


def test_videos_are_what_people_have(data: decode_data.Data) -> None:
    seen = []
    for wanted in data.frame_requests():
        with av.open(wanted.path) as container:
            stream = container.streams.video[0]
            packets = [packet for packet in container.demux(stream) if packet.size]
            assert (stream.codec_context.name, stream.codec_context.has_b_frames) == ("h264", True)
            assert (stream.height, stream.width) == (64, 64)
        assert 24 <= len(packets) <= 40
        assert sum(packet.is_keyframe for packet in packets) == 1
        assert len(set(wanted.indices)) == 8
        first, last = decode_frames(Path(wanted.path), [0, wanted.indices[-1]], wanted.size)[0].astype(int)
        assert np.abs(first - last).mean() > 5
        seen.append(first)
    assert not (seen[0] == seen[1]).all()
    before = Path(data.frame_requests()[0].path).stat().st_mtime_ns
    data.draw()
    assert Path(data.frame_requests()[0].path).stat().st_mtime_ns == before


def test_those_who_decode_by_hand_get_the_frames_that_ours_does(tmp_path: Path) -> None:
    small = decode_data.Videos(96, 160, 1, (12, 12), decode_data.SIZES["64px"].policy)
    data = decode_data.Data(tmp_path, "small")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(decode_data.SIZES, "small", small)
        data.draw()
        (wanted,) = data.frame_requests()
    assert wanted.size == (48, 80)
    expected = decode_frames(Path(wanted.path), wanted.indices, wanted.size)[0].astype(int)
    assert decode_passes.by_decord(wanted).shape == (8, 96, 160, 3)
    for frames_THWC in (decode_passes.resized(wanted), decode_passes.by_decord(wanted, scaled=True)):
        far = [np.abs(frames_THWC.astype(int) - expected[i]).mean() for i in range(8)]
        near = np.abs(frames_THWC.astype(int) - expected).mean(axis=(1, 2, 3))
        # Scalers differ by a few grey levels; one frame further the picture has moved.
        assert frames_THWC.shape == expected.shape
        assert near.max() < 6
        assert (near <= np.array(far)).all()


def test_clips_that_nobody_prepared_are_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--steps", "2", "--clips", "1", "--cache", str(tmp_path))
    assert decode_throughput.main(settings("worker", "--scheme", "training", *flags)) == 1
    assert "worker --scheme setup makes them" in capsys.readouterr().err


def test_a_reader_that_loses_frames_is_an_error(data: decode_data.Data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(decode_worker.PASSES, "decord", lambda *_: iter([("decord", 1, 1, lambda: [8, 8, 7])]))
    with pytest.raises(RuntimeError, match="decord: 23 frames came, 24 were asked for"):
        decode_worker.measure("decord", data, 2, False)


def test_peak_memory_is_that_of_the_whole_tree() -> None:
    child = "x = bytearray(b'x') * 2**27; print(flush=True); input()"
    with decode_worker._peak(True) as before:
        pass
    with (
        decode_worker._peak(True) as peak,
        subprocess.Popen([sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process,
    ):
        process.stdout.readline()
        mine = bytearray(b"x") * 2**26
        while len(peak) < 3:
            pass
        process.stdin.close()
    assert len(mine) == 2**26
    assert max(peak) - max(before) > 1.4 * 2**27
    with decode_worker._peak(False) as nothing:
        pass
    assert nothing == []


def test_rounds_interleave_and_memory_has_one_of_its_own() -> None:
    steps = list(decode_throughput.plan(settings("--rounds", "5", "--schemes", "decord,ours,prepare,training,sweep")))
    assert steps[:6] == [(0, s, size, True) for size in ("720p", "64px") for s in ("decord", "ours", "prepare")]
    assert [step[1:3] for step in steps if step[0] == 1] == [
        ("ours", "720p"), ("prepare", "720p"), ("decord", "720p"),
        ("ours", "64px"), ("prepare", "64px"), ("training", "64px"), ("decord", "64px"),
    ]  # fmt: skip
    assert not any(memory for number, _, _, memory in steps if number)
    assert [step for step in steps if step[1] == "sweep"] == [steps[-1]] == [(0, "sweep", "64px", False)]
    # From the fourth round on only what a bound is about.
    for number in (4, 5):
        judged = {step[1:3] for step in steps if step[0] == number}
        assert judged == {("decord", "720p"), ("ours", "720p"), ("training", "64px")}
    assert {step[2] for step in decode_throughput.plan(settings("--schemes", "decord-scaled"))} == {"720p"}
    for wrong in (("--schemes", "ray"), ("--schemes", "ours,ours"), ("--sizes", "1080p"), ("--rounds", "0")):
        with pytest.raises(SystemExit):
            settings(*wrong)


def test_training_says_what_it_waited_for() -> None:
    recipe = decode_data.tiny(2)
    assert recipe.data.clips == 2 * recipe.optim.batch
    asked: list[list[int]] = []

    class Late(InMemoryClips):
        def read(self, order: Iterable[int]) -> Iterator[Clip]:
            asked.append(list(order))
            return super().read(asked[-1])

    drawn = (shapes_world.row(recipe.data, "train", i) for i in range(recipe.data.clips))
    clips = Late([clip(i, row, frames_THWC) for i, (row, frames_THWC) in enumerate(drawn)])
    watched = decode_worker.Watched(clips)
    reading = watched.read([3, 1])
    assert asked == []  # what loading costs is part of the first wait
    assert [found.key for found in reading] == [clips.keys[3], clips.keys[1]]
    threads = torch.get_num_threads()
    answer = decode_worker.training(recipe, clips)
    torch.set_num_threads(threads)
    assert sorted(asked[1]) == list(range(32))
    assert (answer["clips"], answer["steps"]) == (32, 2)
    assert 0 < answer["wait_share"] < 1
    assert 0 < answer["encode_share"] < 1
    assert decode_throughput.DecodeCost(**answer, round=1).steps == 2


def clip(i: int, row: dict[str, Any], frames_THWC: np.ndarray) -> Clip:
    sample = parse_row(row, file="a.json", row=i)
    return build_clip(sample, list(range(len(frames_THWC))), frames_THWC, 4.0)


def test_every_decoding_is_counted_where_it_happens(data: decode_data.Data, tmp_path: Path) -> None:
    store, counts = SweepStore(str(tmp_path / "store")), tmp_path / "counts"
    counts.mkdir()
    (part,) = split(data.files.annotations[0], 8)
    job = decode_part.DecodeJob(
        split="train",
        number=0,
        part=part,
        videos=data.files.videos,
        formats=data.files.formats,
        frames=data.files.frames,
        folder="clips/f",
        store_clips=True,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode_part, "decode_row", decode_part.decode_row)  # comes back
        decode_worker.counting(str(counts))()
        assert [row for _, row in decode_part.run(job, store).usable] == [0, 1, 2]
        decode_part.run(job, store)  # finds its receipt
        (file,) = counts.iterdir()
        assert file.read_text().splitlines() == ["train 0", "train 1", "train 2"]
        decode_part.run(job.model_copy(update={"folder": "clips/g"}), store)
        assert len(file.read_text().splitlines()) == 6


SPEEDS = {"decord": 100.0, "dataloader": 180.0, "ours-warm": 200.0}


def answers(flags: dict[str, Any]) -> list[dict[str, Any]]:
    """What a worker might say; a clip of the sweep was decoded twice."""
    common = {"size": flags["size"], "processes": 2, "clips": 4, "machine": "m"}
    if flags["scheme"] == "setup":
        return []
    if flags["scheme"] == "sweep":
        return [common | {"scheme": "sweep", "arms": 16, "decoded": 4, "decodings": 5, "decodings_after": 0}]
    if flags["scheme"] == "training":
        return [common | {"scheme": "training", "steps": 9, "time_s": 1.0, "wait_share": 0.02, "encode_share": 0.1}]
    scheme = "ours-warm" if flags["scheme"] == "ours" else flags["scheme"]
    speed = SPEEDS[scheme]
    timed = {"time_s": 1.0, "frames": 8, "frames_per_s": speed, "frames_per_core_s": speed / common["processes"]}
    return [common | timed | {"scheme": scheme, "peak_bytes": 2**20 if flags["memory"] else None}]


def test_a_run_is_reported_whatever_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(decode_throughput, "ask", answers)
    flags = ("--schemes", "decord,dataloader,ours,training,sweep", "--rounds", "3", "--store", str(tmp_path))
    assert decode_throughput.main(settings(*flags)) == 0
    (run,) = measurements.runs(SweepStore(str(tmp_path)), "decode_throughput", decode_throughput.DecodeRun)
    assert run.machine == "m"
    for row in run.rows:
        if row.scheme in SPEEDS:
            assert (row.time_s is None) == (row.frames_per_s is None) == (row.round == 0)
            assert row.peak_bytes == (2**20 if row.round == 0 else None)
    assert [bound.judge(run)[0] for bound in decode_throughput.BOUNDS] == ["met", "met", "met"]
    (report,) = (tmp_path / "reports" / "decode_throughput").iterdir()
    text = (report / "report.md").read_text()
    assert r"| 2.000 \[2.000, 2.000\] | 3 | met |" in text
    assert "| a sweep of 16 arms, then one more trial | 4 | 4 | 5 | 0 | not met (each once) |" in text
    monkeypatch.setitem(SPEEDS, "ours-warm", 60.0)
    assert decode_throughput.main(settings(*flags)) == 0
    both = measurements.runs(SweepStore(str(tmp_path)), "decode_throughput", decode_throughput.DecodeRun)
    (slow,) = (other for other in both if other.run_id != run.run_id)
    assert [bound.judge(slow)[0] for bound in decode_throughput.BOUNDS] == ["not met", "not met", "met"]
    assert decode_throughput.main(settings("report", "--run-id", run.run_id, "--store", str(tmp_path))) == 0
    assert run.run_id in capsys.readouterr().out


def test_a_process_killed_for_its_memory_is_an_outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "fresh_process", lambda _, flags, __: [] if flags["scheme"] == "setup" else None)
    flags = ("--schemes", "cached", "--sizes", "64px", "--rounds", "1", "--store", str(tmp_path))
    assert decode_throughput.main(settings(*flags)) == 0
    (report,) = (tmp_path / "reports" / "decode_throughput").iterdir()
    assert "| 64px | cached | out of memory (2 of 2) |" in (report / "report.md").read_text()


@pytest.mark.slow
@pytest.mark.ray
def test_a_smoke_measures_counts_and_reports(tmp_path: Path) -> None:
    script = str(EXPERIMENTS / "decode_throughput.py")
    flags = ["--schemes", ",".join(SMOKED), "--processes", "2"]
    places = ["--store", str(tmp_path / "store"), "--cache", str(tmp_path / "cache")]
    done = subprocess.run(
        [sys.executable, script, "smoke", *flags, *places], capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout
    (file,) = (tmp_path / "store" / "measurements" / "decode_throughput").glob("*.json")
    rows = json.loads(file.read_text())["rows"]
    by_scheme = {row["scheme"]: row for row in rows}
    passes = {"decord", "dataloader-cold", "dataloader", "ours-cold", "ours-warm", "cached"}
    assert len(by_scheme) == len(rows)
    assert by_scheme.keys() - {"prepare", "training", "sweep"} == passes
    for scheme in passes:
        row, times = by_scheme[scheme], 2 if scheme in ("dataloader", "ours-warm") else 1
        assert row["frames"] == times * 8 * 8
        assert row["clips"] == times * 8
        assert row["time_s"] * row["frames_per_s"] == pytest.approx(row["frames"])
        assert row["frames_per_core_s"] * row["processes"] == pytest.approx(row["frames_per_s"])
        assert row["peak_bytes"] > 2**25
    if sweep := by_scheme.get("sweep"):
        counted = [sweep[name] for name in ("arms", "clips", "decoded", "decodings", "decodings_after")]
        assert counted == [2, 64, 64, 64, 0]
    table = pq.read_table(tmp_path / "store" / "tables" / "measurements" / "decode_throughput.parquet")
    assert table.num_rows == len(rows)
    (report,) = (tmp_path / "store" / "reports" / "decode_throughput").iterdir()
    assert {path.name for path in report.iterdir()} == {"index.html", "measured.png", "report.md"}
    # A second look at the cache decodes nothing: what was made is found.
    made = decode_data.Data(tmp_path / "cache", "64px", 8)
    for stored in (False, True):
        assert made.prepared(stored=stored)[1].rows("train") == 8
