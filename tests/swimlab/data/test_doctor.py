"""The doctor counts every row once, says where each broken one is, and believes nothing that a file says."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from doctor_data import FRAMES, HOSTILE, LLAVA, VIDEOREFER, make_videos, nl_refer
from swim.recipe import FramePolicy
from swimlab import __main__
from swimlab.cli.commands import doctor
from swimlab.cli.commands.doctor import Doctor, examine
from swimlab.data.doctor import examination as running
from swimlab.data.doctor import findings
from swimlab.data.doctor.row_checks import InspectionConfig
from swimlab.data.doctor.tally import Tally
from swimlab.data.doctor.video_checks import DecodeTrial
from swimlab.execution import cluster
from swimlab.report import doctor_page, doctor_words
from swimlab.report import doctor_text as texts


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_videos(tmp_path_factory.mktemp("videos"))


@pytest.fixture(scope="module")
def annotations(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two files, 50 rows, 6 broken in themselves and 5 by their videos."""
    folder = tmp_path_factory.mktemp("annotations")
    good = [nl_refer(i) for i in range(30)] + [VIDEOREFER] * 4 + [LLAVA | {"video": "0.mp4"}] * 5
    bad = [
        nl_refer(30, video=HOSTILE),
        nl_refer(31, video="2.mp4"),
        *[nl_refer(32 + i, video="gone.mp4") for i in range(3)],
    ]
    broken = [nl_refer(40, annotation=None), nl_refer(41, annotation=None), 7, {"id": HOSTILE, "video": "x"}, "", None]
    rows = [*good, *bad, *broken]
    (folder / "a.json").write_text(json.dumps(rows[::2]))
    (folder / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[1::2]))
    return [str(folder / "a.json"), str(folder / "b.jsonl")]


def run(store: Path, annotations: list[str], **changes: Any) -> tuple[int, str, dict[str, Any], Path]:
    """Exit code, what was printed, the summary, the report's folder."""
    chosen = {"store": str(store), "cache": store / "cache", "name": "mine", "max_frames": 4} | changes
    console = Console(file=io.StringIO(), width=120, force_terminal=False)
    code = examine(Doctor(annotations=annotations, **chosen), console)
    folder = store / "reports/doctor/mine"
    assert isinstance(console.file, io.StringIO)
    printed = " ".join(console.file.getvalue().split())  # lines break where the screen ends
    return code, printed, json.loads((folder / "summary.json").read_text()), folder


def broken_rows(folder: Path) -> list[dict[str, Any]]:
    return [row for file in sorted(folder.glob("broken-*.parquet")) for row in pq.read_table(file).to_pylist()]


