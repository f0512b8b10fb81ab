"""What is measured is named apart from what is trained, and declarations of values are in neither's code."""

import ast
import hashlib
import shutil
from pathlib import Path

import pytest

import swim
from swim import recipes
from swim.code_roots import SCHEMAS, code_roots, suite_roots
from swimlab.identity import naming
from swimlab.identity.source_archive import archive, archived_hashes
from swimlab.identity.source_closure import Sources, fingerprint

SMOKE = recipes.tiny_smoke()


@pytest.fixture
def sources(tmp_path):
    root = tmp_path / "sources"
    shutil.copytree(Path(swim.__file__).parent, root / "swim", ignore=shutil.ignore_patterns("__pycache__"))
    return root


def identity(root, recipe=SMOKE):
    return naming.Identifier(root.parent / "cache", root).identify(recipe)


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_a_changed_metric_renames_the_evaluation_and_not_the_trial(sources):
    before = identity(sources)
    edit(sources / "swim/evaluation/metrics.py", "total > 0", "total > 1e-9")
    after = identity(sources)
    assert after.trial_id == before.trial_id
    assert after.code_fingerprint == before.code_fingerprint
    (old,), (new,) = before.evaluations, after.evaluations
    assert (old.suite, old.config) == (new.suite, new.config) == ("attention", old.config)
    assert old.code_fingerprint != new.code_fingerprint
    assert old.suite_fingerprint != new.suite_fingerprint
    assert old.evaluation_id != new.evaluation_id


def test_a_new_suite_and_a_new_family_of_metrics_rename_no_trial(sources):
    before = identity(sources)
    suites = sources / "swim/evaluation/suites"
    (suites / "mine.py").write_text('FAMILIES = ("mine.",)\n')
    assert identity(sources) == before
    edit(suites / "attention.py", '    "answer.",\n', '    "answer.",\n    "mine.",\n')
    assert identity(sources).trial_id == before.trial_id
    assert identity(sources).evaluations[0].evaluation_id != before.evaluations[0].evaluation_id


@pytest.mark.parametrize(
    ("schema", "at", "field"),
    [
        ("swim/optim_config.py", "    clip_norm: float = Field(1.0, gt=0)\n", "    nesterov: bool = False\n"),
        ("swim/data_config.py", "    max_pixels: int = Field(602_112, gt=0)\n", "    crop: int | None = None\n"),
        ("swim/outputs.py", "    step: int\n    name: str\n", "    unit: str = ''\n"),
        ("swim/evaluation/attention_config.py", "    attributes: bool = False\n", "    smoothing: float = 0.0\n"),
    ],
)
def test_a_new_field_in_a_schema_changes_no_code_fingerprint(sources, schema, at, field):
    before = identity(sources)
    edit(sources / schema, at, at + field)
    assert identity(sources) == before
    assert (
        naming.clips_fingerprint(SMOKE.data, before.data_fingerprint, SMOKE.model, sources) == before.clips_fingerprint
    )


def test_a_field_added_later_counts_only_where_it_leaves_its_default(monkeypatch):
    class Optim(type(SMOKE.optim)):
        nesterov: bool = False

    before = naming.canonical(SMOKE)

    def with_optim(optim):
        # As validation by a class that has the field would leave it.
        monkeypatch.setattr(naming.Recipe, "model_validate", classmethod(lambda cls, tree: recipe))
        recipe = SMOKE.model_copy(update={"optim": optim})
        return naming.canonical(recipe)

    given = SMOKE.optim.model_dump()
    assert with_optim(Optim(**given)) == before
    assert '"nesterov":true' in with_optim(Optim(**given, nesterov=True))


def test_a_changed_default_of_a_known_field_renames_the_trial():
    warmed = SMOKE.override({"optim.warmup_steps": SMOKE.optim.warmup_steps + 1})
    assert naming.canonical(warmed) != naming.canonical(SMOKE)
    # Known fields are written whether or not they have their default.
    assert '"clip_norm":1.0' in naming.canonical(SMOKE)
    assert '"cell_px":8' in naming.canonical(SMOKE)


def test_schemas_import_only_what_every_trial_runs():
    """Their imports are not followed, so that an archive would lack what only they import."""
    source = Path(swim.__file__).parent.parent
    for schema in SCHEMAS:
        tree = ast.parse((source / f"{schema.replace('.', '/')}.py").read_text())
        imported = {
            f"{node.module}.{alias.name}" if node.module == "swim" else node.module
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("swim")
            for alias in node.names
        }
        for recipe in (SMOKE, recipes.qwen2_5_vl_7b()):
            assert imported - SCHEMAS <= set(Sources().module_hashes(code_roots(recipe)))


@pytest.mark.parametrize("roots", [code_roots(SMOKE), suite_roots(SMOKE, "attention")])
def test_an_archive_holds_the_schemas_and_its_hashes_do_not(roots):
    files = Sources().closure(roots)
    assert "swim.recipe" in files
    assert archived_hashes(archive(files.values())) == Sources().module_hashes(roots)
    assert "swim.recipe" not in Sources().module_hashes(roots)


def test_evaluations_follow_trial_config_and_data(tmp_path):
    identifier = naming.Identifier(tmp_path)
    (base,) = identifier.identify(SMOKE).evaluations
    for path, same_measure in {
        "seed": True,
        "data.held_out": True,
        "evaluation.attention.overlays": False,
        "evaluation.attention.readout.layers": False,
    }.items():
        value = {"seed": 5, "data.held_out": 41, "evaluation.attention.overlays": 1}.get(path, (0,))
        (other,) = identifier.identify(SMOKE.override({path: value})).evaluations
        assert other.evaluation_id != base.evaluation_id
        assert (other.suite_fingerprint == base.suite_fingerprint) is same_measure
    by_name = SMOKE.override({"evaluation.attention.readout.layers": "all"})
    by_number = SMOKE.override({"evaluation.attention.readout.layers": (0, 1, 2, 3)})
    assert identifier.identify(by_name).evaluations == identifier.identify(by_number).evaluations


def test_clips_of_older_sources_keep_their_name(tmp_path):
    """`swim.data` had no packages then, and schemas were fingerprinted like any module."""
    root = tmp_path / "older"
    texts = {"recipe": "X = 1\n", "data/video": "import swim.recipe\n", "data/rows": "", "data/samples": ""}
    texts |= dict.fromkeys(("__init__", "data/__init__", "data/formats/__init__", "data/formats/nl_refer"), "")
    for name, text in texts.items():
        path = root / "swim" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    roots = ["swim.data.video", "swim.data.rows", "swim.data.samples", "swim.data.formats.nl_refer"]
    hashes = {name: file.content_hash for name, file in Sources(root).closure(roots).items()}
    assert "swim.recipe" in hashes
    parts = {"code": fingerprint(hashes), "data": "d"}
    expected = hashlib.sha256(naming.canonical_json(parts).encode()).hexdigest()[:20]
    assert naming.clips_fingerprint(SMOKE.data, "d", SMOKE.model, root) == expected
