import gzip
import io
import json
import os
import tarfile
from inspect import signature
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swim import recipes
from swim.code_roots import code_roots, suite_roots
from swim.recipe import Source
from swimlab.identity import naming, source_closure
from swimlab.identity.naming import IdentityError
from swimlab.identity.source_hash import source_hash

SMOKE = recipes.tiny_smoke()


# The canonical recipe


def test_canonical_recipe_is_frozen():
    tree = json.loads(naming.canonical(SMOKE))
    assert set(tree) == {"model", "data", "objective", "optim", "seed"}
    assert naming.canonical(SMOKE.override({"name": "another"})) == naming.canonical(SMOKE)
    assert naming.canonical(SMOKE.override({"seed": 1})) != naming.canonical(SMOKE)
    assert naming.canonical(SMOKE.override({"evaluation.attention.overlays": 0})) == naming.canonical(SMOKE)


def test_without_mask_loss_the_arm_is_forgotten():
    changes = {
        "objective.fusion": "product",
        "objective.normalise": "minmax",
        "objective.heads": "max",
        "objective.chosen_heads": (1,),
        "objective.layers": (0,),
        "objective.patch_masks": "second",
        "objective.mask_schedule": "linear-up",
        "objective.mask_loss": "dice",
        "objective.query": "before",
        "objective.domain": "frame",
        "objective.resize": "mask-to-grid",
    }
    control = SMOKE.override({"objective.mask_weight": 0})
    assert naming.canonical(control.override(changes)) == naming.canonical(control)
    assert naming.code_modules(control.override(changes)) == naming.code_modules(control)
    for path, value in [*changes.items(), ("objective.mask_weight", 2)]:
        assert naming.canonical(SMOKE.override({path: value})) != naming.canonical(SMOKE)
    assert naming.canonical(control.override({"objective.text_weight": 1.0})) != naming.canonical(control)


def test_without_steps_only_weights_and_data_count():
    base = SMOKE.override({"optim.steps": 0})
    same = base.override({"objective.mask_weight": 0, "objective.fusion": "max", "optim.lr": 1.0, "seed": 7})
    assert naming.canonical(base) == naming.canonical(same)
    assert naming.code_modules(base) == naming.code_modules(same)
    for path, value in {"data.seed": 9, "model.seed": 1, "optim.steps": 1}.items():
        assert naming.canonical(base.override({path: value})) != naming.canonical(base)


def test_epochs_are_named_as_they_were_asked_for():
    assert '"epochs"' not in naming.canonical(SMOKE)
    one, two = (SMOKE.override({"optim.epochs": epochs}) for epochs in (1, 2))
    assert len({naming.canonical(recipe) for recipe in (SMOKE, one, two)}) == 3
    assert json.loads(naming.canonical(two))["optim"] == json.loads(naming.canonical(SMOKE))["optim"] | {
        "steps": None,
        "epochs": 2.0,
    }


def test_sources_count_where_they_change_training_wherever_the_files_are():
    def name(*entries, folder=""):
        files = (f"{folder}a.json", f"{folder}b.json")
        return naming.canonical(recipes.tiny_files().override({"data.annotations": files, "data.sources": entries}))

    text, half = Source(file="a.json", loss="text"), Source(file="b.json", weight=0.5)
    assert name() == naming.canonical(recipes.tiny_files()) == name(Source(file="a.json"))
    assert len({name(), name(text), name(half), name(text, half)}) == 4
    assert name(half, text) == name(text, half, folder="elsewhere/") == name(text, half)


def test_layers_are_what_they_resolve_to():
    by_name = SMOKE.override({"objective.layers": "even:2"})
    by_number = SMOKE.override({"objective.layers": (3, 1)})
    assert naming.canonical(by_name) == naming.canonical(by_number)
    assert naming.code_modules(by_name) == naming.code_modules(by_number)
    assert naming.canonical(by_name) != naming.canonical(SMOKE.override({"objective.layers": "last:2"}))


