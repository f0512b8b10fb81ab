"""The GPU check runs on a CPU at tiny size without what a bare GPU machine lacks, keeps what it measured when it is
cut, and judges its bars by whole intervals."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

EXPERIMENTS = Path(__file__).parents[2] / "experiments" / "systems"
sys.path.insert(0, str(EXPERIMENTS))

import gpu_check  # noqa: E402
import gpu_model  # noqa: E402
from gpu_results import Bar, Results, derive, table  # noqa: E402

LACKING = ("ray", "av", "decord", "pyarrow", "s3fs", "boto3", "optuna", "peft", "pydantic_settings", "rich")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """(the JSON, what was printed) of a run in a process that cannot import what is lacking."""
    folder = tmp_path_factory.mktemp("check")
    blocked = "".join(f"sys.modules[{name!r}] = None\n" for name in LACKING)
    (folder / "sitecustomize.py").write_text(f"import sys\n{blocked}")
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    out = folder / "deep" / "check.json"
    line = [sys.executable, str(EXPERIMENTS / "gpu_check.py"), "--size", "tiny", "--rounds", "2", "--out", str(out)]
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(line, capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(out.read_text()), done.stdout


def test_every_part_measures(measured: tuple[dict[str, Any], str]) -> None:
    facts, printed = measured
    assert facts["failures"] == []
    assert facts["bars"] == []  # those of 7B
    rows = {(row["part"], row["name"]): row for row in facts["rows"]}
    for part, name in (
        ("autocast", "step"),
        ("masters", "step"),
        ("masters", "mfu, features given"),
        ("overhead", "small masks ÷ sft"),
        ("overhead", "large masks ÷ sft"),
        ("numerics", "mask_loss, autocast against fp32"),
        ("numerics", "mask_loss, masters against fp32"),
    ):
        assert len(rows[part, name]["values"]) == 2
        assert name in printed
    assert 0 < rows["numerics", "mask_loss, masters against fp32"]["median"] < 0.05
    # One call a layer and a padded MLP give the features of stock transformers, up to bf16.
    errors = [rows["numerics", f"tower, {name}, against fp32"]["median"] for name in ("sdpa", "varlen, padded")]
    assert errors[1] == pytest.approx(errors[0], rel=0.2)
    assert facts["torch"]
    assert len(facts["commit"]) == 40


def test_an_unknown_part_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu_check.py", "--only", "autocst"])
    with pytest.raises(SystemExit) as ended:
        gpu_check.arguments()
    assert ended.value.code == 2
    assert "the parts are autocast, masters, overhead, numerics" in capsys.readouterr().err


def test_the_7b_has_its_parameters_and_its_tokens() -> None:
    shape = gpu_model.SHAPES["7b"]
    assert shape.step_flops(shape.tokens) == pytest.approx(6 * 6.525e9 * 8192 + 6 * 28 * 3584 * 8192**2, rel=1e-3)
    assert shape.cell_px == 28
    assert (shape.frames // 2) * (shape.side // shape.cell_px) ** 2 == 7688
    tiny = gpu_model.SHAPES["tiny"]
    encode = gpu_model.encoder(tiny)
    for masks, maps, size in (("360p", 8, (36, 64)), ("720p", 16, (72, 128)), ("1080p", 16, (108, 192))):
        for clip in gpu_model.clips(tiny, 2, masks):
            encoded = encode(clip)
            assert len(encoded.input_ids_L) == tiny.tokens
            assert sum(len(noun.masks) for noun in encoded.nouns) == maps
            sizes = {(rle.height, rle.width) for noun in encoded.nouns for rle in noun.masks.values()}
            assert sizes == {size}


def test_values_are_kept_when_they_come(tmp_path: Path) -> None:
    results = Results(tmp_path / "out.json")
    results.note(card="H200")
    for value in (1.0, 1.2):
        results.add("overhead", "sft", "s", value, unchecked=8)
        results.add("overhead", "small masks", "s", value * 1.01)
    results.fail("masters", "out of memory")
    again = Results(tmp_path / "out.json")
    assert again.values("overhead", "sft") == [1.0, 1.2]
    assert again.facts["card"] == "H200"
    assert again.facts["failures"] == [{"part": "masters", "error": "out of memory"}]
    derive(again, 1e12)
    assert again.values("overhead", "small masks ÷ sft") == pytest.approx([1.01, 1.01])
    assert again.row("overhead", "sft")["unchecked"] == 8
    assert "FAILED     masters: out of memory" in table(again)


@pytest.mark.parametrize(
    ("values", "most", "verdict"),
    [
        ([1.0, 1.001, 0.999], True, "met"),
        ([1.03, 1.031, 1.029], True, "not met"),
        ([1.0, 1.05, 1.02], True, "undecided"),
        ([1.0], True, "undecided"),
        ([], True, "open"),
        ([1.03, 1.031, 1.029], False, "met"),
        ([1.0, 1.001, 0.999], False, "not met"),
    ],
)
def test_a_bar_is_met_by_the_whole_interval(tmp_path: Path, values: list[float], most: bool, verdict: str) -> None:
    results = Results(tmp_path / "out.json")
    for value in values:
        results.add("part", "name", "s", value)
    assert Bar("text", "part", "name", 1.02, most=most).judge(results)["verdict"] == verdict


def test_a_peak_is_met_by_every_value(tmp_path: Path) -> None:
    results = Results(tmp_path / "out.json")
    bar = Bar("text", "part", "name", 141, every=True)
    results.add("part", "name", "GB", 130.0)
    assert bar.judge(results)["verdict"] == "met"
    results.add("part", "name", "GB", 141.1)
    assert bar.judge(results)["verdict"] == "not met"
