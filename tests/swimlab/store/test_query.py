"""Ids and differences of a store that has evaluations."""

import pytest
from store_kit import committed, evaluated, trained

from swimlab.store import query, trial_diff
from swimlab.store.evaluation_records import TrialTarget
from swimlab.store.sweep_store import StoreError


def test_an_evaluation_is_no_trial(store, trial_record):
    """Its attempts lie beside those of trials without a record."""
    record = trained(store, trial_record, "t1", "e1")
    evaluated(store, record, "abc1")
    store.claim("abc2", TrialTarget.of(record))
    store.claim("abd1")
    assert query.resolve(store, "ab") == "abd1"
    assert query.resolve(store, "t") == "t1"
    with pytest.raises(StoreError, match=r"no trial in .* begins with 'abc'"):
        query.resolve(store, "abc")


def test_how_a_trial_was_evaluated_is_no_difference_where_a_record_does_not_say(store, trial_record):
    recipe = {"name": "tiny", "seed": 0, "optim": {"steps": 4}, "init": {"name": "tiny", "optim": {"steps": 2}}}
    readout = {"evaluation": {"readout": {"fusion": "mean"}}}
    older = recipe | readout | {"init": recipe["init"] | readout}
    assert trial_diff.recipe_differences(older, recipe) == []
    other = recipe | {"optim": {"steps": 8}}
    assert [d.path for d in trial_diff.recipe_differences(older, other)] == ["optim.steps"]
    changed = older | {"evaluation": {"readout": {"fusion": "max"}}}
    assert [d.path for d in trial_diff.recipe_differences(older, changed)] == ["evaluation.readout.fusion"]
    committed(store, trial_record, "t1", recipe=older)
    committed(store, trial_record, "t2", recipe=recipe)
    difference = trial_diff.compare(store, store.record("t1"), store.record("t2"))
    assert difference.recipe == []