def test_the_recipe_it_starts_from_enters_as_a_trial(tmp_path):
    tiny, base = recipes.tiny(), recipes.tiny_base()
    assert naming.trial_id(tiny, tmp_path) != naming.trial_id(tiny.override({"init": None}), tmp_path)
    renamed = tiny.override({"init": base.override({"name": "another"})})
    assert naming.trial_id(renamed, tmp_path) == naming.trial_id(tiny, tmp_path)
    assert naming.canonical(renamed) == naming.canonical(tiny)
    longer = tiny.override({"init": base.override({"optim.steps": base.optim.steps + 1})})
    assert naming.trial_id(longer, tmp_path) != naming.trial_id(tiny, tmp_path)
    assert json.loads(naming.canonical(tiny, "abc"))["init"] == "abc"


def test_a_float_field_reads_five_as_five_point_zero():
    as_int = SMOKE.model_copy(update={"objective": SMOKE.objective.model_copy(update={"mask_weight": 5})})
    assert naming.canonical(as_int) == naming.canonical(SMOKE.override({"objective.mask_weight": 5.0}))
    assert naming.canonical_json(5) != naming.canonical_json(5.0)
    assert naming.canonical_json(-0.0) == naming.canonical_json(0.0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, {1: 2}, b"x", Path("x"), object()])
def test_what_has_no_stable_text_is_refused_with_its_path(value):
    with pytest.raises(IdentityError, match=r"recipe\.a\[0\] is"):
        naming.canonical_json({"a": [value]})


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(plain)
def test_canonical_json_survives_reading_and_ignores_key_order(value):
    text = naming.canonical_json(value)
    assert naming.canonical_json(json.loads(text)) == text
    if isinstance(value, dict):
        assert naming.canonical_json(dict(reversed(value.items()))) == text


# The code

GOLDEN = '''
"""Docstring."""
import os, sys as system
from typing import Any

class Config(Base, kind="x"):
    """Docstring."""
    rate: float = 1e-3
    name: str

@decorated(1)
async def f(a: int, /, b=2, *rest: int, c: str = "é", **more) -> Any:
    """Docstring."""
    total: float = 0.0
    label: str
    for i, _ in enumerate([*rest, -1, 2j, b"\\0", ...]):
        total += i if i > 0 and not a else await g(*rest, key=i, **more)
    with open("x") as file:
        try:
            return {**more, "k": f"{total:>{b}.2f}!"}
        except (OSError, ValueError) as error:
            raise KeyError from error
        finally:
            pass
    match a:
        case {"x": [1, *_]} | None:
            return lambda x: x[1:2, ::3]
    return [y for y in rest if (z := y)]
'''


def test_the_serialiser_is_frozen():
    """If this fails, every trial ever run loses its name: raise SERIALISER_VERSION and say why."""
    assert source_hash(GOLDEN, "swim/golden.py") == "2c4558360b147ecbf83a1caa61ba5a351ab8d03aae86436221d48de100764a49"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 1", "# why\nx  =  (1)\n"),
        ("def f(): pass", 'def f() -> "int":\n    """Docstring."""'),
        ("def f(a, b=1): return a", "def f(a: int, b: float = 1): return a"),
        ("x = 'a'", 'x: str = "a"'),
        ("f(1,)", "f(\n    1\n)"),
        ("x = 1", "from typing import Any\nfrom __future__ import annotations\nx = 1"),
        ("x = 1", "if TYPE_CHECKING:\n    import y\nx = 1"),
        ("class C:\n    a: int = 1", "class C:\n    'Text.'\n    a: float = 1\n    'About a.'"),
    ],
)
def test_what_does_not_run_does_not_count(one, other):
    assert source_hash(one, "a.py") == source_hash(other, "a.py")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 1", "x = 1.0"),
        ("x = 1", "x = True"),
        ("x = 'a'", "x = b'a'"),
        ("x = 'None'", "x = None"),
        ("class C:\n    a: int", "class C:\n    b: int"),
        ("class C:\n    a: int", "class C:\n    a: int = 1"),
        ("class C:\n    a: int\n    b: int", "class C:\n    b: int\n    a: int"),
        ("x = [1, 2]", "x = (1, 2)"),
        ("def f(a): pass", "def f(*a): pass"),
        ("def f(*, a=None, b): pass", "def f(*, a, b=None): pass"),
        ("{**a, b: c}", "{b: c, **a}"),
        ("f(a)", "f(*a)"),
        ("f(a=b)", "f(**b)"),
        ("if a:\n    b\nelse:\n    c", "if a:\n    b\n    c"),
        ("a < b", "a <= b"),
        ("from typing import Any as mean", "from typing import Any as most"),
        ("f'{x!r}'", "f'{x}'"),
        ("x = 'ab'", "x = 'a', 'b'"),
    ],
)
def test_what_runs_counts(one, other):
    assert source_hash(one, "a.py") != source_hash(other, "a.py")
    assert source_hash(one, "a.py") != source_hash(one, "b.py")


