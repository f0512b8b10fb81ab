"""What names a generation and an evaluation of it, and what does not."""

import shutil
from pathlib import Path

import pytest
from answering_kit import benchmark
from store_kit import plausible_record

import nano
import swim
from swim.evaluation.decoding import Decoding
from swimlab.evaluating import generation
from swimlab.evaluating.generation import ServedModel, of_server, of_trial
from swimlab.evaluating.scores import Scoring
from swimlab.identity import naming, source_closure
from swimlab.identity.source_closure import SOURCE_ROOT
from swimlab.llm.client import EndpointConfig

RECORD = plausible_record(recipe=nano.recipe(base=False).model_dump(mode="json"))
MODEL = ServedModel(model="gpt")
POLITE = """
from swim.frozen import Frozen

FAMILIES, JUDGED = ("polite.",), True


class Config(Frozen):
    x: int = 1
"""


@pytest.fixture
def data(tmp_path):
    return benchmark(tmp_path, clips=2)


def test_a_generation_is_named_by_who_answers_what(data, tmp_path):
    cache = tmp_path / "cache"
    first = of_trial(RECORD, data, cache)
    assert first == of_trial(RECORD, data, cache)
    control = {"objective.mask_weight": 0.0, "seed": 3}
    others = [
        of_trial(RECORD.model_copy(update={"nonce": "trained again"}), data, cache),
        of_trial(RECORD, data, cache, system="Be brief."),
        of_trial(RECORD, data, cache, decoding=Decoding(max_new_tokens=7)),
        of_trial(RECORD, data.model_copy(update={"frames": data.frames.model_copy(update={"max_frames": 2})}), cache),
        of_server(MODEL, data, cache),
        of_server(ServedModel(model="gpt", params={"top_p": 0.5}), data, cache),
    ]
    rows = Path(data.annotations[0])
    rows.write_text(rows.read_text().replace("Describe", "Depict", 1))
    others.append(of_trial(RECORD, data, cache))
    assert len({g.generation_id for g in (first, *others)}) == 8
    moved = tmp_path / "elsewhere"
    shutil.copytree(tmp_path, moved, ignore=shutil.ignore_patterns("cache", "elsewhere"))
    there = data.model_copy(update={"annotations": (str(moved / "bench.json"),), "videos": str(moved)})
    assert of_trial(RECORD, there, cache).generation_id == others[-1].generation_id
    # Base, control and tuned model answer by one code.
    tree = nano.recipe(base=False).override(control).model_dump(mode="json")
    other = of_trial(RECORD.model_copy(update={"recipe": tree, "trial_id": "t2"}), data, cache)
    assert other.code_fingerprint == others[-1].code_fingerprint


def test_an_arm_that_does_not_exist_is_an_error_that_names_those_there_are(data, tmp_path):
    with pytest.raises(ValueError, match=r"has no 'txt'; did you mean 'text'"):
        of_trial(RECORD, data, tmp_path / "cache", arm="txt")


def test_another_judge_or_scorer_names_another_evaluation_and_an_address_does_not(monkeypatch, tmp_path):
    from swim.evaluation import scorers

    (tmp_path / "polite.py").write_text(POLITE)
    monkeypatch.setattr(scorers, "__path__", [*scorers.__path__, str(tmp_path)])
    monkeypatch.setattr(source_closure.Sources, "module_hashes", lambda self, roots: dict.fromkeys(roots, "1"))
    swim.registry.names.cache_clear()
    try:
        config = swim.registry.module("swim.evaluation.scorers", "polite").Config
        gpt = EndpointConfig(model="gpt")

        def named(judge=gpt, x=1, of="g1"):
            return Scoring.of(of, "polite", config(x=x), judge)

        assert named() == named(gpt.model_copy(update={"base_url": "http://localhost:1/v1", "retries": 0}))
        assert named().suite == "polite by gpt"
        others = [
            named(EndpointConfig(model="other")),
            named(EndpointConfig(model="gpt", params={"temperature": 1})),
            named(x=2),
            named(of="g2"),
        ]
        assert len({scoring.evaluation_id for scoring in (named(), *others)}) == 5
        assert others[-1].suite_fingerprint == named().suite_fingerprint
        with pytest.raises(ValueError, match="'polite' asks a judge: say which"):
            named(judge=None)
        with pytest.raises(ValueError, match="'described' asks no judge: leave 'gpt' out"):
            Scoring.of("g1", "described", config(), gpt)
    finally:
        swim.registry.names.cache_clear()


def test_a_new_scorer_arm_or_suite_renames_neither_trials_nor_generations(tmp_path, data, monkeypatch):
    root = tmp_path / "sources"
    shutil.copytree(SOURCE_ROOT / "swim", root / "swim", ignore=shutil.ignore_patterns("__pycache__"))

    def ids(cache):
        identifier = naming.Identifier(tmp_path / cache, root)
        monkeypatch.setattr(generation, "Identifier", lambda _: identifier)
        return identifier.identify(nano.recipe()).trial_id, of_trial(RECORD, data, tmp_path).generation_id

    before = ids("1")
    for package in ("scorers", "prompts", "suites"):
        (root / f"swim/evaluation/{package}/mine.py").write_text("FAMILIES = ('mine.',)\n")
    judge = root / "swim/evaluation/description_judge.py"
    judge.write_text(judge.read_text().replace("BEST = 5.0", "BEST = 6.0"))
    assert ids("2") == before
    text = root / "swim/evaluation/prompts/text.py"
    text.write_text(text.read_text().replace("enumerate(clip.turns)", "enumerate(clip.turns[:1])"))
    after = ids("3")
    assert after[0] == before[0]
    assert after[1] != before[1]
