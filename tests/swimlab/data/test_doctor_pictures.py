"""What is wrong with a row is seen in its picture, and the page stays one small file whatever the data holds."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from base64 import b64decode
from pathlib import Path

import case_files
import numpy as np
import planted_mistakes as planted
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from doctor_data import HOSTILE
from swim.data.rows.read import split
from swim.data.video.decoder import Decoder
from swim.recipe import FramePolicy
from swimlab.data.doctor import examination, findings, scenes
from swimlab.data.doctor.cautions import KEYS_UNCLEAR
from swimlab.data.doctor.row_checks import BROKEN_SCHEMA, CLAIM_SCHEMA, InspectionConfig, check_part
from swimlab.data.doctor.scenes import Scene
from swimlab.data.doctor.tally import Suspect, Tally, place_of
from swimlab.data.doctor.video_checks import check_videos
from swimlab.report import doctor_page, doctor_pictures, doctor_words

REPO = Path(__file__).parents[3]


def examined(file: Path, clips: Path | None, rows_per_part: int = 4000) -> examination.Examination:
    """The examination of a file, without Ray."""
    policy = FramePolicy()
    exam = InspectionConfig(annotations=(str(file),), videos=str(clips) if clips else None, frames=policy)
    tally, requirements = Tally(), list[dict[str, object]]()
    for part in split(file, rows_per_part):
        inspection = check_part(part, exam)
        tally.merge(Tally.from_json(json.loads(json.dumps(inspection.tally.to_json()))))
        requirements += inspection.claims
    if clips:
        table = pa.Table.from_pylist(requirements, schema=CLAIM_SCHEMA).sort_by("video")
        with Decoder(str(clips), policy) as decoder:
            tally.merge(check_videos(table, decoder, policy, 0).tally)
    return examination.Examination(tally, {str(file): file.stat().st_size}, {})


def found_in(outcome: examination.Examination, clips: Path | None) -> findings.DoctorFindings:
    (file,) = outcome.sizes
    exam = InspectionConfig(annotations=(file,), videos=str(clips) if clips else None)
    return findings.findings(exam, outcome, name="planted", recipe="the paper")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return planted.write(tmp_path_factory.mktemp("planted") / "data")


@pytest.fixture(scope="module")
def outcome(files: tuple[Path, Path]) -> examination.Examination:
    file, clips = files
    outcome = examined(file, clips)
    with Decoder(str(clips), scenes.PICTURE) as decoder:
        outcome.scenes = [scenes.load_scene(suspect, decoder) for suspect in scenes.chosen(outcome.tally)]
    return outcome


def scene_of(name: str, outcome: examination.Examination) -> Scene:
    """The scene of a mistake, under its concern."""
    row = 2 * list(planted.MISTAKES).index(name)
    (scene,) = [s for s in outcome.scenes if s.case.row == row and s.case.concern.startswith(planted.MISTAKES[name])]
    return scene


def decoded(picture: doctor_pictures.CasePicture) -> Image.Image:
    return Image.open(io.BytesIO(b64decode(picture.picture.removeprefix("data:image/webp;base64,"))))


@pytest.mark.parametrize("name", planted.MISTAKES)
def test_each_planted_mistake_is_drawn(name: str, outcome: examination.Examination) -> None:
    scene = scene_of(name, outcome)
    assert scene.case.text
    assert scene.case.nouns == ("red square", "blue bar")
    (drawn,) = doctor_pictures.case_pictures([scene])
    assert drawn.turns[0][1] == ("red square", True)
    image = decoded(drawn)
    assert image.size == (drawn.width_px, drawn.height_px)
    # The object's colour is in the picture, as a fill or as an outline.
    square, _ = (np.array(doctor_pictures._colour(i)) for i in range(2))
    assert (np.abs(np.asarray(image.convert("RGB")).astype(int) - square).max(-1) < 40).sum() > 40
    titles = [picture.title for picture in scene.pictures]
    width = scene.pictures[-1].frame_HWC.shape[1]
    grey = [bool((picture.frame_HWC == 200).all()) for picture in scene.pictures]
    match name:
        case "outline":
            assert width < image.width < 1.2 * width, "part of the outline is beside the picture"
        case "far":
            assert image.width > 2 * width, "the outline is beside the picture"
        case "swapped":
            assert titles[0] == "masks' own 320 × 180"
            assert grey[0]
        case "stretched":
            assert titles[0] == "masks' own 240 × 320"
        case "late":
            assert titles == ["frame 40, past the end: 11 is shown"]
        case "jump":
            assert titles == ["frame 0", "frame 5"]
        case "gone":
            assert all(grey)
            assert scene.case.problem == "no such file"
        case _:
            assert "frame 5" in titles
    assert (name in ("gone", "swapped", "stretched")) == any(grey)


def test_a_numbered_folder_with_gaps_is_drawn(tmp_path: Path) -> None:
    """Key 3 is the fourth picture by position, 7.jpg, and 3.jpg by number: whoever sees the mask on the wrong one knows
    which is meant."""
    file = tmp_path / "rows.json"
    (tmp_path / "clips").mkdir()
    file.write_text(json.dumps(case_files.VIDEO_CASES["numbered-frames-with-gaps"](tmp_path / "clips")))
    outcome = examined(file, tmp_path / "clips")
    with Decoder(str(tmp_path / "clips"), scenes.PICTURE) as decoder:
        (scene,) = [scenes.load_scene(suspect, decoder) for suspect in scenes.chosen(outcome.tally)]
    assert scene.case.concern.startswith(KEYS_UNCLEAR)
    assert [picture.title for picture in scene.pictures] == ["frame 3"]
    with Image.open(tmp_path / "clips/gap/7.jpg") as shown:
        expected_HWC = np.asarray(shown.convert("RGB").resize(scene.pictures[0].frame_HWC.shape[1::-1])).astype(int)
    assert np.abs(scene.pictures[0].frame_HWC - expected_HWC).mean() < 8


def test_the_page_is_one_small_file_with_a_picture_of_each_case(outcome: examination.Examination) -> None:
    found = found_in(outcome, Path("clips"))
    page = doctor_page.render_html(found, "store", failed=False, scenes=outcome.scenes)
    assert len(re.findall(r'<img src="data:image/webp;base64,', page)) == len(outcome.scenes) == len(found.cases)
    assert page.count("<img") == len(outcome.scenes)
    assert len(page) < 1_000_000
    concerns = [case.concern for case in found.cases]
    assert [case.broken for case in found.cases] == sorted((case.broken for case in found.cases), reverse=True)
    assert concerns[-1] == "rows drawn by chance"


def test_right_rows_raise_no_caution_and_are_drawn_by_chance(tmp_path: Path) -> None:
    file, clips = planted.write(tmp_path / "data", right_rows=8)
    right = file.with_name("right.jsonl")
    right.write_text("".join(json.dumps(planted.right_row(i)) + "\n" for i in range(8)))
    outcome = examined(right, clips)
    assert not outcome.tally.counts["caution"]
    chosen = scenes.chosen(outcome.tally)
    assert len(chosen) == scenes.CASES_BY_CHANCE
    scene = scenes.load_scene(chosen[0], None)
    assert scene.case.text.startswith("'red square' in frames 0 (2.8 %), 5 (2.8 %), 11 (2.8 %); 'blue bar'")
    assert "no --videos" in scene.case.problem
    assert [picture.frame_HWC.shape for picture in scene.pictures] == [(180, 320, 3)] * 3


def test_portions_choose_the_same_rows(files: tuple[Path, Path]) -> None:
    whole, parts = (
        [suspect.model_dump(exclude={"part"}) for suspect in scenes.chosen(examined(*files, rows_per_part=n).tally)]
        for n in (4000, 3)
    )
    assert whole == parts
    assert len(whole) > len(planted.MISTAKES)


def test_however_many_reasons_a_bounded_number_of_rows_is_kept() -> None:
    tally, reverse = Tally(), Tally()
    for tallied, numbers in ((tally, range(500)), (reverse, reversed(range(500)))):
        for i in numbers:
            tallied.suspect(
                Suspect(concern=f"reason {i}", severity=0, place=i, file="f", row=i, key="k", part="p", broken=True)
            )
    assert len(tally.suspects) == 64
    assert tally.to_json() == reverse.to_json()
    assert len(scenes.chosen(tally)) == scenes.REASONS


def test_pictures_are_made_small_enough_or_refused(
    outcome: examination.Examination, monkeypatch: pytest.MonkeyPatch
) -> None:
    def size() -> int:
        return sum(len(picture.picture) for picture in doctor_pictures.case_pictures(outcome.scenes))

    best = size()
    monkeypatch.setattr(doctor_pictures, "MOST_BYTES", best * 3 // 5)
    assert size() < best
    monkeypatch.setattr(doctor_pictures, "MOST_BYTES", 1000)
    with pytest.raises(ValueError, match="need more than 1000 bytes"):
        size()


leaf = st.one_of(st.none(), st.integers(-(10**20), 10**20), st.floats(), st.text(max_size=8), st.just(HOSTILE))
json_value = st.recursive(leaf, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner))
segmentation = st.one_of(
    json_value,
    st.lists(st.lists(st.one_of(st.floats(), st.integers()), max_size=8), max_size=2),
    st.fixed_dictionaries({"size": json_value, "counts": json_value}),
)
frame_entry = st.one_of(json_value, st.fixed_dictionaries({"segmentation": segmentation}))
row = st.fixed_dictionaries(
    {"conversations": st.just([{"from": "human", "value": "<ins>x</ins> <ins>"}, 3, {"value": None}])},
    optional={
        "video": leaf,
        "height": st.one_of(leaf, st.just(20)),
        "width": st.one_of(leaf, st.just(20)),
        "annotation": st.one_of(
            json_value, st.lists(st.dictionaries(st.sampled_from(["0", "7", "x", "²"]), frame_entry), max_size=2)
        ),
    },
)


@given(raw=st.one_of(row, json_value))
def test_any_row_can_be_drawn(raw: object) -> None:
    suspect = Suspect(concern="c", severity=0, place=place_of("k"), file="f", row=0, key="k", part="", broken=True)
    scene = scenes._draw(suspect, raw, None, None)
    doctor_pictures.case_pictures([scene])
    scene.case.model_dump_json()


# The command at the end


def shell(command: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        command,
        shell=True,
        cwd=REPO,
        env=os.environ | {"PATH": path, "PYTHONPATH": f"{REPO}{os.pathsep}{REPO / 'platform'}"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_the_command_at_the_end_works(
    files: tuple[Path, Path], outcome: examination.Examination, tmp_path: Path
) -> None:
    found = found_in(outcome, files[1])
    planned = shell(doctor_words.command(found, str(tmp_path / "my store")))
    assert planned.returncode == 0, planned.stdout + planned.stderr
    assert "all 30 rows read, all 3 videos opened, nothing decoded: 4 rows cannot be used" in planned.stdout


def test_the_command_prints_the_broken_rows_where_none_is_usable(
    outcome: examination.Examination, tmp_path: Path
) -> None:
    found = found_in(outcome, None).model_copy(
        update={"kinds": {"nl-refer": {"broken": 4}}, "broken_files": ("broken-0.parquet",)}
    )
    folder = tmp_path / "it's a store" / doctor_page.folder_of("planted")
    folder.mkdir(parents=True)
    rows = [example.model_dump() for examples in outcome.tally.examples.values() for example in examples]
    pq.write_table(pa.Table.from_pylist(rows, schema=BROKEN_SCHEMA), folder / "broken-0.parquet")
    printed = shell(doctor_words.command(found, str(tmp_path / "it's a store")))
    assert printed.returncode == 0, printed.stderr
    assert "a polygon lies outside the 180 × 320 picture" in printed.stdout