def test_prose_and_unselected_files_move_nothing(root):
    before = naming.code_fingerprint(SMOKE, root)
    assert before == naming.code_fingerprint(SMOKE)
    bce = root / "swim/supervision/losses/bce.py"
    bce.write_text('"""Another docstring."""\n# A comment.\n' + bce.read_text().split('"""', 2)[2])
    (root / "swim/supervision/losses/huber.py").write_text("def mask_loss(map_PHW, mask_PHW): return 0\n")
    (root / "swim/supervision/losses/README.md").write_text("About losses.\n")
    assert naming.code_fingerprint(SMOKE, root) == before
    assert naming.code_fingerprint(SMOKE.override({"objective.mask_loss": "dice"}), root) != before


def test_a_number_moves_the_fingerprint_and_its_module_is_named(root, tmp_path):
    before, names = naming.code_modules(SMOKE, root), naming.trial_id(SMOKE, tmp_path, root)
    bce = root / "swim/supervision/losses/bce.py"
    assert "1e-6" in bce.read_text()
    bce.write_text(bce.read_text().replace("1e-6", "1e-5"))
    after = naming.code_modules(SMOKE, root)
    assert {name for name in after if after[name] != before[name]} == {"swim.supervision.losses.bce"}
    assert naming.trial_id(SMOKE, tmp_path, root) != names
    text_only = SMOKE.override({"objective.mask_weight": 0})
    assert "swim.supervision.losses.bce" not in naming.code_modules(text_only, root)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    files = {
        "swim/__init__.py": "",
        "swim/a/__init__.py": "from . import helper",
        "swim/a/helper.py": "",
        "swim/a/b.py": "def f():\n    from ..c import d, CONSTANT\n    import swim.e.f\n",
        "swim/a/unused.py": "import swim.nowhere",
        "swim/a/words.txt": "red\n",
        "swim/a/data/more.bin": "1",
        "swim/a/.hidden": "",
        "swim/c/__init__.py": "CONSTANT = 1",
        "swim/c/d.py": "import numpy, swim.a\nif TYPE_CHECKING:\n    import swim.a.unused",
        "swim/e/f.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_the_closure_follows_every_import_statement(package):
    assert list(source_closure.Sources(package).closure(["swim.a.b"])) == [
        "swim",
        "swim.a",
        "swim.a.b",
        "swim.a.helper",
        "swim.c",
        "swim.c.d",
        "swim.e.f",
        "swim/a/data/more.bin",
        "swim/a/words.txt",
    ]
    before = source_closure.Sources(package).module_hashes(["swim.a.b"])
    (package / "swim/a/words.txt").write_text("blue\n")
    after = source_closure.Sources(package).module_hashes(["swim.a.b"])
    assert {name for name in after if after[name] != before[name]} == {"swim/a/words.txt"}


def test_an_import_that_leads_nowhere_is_refused(package):
    with pytest.raises(IdentityError, match=r"swim\.a\.unused imports 'swim\.nowhere'"):
        source_closure.Sources(package).closure(["swim.a.unused"])
    (package / "swim/a/unused.py").write_text("def (")
    with pytest.raises(IdentityError, match=r"unused\.py cannot be parsed"):
        source_closure.Sources(package).module_hashes(["swim.a.unused"])


def test_the_archive_holds_the_sources_and_is_deterministic(root):
    packed = naming.source_archive(SMOKE, root)
    for path in root.rglob("*.py"):
        os.utime(path, (1, 1))
    assert naming.source_archive(SMOKE, root) == packed
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(packed))) as tar:
        names = tar.getnames()
        bce = tar.extractfile("swim/supervision/losses/bce.py").read()
    assert bce == (root / "swim/supervision/losses/bce.py").read_bytes()
    assert names == sorted(names)
    assert "swim/supervision/losses/dice.py" not in names


