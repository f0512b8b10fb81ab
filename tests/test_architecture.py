"""The house rules that a reader relies on: imports point down, files stay small, names do not shadow the stdlib."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLOORS = {"swim": ROOT / "swim", "platform": ROOT / "platform", "experiments": ROOT / "experiments"}


def sources(*floors):
    found = [path for floor in floors for path in sorted(FLOORS[floor].rglob("*.py"))]
    assert found
    return found


def imported(path):
    """Top-level names of every import of a file, also inside functions and `if TYPE_CHECKING`, and by importlib."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0] if node.level == 0 else "."
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func) and node.args:
            text = node.args[0].value if isinstance(node.args[0], ast.Constant) else ""
            yield str(text).partition(".")[0]


@pytest.mark.parametrize(
    ("floor", "above"),
    [("swim", {"ray", "swimlab", "experiments", "optuna"}), ("platform", {"experiments"})],
)
def test_imports_point_down_only(floor, above):
    assert [(str(p.relative_to(ROOT)), name) for p in sources(floor) for name in imported(p) if name in above] == []


def test_the_scan_sees_imports_wherever_they_hide(tmp_path):
    file = tmp_path / "sly.py"
    file.write_text(
        "def f():\n    import ray.data as d\n    import importlib\n    importlib.import_module('swimlab.x')\n"
    )
    assert {"ray", "swimlab", "importlib"} <= set(imported(file))


def test_platform_is_a_source_root_and_no_package():
    """With an `__init__.py` it would shadow the stdlib's platform, and `import uuid` would die."""
    assert not (ROOT / "platform" / "__init__.py").exists()
    assert (ROOT / "platform" / "swimlab" / "__init__.py").exists()


def test_experiments_do_not_shadow_the_stdlib():
    """`python experiments/x.py` puts that folder first on the path."""
    assert [p.name for p in sources("experiments") if p.stem in sys.stdlib_module_names] == []


def test_files_stay_small():
    files = [*sources(*FLOORS), *sorted((ROOT / "tests").rglob("*.py"))]
    assert [(str(p.relative_to(ROOT)), n) for p in files if (n := len(p.read_text().splitlines())) > 400] == []


def test_nothing_is_unpickled():
    picklers = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
    assert [(p.name, name) for p in sources("swim", "platform") for name in imported(p) if name in picklers] == []
    loads = [p.name for p in sources("swim", "platform") if "torch.load(" in p.read_text()]
    assert loads == []


def test_test_modules_have_names_of_their_own():
    """tests/ has no `__init__.py` files: two modules of one name would hide each other."""
    names = [p.name for p in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
    assert list((ROOT / "tests").rglob("__init__.py")) == []