@pytest.mark.ray
def test_portions_and_workers_make_no_difference(
    two_cpus: None, annotations: list[str], videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, printed, summary, folder = run(tmp_path / "one", annotations, videos=str(videos), decode=2, concurrency=1)
    assert code == 0
    assert summary["rows"] == 50
    assert sum(file["rows"] for file in summary["files"]) == 50
    assert summary["kinds"] == {
        "nl-refer": {"usable": 30, "broken": 7},
        "llava-video": {"usable": 5},
        "videorefer": {"to rewrite": 4},
        "unreadable": {"broken": 4},
    }
    assert "35 of 50 rows (70.0 %)" in printed
    assert summary["counts"]["video"] == {"readable": 2, "missing": 2, "unreadable": 1}
    found = broken_rows(folder)
    assert len(found) == 11
    assert len({(row["file"], row["row"]) for row in found}) == 11
    assert all(row["reason"] and row["hint"] and row["field"] for row in found)
    assert summary["decode"]["tried"] == 2
    assert summary["decode"]["frames_per_s"]["low"] < summary["decode"]["frames_per_s"]["mean"]

    monkeypatch.setattr(running, "ROWS_PER_PART", 3)
    monkeypatch.setattr(running, "BROKEN_ROWS_PER_FILE", 4)
    again = run(tmp_path / "two", annotations, videos=str(videos), decode=2, concurrency=2)
    assert len(again[2].pop("broken_files")) > len(summary.pop("broken_files")) == 1
    assert again[2].pop("decode")["tried"] == summary.pop("decode")["tried"]
    assert again[2] == summary
    assert broken_rows(again[3]) == found

    # A second exam of the name replaces the first one's broken rows.
    monkeypatch.setattr(running, "BROKEN_ROWS_PER_FILE", 1000)
    once_more = run(tmp_path / "two", annotations[:1])
    assert len(list(once_more[3].glob("broken-*.parquet"))) == 1
    assert len(broken_rows(once_more[3])) == 3 == sum(s.get("broken", 0) for s in once_more[2]["kinds"].values())


@pytest.mark.fault(
    injection="annotation files are cut, torn or missing when doctor reads them",
    symptom="the report passes off the first part as the whole",
    expected="error names file and row, the rest is counted",
)
@pytest.mark.ray
def test_a_file_that_breaks_off_is_reported_up_to_there(two_cpus: None, tmp_path: Path) -> None:
    text = json.dumps([nl_refer(i) for i in range(20)])
    cut = tmp_path / "cut.json"
    cut.write_text(text[: text.index('"n13"') + 8])
    torn = tmp_path / "torn.json"
    torn.write_text(text.replace('"id": "n7", ', '"id": "n7" '))
    whole = tmp_path / "whole.jsonl"
    whole.write_text(json.dumps(nl_refer(0)))
    code, printed, summary, _ = run(tmp_path / "store", [str(cut), str(torn), str(whole), str(tmp_path / "gone.json")])
    assert code == 1
    assert [file["rows"] for file in summary["files"]] == [13, 7, 1, 0]
    problems = [file["problem"] for file in summary["files"]]
    assert "row 13" in problems[0]
    assert "row 7" in problems[1]
    assert problems[2] == ""
    assert "cannot be read" in problems[3]
    assert summary["kinds"] == {"nl-refer": {"usable": 21}}
    assert "not read to its end" in printed
    assert "3 files could not be read to the end" in printed


@pytest.mark.ray
def test_too_many_broken_rows_are_a_failure(two_cpus: None, annotations: list[str], tmp_path: Path) -> None:
    code, printed, _, folder = run(tmp_path, annotations, max_quarantined_share=0.1)
    assert code == 1
    assert "12.0 %" in printed
    # Texts from data change nothing on the page, in the terminal or in Markdown.
    page = (folder / "index.html").read_text()
    assert "<script" not in page
    for text in (printed, page, (folder / "report.md").read_text()):
        assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", text)
    assert not re.search("https?:", re.sub(r"http://www\.w3\.org/[\w/]+", "", page)), "the page loads nothing"


@pytest.mark.ray
def test_annotations_videos_and_store_on_s3(
    two_cpus: None, s3_store_uri: str, annotations: list[str], videos: Path, tmp_path: Path
) -> None:
    import fsspec

    fs = fsspec.filesystem("s3", skip_instance_cache=True)
    for file in annotations:
        fs.put(file, f"{s3_store_uri}/in/{Path(file).name}")
    fs.put(str(videos), f"{s3_store_uri}/videos", recursive=True)
    console = Console(file=io.StringIO(), width=120)
    names = [f"{s3_store_uri}/in/{Path(file).name}" for file in annotations]
    chosen = Doctor(
        annotations=names, videos=f"{s3_store_uri}/videos", store=f"{s3_store_uri}/out", cache=tmp_path, decode=0
    )
    assert examine(chosen, console) == 0
    assert isinstance(console.file, io.StringIO)
    assert "35 of 50 rows" in console.file.getvalue()
    assert len(fs.ls(f"{s3_store_uri}/out/reports/doctor/a+b")) == 4


# The command


def found_with(**changes: Any) -> findings.DoctorFindings:
    tally = Tally()
    exam = InspectionConfig(annotations=("a.json",), frames=FRAMES)
    outcome = running.Examination(tally, {"a.json": 10}, {})
    return findings.findings(exam, outcome, name="empty", recipe="the paper").model_copy(update=changes)


def test_nothing_at_all_can_be_reported() -> None:
    found = found_with()
    assert findings.failed(found, 1.0)
    assert doctor_words.verdict(found) == "No row could be read."
    page = doctor_page.render_html(found, "store", failed=True)
    assert "No row was read." in page
    assert "# doctor empty" in texts.markdown(found, "store")


@pytest.mark.parametrize(
    ("usable", "broken", "share", "failed"),
    [(9, 1, 0.1, False), (8, 2, 0.1, True), (0, 1, 1.0, False), (1, 0, 0, False)],
)
def test_when_the_command_fails(usable: int, broken: int, share: float, failed: bool) -> None:
    found = found_with(kinds={"nl-refer": {"usable": usable, "broken": broken}}, rows=usable + broken)
    assert findings.failed(found, share) is failed


def test_an_estimate_says_how_far_it_may_be_off() -> None:
    clips = findings.ClipSummary(by_masks=False, clips=3600, frames=4, tokens=4, raw_bytes=1000)
    trials = [DecodeTrial(key=str(s), frames=30, seconds=s, bytes_raw=100, bytes_stored=50) for s in (1.0, 2.0, 3.0)]
    cost = findings.decode_cost([*trials, DecodeTrial(key="x", error="hung")], clips)
    assert cost is not None
    assert (cost.tried, cost.failed) == (4, 1)
    assert cost.core_hours.mean == pytest.approx(2.0)
    assert cost.core_hours.high == pytest.approx(2 + 4.3027 / 3**0.5, rel=1e-4)  # Student t, 2 degrees of freedom
    assert cost.core_hours.low == 0.0, "2 - 2.48"
    assert (cost.stored_bytes.low, cost.stored_bytes.mean) == (500.0, 500.0)
    assert findings.decode_cost([DecodeTrial(key="x", error="hung")], clips) is None
    one = findings.decode_cost(trials[:1], clips)
    assert one is not None
    assert one.core_hours.low is None


@pytest.mark.parametrize(
    ("argv", "word"),
    [
        ([], "usage"),
        (["dctor"], "the nearest is 'doctor'"),
        (["doctor"], "ANNOTATIONS"),
        (["doctor", "a.json", "--max-frames", "3"], "--max-frames"),
        (["doctor", "a.json", "--decode", "-1"], "--decode"),
        (["doctor", "x/a.json", "y/a.jsonl"], "same keys"),
        (["doctor", "a\udcff.json"], "rename"),
    ],
)
def test_a_wrong_call_exits_with_2_and_says_why(argv: list[str], word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        __main__.main(argv)
    assert ended.value.code == 2
    assert word in capsys.readouterr().err


def test_ctrl_c_and_what_cannot_be_used(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def raising(error: BaseException) -> None:
        def instead(*_: Any) -> int:
            raise error

        monkeypatch.setattr(doctor, "examine", instead)

    for error, code in (
        (KeyboardInterrupt(), 130),
        (ValueError("[bold]no such recipe"), 1),
        (cluster.PlanError("no"), 1),
    ):
        raising(error)
        with pytest.raises(SystemExit) as ended:
            __main__.main(["doctor", "a.json"])
        assert ended.value.code == code
    assert "[bold]no such recipe" in capsys.readouterr().out


def test_a_mistyped_videos_folder_is_no_missing_video(tmp_path: Path) -> None:
    chosen = Doctor(annotations=["a.json"], videos=str(tmp_path / "clps"), store=str(tmp_path / "store"))
    with pytest.raises(ValueError, match=r"no folder .*clps: --videos is"):
        examine(chosen, Console(file=io.StringIO()))
    assert list(tmp_path.iterdir()) == []


def test_names_and_recipes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SWIMLAB_STORE", "s3://bucket/prefix")
    chosen = Doctor(annotations=["my rows/ä b.json", "s3://b/c.jsonl"], videos="clips")
    assert chosen.store == "s3://bucket/prefix"
    assert chosen.report_name == "b+c"
    exam, recipe = chosen.inspection_and_recipe_name()
    assert exam.annotations == (str(tmp_path / "my rows/ä b.json"), "s3://b/c.jsonl")
    assert exam.videos == str(tmp_path / "clips")
    assert (exam.frames, recipe) == (FramePolicy(), "the paper")
    tiny, _ = Doctor(annotations=["a.json"], recipe="tiny", max_frames=8).inspection_and_recipe_name()
    assert tiny.frames.max_frames == 8
    assert tiny.frames.cell_px == 8
    named, _ = Doctor(annotations=["a.json"], frames="number").inspection_and_recipe_name()
    assert named.frames == FramePolicy(numbering="number")
    with pytest.raises(ValueError, match="did you mean"):
        Doctor(annotations=["a.json"], recipe="tiyn").inspection_and_recipe_name()