# One reading of the sources for many trials


def test_names_of_one_reading_are_those_of_readings_of_their_own(root, tmp_path):
    """Trials of every arm and base, by one Identifier and one by one, with and without what a cache remembers."""
    tiny = recipes.tiny()
    changes = [{}, {"objective.fusion": "product"}, {"objective.mask_weight": 0}, {"seed": 1}, {"data.seed": 9}]
    trials = [tiny.override(change) for change in changes] + [recipes.tiny_deep(), SMOKE]
    alone = [naming.Identifier(tmp_path / str(i), root).identify(trial) for i, trial in enumerate(trials)]
    for _ in range(2):
        identifier = naming.Identifier(tmp_path / "cache", root)
        assert [identifier.identify(trial) for trial in trials] == alone
    assert [found.trial_id for found in alone] == [naming.trial_id(trial, tmp_path, root) for trial in trials]
    assert [found.code_fingerprint for found in alone] == [naming.code_fingerprint(trial, root) for trial in trials]
    for found, trial in zip(alone, trials, strict=True):
        assert found.clips_fingerprint == naming.clips_fingerprint(
            trial.data, found.data_fingerprint, trial.model, root
        )
    assert alone[0].init == naming.Identifier(tmp_path, root).identify(recipes.tiny_base())


def test_an_edit_is_seen_by_the_next_reading_whatever_the_cache_remembers(root, tmp_path):
    identifier = naming.Identifier(tmp_path, root)
    before = identifier.identify(SMOKE)
    bce = root / "swim/supervision/losses/bce.py"
    text, stat = bce.read_text(), bce.stat()
    bce.write_text(text.replace("1e-6", "1e-5"))
    os.utime(bce, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # same size, same time: only the content tells
    assert identifier.identify(SMOKE) == before
    assert naming.Identifier(tmp_path, root).identify(SMOKE).code_fingerprint != before.code_fingerprint
    bce.write_text(text)
    assert naming.Identifier(tmp_path, root).identify(SMOKE) == before


GOLDEN_IDS = {
    "qwen2.5-vl-3b-lora": "f652dbec0218ba08d739",
    "qwen3-vl-4b-lora": "abc4cae0e7ca0488a2d5",
    "smolvlm-500m": "10db0a30761ef7673a46",
    "qwen2.5-vl-7b": "9540f74d71cfb00118ef",
    "qwen2.5-vl-7b-lora": "bc90993cd790346318d0",
    "tiny": "46fb3a77484b278bc311",
    "tiny-ask": "86153dc65e6abe8515ad",
    "tiny-deep": "92ea8c4321dc4a1f0565",
    "tiny-files": "b70aa68e65912310eddf",
    "tiny-hard-look": "f4c53d6d8874ecf6c0f0",
    "tiny-hard-twins": "ba3edecae983a6406ab2",
    "tiny-smoke": "bb44e381ed9ac78a9f7e",
}


def test_names_of_the_recipes_are_frozen(tmp_path):
    """Over sources that never change: if this fails, whoever has a store loses its trials. Say why in the log."""
    rows = tmp_path / "rows.json"
    rows.write_text("[]")
    files = {"annotations": (str(rows),), "videos": str(tmp_path)}
    trials = {
        name: build(**files if "annotations" in signature(build).parameters else {})
        for name, build in recipes.RECIPES.items()
    }
    for trial in [*trials.values(), recipes.tiny_base()]:
        of_suites = (root for suite in trial.evaluation for root in suite_roots(trial, suite))
        for module in {*code_roots(trial), *of_suites}:
            folder, _, name = module.rpartition(".")
            path = tmp_path / "root" / folder.replace(".", "/") / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"NAME = {name!r}\n")
    names = {name: naming.trial_id(trial, tmp_path / "cache", tmp_path / "root") for name, trial in trials.items()}
    assert names == GOLDEN_IDS
