"""A mistake in a new file of `swim` shows in `plan`, before anything has trained."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import nano
from swimlab.base import remembered
from swimlab.experiment import code_check
from swimlab.experiment.code_check import CodeError
from swimlab.identity import source_closure
from swimlab.identity.source_closure import SourceFile, Sources

HUBER = """def mask_loss(map_PHW: Tensor, mask_PHW: Tensor) -> Tensor:
    return F.huber_loss(map_PHW, mask_PHW, reduction="none").mean((1, 2))
"""
IMPORTS = "import torch.nn.functional as F\nfrom torch import Tensor\n\n\n"
UNDEFINED = (
    "CodeError: swim/supervision/losses/huber.py reads 'Tensor' (line 1), 'F' (line 2), which nothing in it defines: "
    "import or define what is missing; other files say: from torch import Tensor; import torch.nn.functional as F"
)


def undefined(text: str) -> dict[str, int]:
    return code_check.names_of(SourceFile("swim/a.py", text.encode(), "")).undefined


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (HUBER, {"Tensor": 1, "F": 2}),
        (IMPORTS + HUBER, {}),
        ("def f():\n    return [g(x) for x in (1, 2)]\n", {"g": 2}),
        ("def f():\n    global x\n    x = 1\n\n\ndef g():\n    return x\n", {}),
        ("class A:\n    b = 1\n    c = b + d\n\n    def f(self):\n        return b\n", {"d": 3, "b": 6}),
        (
            "try:\n    import a\nexcept ImportError:\n    a = None\n\n\n"
            "def f(x, *, y=1):\n    return a(x, y, __name__)\n",
            {},
        ),
        ("def f():\n    def g():\n        return z + y\n    y = 1\n    return g\n", {"z": 3}),
        ("from a import *\n\n\ndef f():\n    return whatever\n", {}),
        ("from __future__ import annotations\n\n\ndef f(x: Nowhere) -> None:\n    pass\n", {}),
    ],
)
def test_names_that_nothing_defines_are_found_with_their_line(text: str, names: dict[str, int]) -> None:
    assert undefined(text) == names


def test_no_module_of_swim_reads_a_name_that_it_does_not_define() -> None:
    for path in sorted((source_closure.SOURCE_ROOT / "swim").rglob("*.py")):
        assert undefined(path.read_text()) == {}, path


def test_what_passed_is_not_imported_again_until_a_byte_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, imported = nano.recipe(), []
    monkeypatch.setattr(code_check, "_import", lambda root, *_: imported.append(root))
    code_check.check([recipe], Sources(), tmp_path)
    assert "swim.train" in imported
    assert "swim.supervision.losses.bce" in imported
    imported.clear()
    code_check.check([recipe], Sources(), tmp_path)
    assert imported == []
    code_check.check([recipe, recipe.override({"objective.mask_loss": "dice"})], Sources(), tmp_path)
    assert imported == ["swim.supervision.losses.dice"]
    known = remembered.load(tmp_path / "checked-code.json")
    # An annotation is no part of a fingerprint, and an import evaluates it.
    root = tmp_path / "root"
    shutil.copytree(source_closure.SOURCE_ROOT / "swim", root / "swim", ignore=shutil.ignore_patterns("__pycache__"))
    bce = root / "swim/supervision/losses/bce.py"
    bce.write_text(bce.read_text().replace("Tensor", "Tensro", 1))
    with pytest.raises(CodeError, match=r"swim/supervision/losses/bce\.py reads 'Tensor' \(line \d+\)"):
        code_check.check([recipe], Sources(root), tmp_path)
    assert remembered.load(tmp_path / "checked-code.json") == known


@pytest.mark.fault(
    injection="a file of a registry has an undefined name or import",
    symptom="every trial fails after an hour of preparation",
    expected="error names file and line before any work",
)
@pytest.mark.parametrize(
    ("command", "huber", "said"),
    [
        ("plan", HUBER, UNDEFINED),
        ("run", HUBER, UNDEFINED),
        (
            "plan",
            IMPORTS.replace("functional", "functinal") + HUBER,
            "CodeError: swim/supervision/losses/huber.py line 1 cannot be imported: ModuleNotFoundError: No module "
            "named 'torch.nn.functinal'; correct it first",
        ),
        (
            "plan",
            IMPORTS + HUBER.replace("mask_loss", "mask_los"),
            "CodeError: swim/supervision/losses/huber.py defines no 'mask_loss', as every file of "
            "swim.supervision.losses must; the nearest is 'mask_los'; rename it",
        ),
    ],
)
def test_a_broken_loss_file_stops_a_plan_and_a_run_with_one_line(
    tmp_path: Path, checked_code: Path, command: str, huber: str, said: str
) -> None:
    shutil.copytree(
        source_closure.SOURCE_ROOT / "swim", tmp_path / "swim", ignore=shutil.ignore_patterns("__pycache__")
    )
    (tmp_path / "swim/supervision/losses/huber.py").write_text(huber)
    (tmp_path / "mine.py").write_text(
        "import nano\n"
        "from swimlab import Arm\nfrom swimlab.cli import experiment_file\n"
        "from swimlab.experiment.run_settings import Settings\n\n"
        "table = nano.ablation(arms=(Arm('bce'), Arm('huber', {'objective.mask_loss': 'huber'})))\n"
        "experiment_file.run([table], experiment_file.settings(Settings), nano.recipe)\n"
    )
    ours = [str(Path(code_check.__file__).parents[2]), str(Path(nano.__file__).parent)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *ours])}
    # Only this mistake shows on importing: what else would be imported first has been.
    cache = checked_code if "functinal" in huber else "cache"
    argv = [sys.executable, "mine.py", command, "--cache", str(cache)]
    done = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (1, [said], "")
    assert not (tmp_path / "swimlab-store").exists()
