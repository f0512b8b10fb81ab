"""The joint search imports, plans its first generation, and names what is misspelt."""

import runpy
import subprocess
import sys
from pathlib import Path

import one_process

from swimlab import Search

FILE = Path(__file__).parents[2] / "experiments" / "search_joint.py"


def test_the_search_is_short_and_asks_a_question() -> None:
    (found,) = [value for value in runpy.run_path(str(FILE)).values() if isinstance(value, Search)]
    assert found.question.endswith("?")
    assert FILE.read_text().count("\n") <= 60
    assert {axis.path.split(".")[1] for axis in found.space} == {
        "layers", "fusion", "mask_loss", "mask_weight", "fraction",
    }  # fmt: skip
    assert len(found.objectives) == 2


def test_plan_shows_the_first_generation_and_touches_nothing(tmp_path: Path, checked_code: Path) -> None:
    code, printed = one_process.run(FILE, "plan", "--cache", str(checked_code), cwd=tmp_path)
    assert code == 0, printed
    assert "0 of 20 points answered" in printed
    assert printed.count(" new ") == 4
    assert printed.count("new: tiny-") == 2
    assert "16 more" in printed
    assert not (tmp_path / "swimlab-store").exists()


def test_a_misspelt_path_fails_at_import(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(FILE.read_text().replace('"objective.fusion"', '"objective.fuson"'))
    line = [sys.executable, str(mine), "plan"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "the nearest is 'objective.fusion'" in done.stderr


def test_what_a_search_cannot_do_is_said_before_any_work(tmp_path: Path) -> None:
    code, printed = one_process.run(FILE, "plan", "--workers", "2", "--shard", cwd=tmp_path)
    assert code == 1
    assert "pruning=None" in printed
    code, printed = one_process.run(FILE, "plan", "--workers", "3", cwd=tmp_path)
    assert code == 1
    assert "does not divide" in printed
    code, printed = one_process.run(FILE, "plan", "--replicate", "world", cwd=tmp_path)
    assert code == 2
    assert "--replicate world: a search compares points in one world; leave it out" in printed
