"""Every suite of the registry keeps the contract, and a new one is one file."""

import subprocess
import sys

import pytest

from swim import registry
from swim.evaluation import suites
from swim.evaluation.evaluate import evaluate, run_suite
from swim.evaluation.suite import families, suite_of
from swim.outputs import Evaluated
from swim.recipe import SUITES, SuiteConfig
from swim.train import Trained, encoder_for

NAMES = registry.names(SUITES)
WORDS = """
from swim.outputs import Evaluated, SampleScore
from swim.recipe import SuiteConfig

FAMILIES = ("words.",)


class Config(SuiteConfig):
    least: int = 1


def run(config, recipe, trained, clips, micro_batch):
    rows = [
        SampleScore(key=clip.key, turn=-1, tag=-1, noun="", metric="words.turns", value=len(clip.turns))
        for clip in clips.read(range(len(clips.keys)))
        if len(clip.turns) >= config.least
    ]
    return Evaluated({"words.turns": sum(row.value for row in rows) / len(rows)}, rows, [])
"""


@pytest.mark.parametrize("name", NAMES)
def test_a_suite_declares_families_and_measures_nothing_else(name, nano, model, tokenizer, clips):
    module = registry.module(SUITES, name)
    assert issubclass(module.Config, SuiteConfig)
    assert all(family.endswith(".") for family in module.FAMILIES)
    recipe = nano.override({"evaluation": {name: {}}})
    trained = Trained(model, tokenizer, encoder_for(nano, model, tokenizer), [])
    result = run_suite(name, recipe, trained, clips)
    assert isinstance(result, Evaluated)
    assert result.metrics
    assert all(suite_of(metric, NAMES) == name for metric in result.metrics)
    assert {row.metric for row in result.scores} <= {*result.metrics}


def test_no_two_suites_measure_the_same():
    claimed = [family for name in NAMES for family in registry.module(SUITES, name).FAMILIES]
    assert len(set(claimed)) == len(claimed)
    assert families(NAMES) == tuple(claimed)
    assert suite_of("bench_d.avg", NAMES) is None


def test_a_plan_imports_no_torch_for_what_suites_declare():
    program = f"import sys; from swim.evaluation.suite import families; families({NAMES!r}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], check=True, timeout=60, capture_output=True, text=True)
    assert "swim.evaluation.suites.attention" in done.stdout.split()
    assert "torch" not in done.stdout.split()


def test_a_new_suite_is_one_file(nano, model, tokenizer, clips, tmp_path, monkeypatch):
    (tmp_path / "words.py").write_text(WORDS)
    monkeypatch.setattr(suites, "__path__", [*suites.__path__, str(tmp_path)])
    registry.names.cache_clear()
    try:
        recipe = nano.override({"evaluation.words": {"least": 2}})
        assert list(recipe.evaluation) == ["attention", "words"]
        trained = Trained(model, tokenizer, encoder_for(nano, model, tokenizer), [])
        metrics = evaluate(recipe, trained, clips).metrics
        assert metrics["words.turns"] >= 2
        assert "attention.ap" in metrics
        with pytest.raises(ValueError, match=r"words.least: Input should be a valid integer"):
            nano.override({"evaluation.words": {"least": "few"}})
    finally:
        registry.names.cache_clear()
        sys.modules.pop("swim.evaluation.suites.words", None)
