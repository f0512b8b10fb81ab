"""`swimlab checkpoint`, `ask` and `look` from the command line to the files."""

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from swim.data.synthetic import shapes_world
from swim.recipe import ShapesWorld
from swimlab import __main__
from swimlab.report.look.pictures import HOLD
from swimlab.store import query
from swimlab.store.sweep_store import SweepStore


@pytest.fixture(scope="module")
def trial(trained_store: SweepStore) -> str:
    (trial_id,) = [t for t, shown in query.arms_by_trial(trained_store).items() if shown[0].arm == "swim"]
    return trial_id


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("video")
    (row,) = shapes_world.write(ShapesWorld(clips=1, held_out=1), "held_out", range(1), folder)
    return str(folder / row["video"])


def run(capsys: pytest.CaptureFixture[str], *argv: object, code: int = 0) -> str:
    with pytest.raises(SystemExit) as ended:
        __main__.main([str(word) for word in argv])
    printed = capsys.readouterr()
    assert (ended.value.code or 0) == code, printed.out + printed.err
    return printed.out + printed.err


def test_a_checkpoint_is_asked_as_its_trial_is(
    trained_store: SweepStore, trial: str, video: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = ("--store", trained_store.uri, "--device", "cpu")
    said = run(capsys, "checkpoint", trial[:10], tmp_path / "model", "--store", trained_store.uri)
    assert f"trial {trial} in {tmp_path / 'model'}: 8 files" in said
    question = ("Describe the <ins>lemon</ins>.", "--max-new-tokens", 5)
    of_trial = run(capsys, "ask", trial[:10], video, *question, *store).splitlines()
    of_folder = run(capsys, "ask", tmp_path / "model", video, *question, *store).splitlines()
    assert of_trial[0] == of_folder[0]
    assert f"nano {trial[:8]}; finish stop; frames 0, 1, 2, 3 of {video}" in of_trial[1]


def test_a_look_writes_page_film_sheet_and_arrays(
    trained_store: SweepStore, trial: str, video: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--store", trained_store.uri, "--out", tmp_path / "out", "--max-new-tokens", 5, "--layers", "0,2")
    said = run(capsys, "look", trial[:10], video, "Describe the small lemon.", *flags)
    assert "noun lemon (found by rule)" in said
    assert f"nano {trial[:8]}: " in said
    assert "nano-base " in said  # beside it
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"index.html", "film.mp4", "sheet.png", "maps.npz"}
    with np.load(tmp_path / "out" / "maps.npz") as maps:
        assert maps["layers"].tolist() == [0, 2]
        assert maps["model_fused"].shape[1:] == (2, 8, 8)
        assert not np.allclose(maps["model_fused"], maps["base_fused"])
    with av.open(str(tmp_path / "out" / "film.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 2 * HOLD
    assert Image.open(tmp_path / "out" / "sheet.png").width > 400
    again = run(capsys, "look", trial[:10], video, "Describe the small lemon.", *flags, code=1)
    assert "not empty: name a new folder, nothing is overwritten" in again


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        (("look", "TRIAL", "VIDEO", "Describe it."), 1, "mark it yourself, as in 'Describe the brown <ins>dog</ins>.'"),
        (("look", "TRIAL", "no.mp4", "Describe the dog."), 1, "no.mp4 field 'video': no such file"),
        (("look", "TRIAL", "VIDEO", "Describe the dog.", "--layers", "7"), 1, "layers [7] are outside the model's 3"),
        (("look", "TRIAL", "VIDEO", "Describe the dog.", "--layers", "1-2"), 2, "neither numbers of layers (1,2)"),
        (("look", "TRIAL", "VIDEO", "Describe the dog.", "--sink", "rew"), 2, "the nearest is 'raw'"),
        (("look", "BASE", "VIDEO", "Describe the dog."), 1, "name one with --base, or --base none"),
        (("ask", "TRIAL", "VIDEO", "Describe the <ins>dog."), 1, "<ins> is never closed"),
        (("ask", "nosuch", "VIDEO", "Describe the dog."), 1, "begins with 'nosuch'"),
        (("checkpoint", "TRIAL", "VIDEO"), 1, "is there and not empty: name a new folder"),
        (("checkpoint", "TRIAL", "OUT", "--adapters"), 1, "trained whole weights"),
    ],
)
def test_a_mistake_is_a_line_that_says_what_to_do(
    trained_store: SweepStore,
    trial: str,
    video: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    argv: tuple[str, ...],
    code: int,
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    base = trained_store.records()[trial].init_trial_id
    named = {"TRIAL": trial, "VIDEO": video, "BASE": base, "OUT": "out"}
    said = run(capsys, *(named.get(word, word) for word in argv), "--store", trained_store.uri, code=code)
    assert says in said
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []
