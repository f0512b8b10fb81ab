"""Answers by actors of Ray Data: the same as in one process."""

import pytest
from answering_kit import benchmark, commit_trial

from swim.evaluation.decoding import Decoding
from swimlab.evaluating.answering import answer
from swimlab.evaluating.generation import of_trial
from swimlab.store.sweep_store import SweepStore

TIE = 1e-4  # of two logits that rounding may put in either order


@pytest.mark.ray
@pytest.mark.parametrize(
    ("workers", "batch_size"), [(2, 25), pytest.param(1, 8, marks=pytest.mark.slow)], ids=["two workers", "one"]
)
def test_workers_and_batches_give_the_answers_of_one_process(two_cpus, tmp_path, workers, batch_size):
    data, few, cache = benchmark(tmp_path), Decoding(max_new_tokens=5), tmp_path / "cache"
    answers = []
    for folder, where in (("actors", {"workers": workers, "batch_size": batch_size}), ("here", {"batch_size": 1})):
        store = SweepStore(str(tmp_path / folder))
        generation = of_trial(commit_trial(store), data, cache, decoding=few)
        stored = answer(generation, store, cache, gpu=False, part_clips=2, **where)
        assert [receipt.answers for receipt in stored.receipts()] == [6, 6, 6, 3]
        answers.append(stored.answers())
    ties = 0
    for together, alone in zip(*answers, strict=True):
        assert (together.key, together.turn, together.question) == (alone.key, alone.turn, alone.question)
        if alone.token_ids != together.token_ids:
            pairs = zip(alone.token_ids, together.token_ids, strict=False)
            assert alone.leads[next(i for i, (a, b) in enumerate(pairs) if a != b)] < TIE
            ties += 1
    assert ties <= 2
