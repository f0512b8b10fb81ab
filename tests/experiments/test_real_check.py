"""The check of a real checkpoint goes from a folder to its page, on tiny random models of two families."""

import json
from pathlib import Path

import pytest
from family_checkpoints import checkpoint

import real_check
import real_check_page


@pytest.mark.parametrize("family", ["smolvlm", pytest.param("qwen2_5_vl", marks=pytest.mark.slow)])
def test_a_folder_is_checked_before_and_after(family: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint(family, tmp_path / "model")
    line = ["--clips", "3", "--steps", "6", "--batch", "2", "--lr", "1e-2", "--side", "64"]
    code = real_check.main([*line, "--model", str(tmp_path / "model"), "--out", str(tmp_path / "out")])
    facts = json.loads((tmp_path / "out" / "real_check.json").read_text())
    assert facts["learned"] is (code == 0)
    assert facts["recipe"]["model"]["family"] == family.replace("_", "-")
    assert facts["recipe"]["model"]["lora"] is not None
    assert len(facts["clips"]) == 3
    assert len([point for point in facts["curve"] if point["name"] == "loss"]) == 6
    assert facts["speed"]["tokens_per_s"] > 0
    # Adapters begin at nothing and move the attention.
    before, after = (facts["metrics"][when]["attention.mass"] for when in ("before", "after"))
    assert before != after
    answers = [[answer["text"] for answer in facts["answers"][when]] for when in ("before", "after")]
    assert [len(texts) for texts in answers] == [3, 3]
    page = (tmp_path / "out" / "index.html").read_text()
    assert "a pretrained model has never seen such videos" in page
    assert page.count('alt="attention of before"') == page.count('alt="attention of after"') == 3
    assert "<svg" in page
    assert "attention.ap" in capsys.readouterr().out


def test_rows_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    checkpoint("smolvlm", tmp_path / "model")
    row = {"id": "a", "video": "gone.mp4", "conversations": [{"from": "human", "value": "<ins>a</ins>?"}]}
    (tmp_path / "rows.json").write_text(json.dumps([row]))
    line = ["--model", str(tmp_path / "model"), "--annotations", str(tmp_path / "rows.json"), "--out", str(tmp_path)]
    with pytest.raises(SystemExit, match=r"no row of .*rows\.json is usable: .*rows\.json.*row 0"):
        real_check.main(line)


@pytest.mark.parametrize(("losses", "learned"), [([3.0, 2.0, 1.0], True), ([1.0, 5.0, 1.0], False), ([2.0], False)])
def test_a_model_has_learned_where_its_last_losses_are_lower(losses: list[float], learned: bool) -> None:
    curve = [real_check_page.MetricPoint(step=i, name="loss", value=value) for i, value in enumerate(losses, start=1)]
    look = real_check_page.Look({}, [], [])
    recipe = real_check_page.Recipe.model_construct()
    report = real_check_page.Report(recipe, "cpu", [], [], True, look, look, curve, 1.0, {}, None)
    assert report.learned is learned
