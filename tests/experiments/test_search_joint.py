"""The joint search imports, plans its first generation, and names what is misspelt."""

import runpy
import subprocess
import sys
from pathlib import Path

from swimlab import Search

FILE = Path(__file__).parents[2] / "experiments" / "search_joint.py"


def run(file: Path, *argv: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(file), *argv], cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_search_is_short_and_asks_a_question() -> None:
    (found,) = [value for value in runpy.run_path(str(FILE)).values() if isinstance(value, Search)]
    assert found.question.endswith("?")
    assert FILE.read_text().count("\n") <= 60
    assert {axis.path.split(".")[1] for axis in found.space} == {
        "layers", "fusion", "mask_loss", "mask_weight", "fraction",
    }  # fmt: skip
    assert len(found.objectives) == 2


def test_plan_shows_the_first_generation_and_touches_nothing(tmp_path: Path) -> None:
    done = run(FILE, "plan", "--cache", "cache", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "0 of 20 points answered" in done.stdout
    assert done.stdout.count(" new ") == 4
    assert done.stdout.count("new: tiny-") == 2
    assert "16 more" in done.stdout
    assert not (tmp_path / "swimlab-store").exists()


def test_a_misspelt_path_fails_at_import(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(FILE.read_text().replace('"objective.fusion"', '"objective.fuson"'))
    done = run(mine, "plan", cwd=tmp_path)
    assert done.returncode == 1
    assert "the nearest is 'objective.fusion'" in done.stderr


def test_what_a_search_cannot_do_is_said_before_any_work(tmp_path: Path) -> None:
    sharded = run(FILE, "plan", "--workers", "2", "--shard", cwd=tmp_path)
    assert sharded.returncode == 1
    assert "pruning=None" in sharded.stdout
    uneven = run(FILE, "plan", "--workers", "3", cwd=tmp_path)
    assert "does not divide" in uneven.stdout
