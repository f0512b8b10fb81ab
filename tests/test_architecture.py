"""The house rules that a reader relies on: imports point down, files stay small, names do not shadow the stdlib."""

import ast
import graphlib
import re
import sys
from pathlib import Path

import grimp
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


LAYERS = (
    "base",
    "identity stats",
    "store",
    "checkpoints experiment llm",
    "data",
    "execution",
    "evaluating",
    "report",
    "cli",
)  # lowest first
LEVEL = {package: level for level, names in enumerate(LAYERS) for package in names.split()}


def upward(path, text):
    """Our own modules that a file of swimlab names in a string ("swimlab.cli.experiment_file:main") and that stand
    above it. Imports proper are import-linter's business (`make check`)."""
    own = path.relative_to(ROOT / "platform" / "swimlab").parts[0]
    strings = [n.value for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    packages = [m[1] for s in strings if (m := re.fullmatch(r"swimlab\.(\w+)(?:[.:]\w+)*", s)) and m[1] in LEVEL]
    return [package for package in packages if own in LEVEL and LEVEL[package] > LEVEL[own]]


def test_no_module_is_imported_upward_by_its_name():
    for path in sources("platform"):
        assert upward(path, path.read_text()) == [], path
    planted = "import importlib\nimportlib.import_module('swimlab.report.table')\n"
    assert upward(ROOT / "platform/swimlab/store/paths.py", planted) == ["report"]


def test_modules_form_no_circle():
    """Imports inside functions and under TYPE_CHECKING included."""
    graph = grimp.build_graph("swimlab", "swim", cache_dir=None)
    tree = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    tuple(graphlib.TopologicalSorter(tree).static_order())  # raises CycleError naming the circle
    tree["swimlab.base.nearest"] = {"swimlab.store.paths"}
    tree["swimlab.store.paths"] = {"swimlab.base.nearest"}
    with pytest.raises(graphlib.CycleError, match=r"swimlab\.store\.paths"):
        tuple(graphlib.TopologicalSorter(tree).static_order())


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
