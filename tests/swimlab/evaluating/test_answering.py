"""Answers are generated once, whoever asks how often, and scored without generating them again. Without Ray."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from answering_kit import WORLD, benchmark, commit_trial, parts, prepare_here

from swim.evaluation.decoding import Decoding
from swim.evaluation.evaluate import restore
from swim.evaluation.generate import Prompt, generate
from swim.recipe import Recipe
from swimlab.data.prepared_clips import StoredClips, load_prepared
from swimlab.evaluating import answering, engines
from swimlab.evaluating.annotated import annotated
from swimlab.evaluating.answering import AnsweringError, answer
from swimlab.evaluating.generation import of_trial
from swimlab.evaluating.parts import StoredGeneration
from swimlab.evaluating.scores import asked as asked_about
from swimlab.evaluating.scores import score
from swimlab.store.errors import StoreError
from swimlab.store.garbage_collection import Rules, find
from swimlab.store.published_tables import write_tables
from swimlab.store.snapshot import leaderboard
from swimlab.store.sweep_store import SweepStore
from swimlab.store.unused import References

FEW = Decoding(max_new_tokens=5)


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """A store with a trial, its clips and the name of what it is to answer."""
    folder = tmp_path_factory.mktemp("answering")
    store = SweepStore(str(folder / "store"))
    record = commit_trial(store)
    generation = of_trial(record, benchmark(folder), folder / "cache", decoding=FEW)
    with pytest.MonkeyPatch.context() as patch:
        prepare_here(patch)
        answering.prepare(generation, store, folder / "cache", lambda *_: None)
    return store, generation, folder / "cache"


@pytest.fixture
def asked(bench, monkeypatch):
    """How often each question was put to the model."""
    count = Counter()
    answers = engines.LoadedModel.answers

    def counting(self, prompts):
        count.update((prompt.key, prompt.turn) for prompt in prompts)
        return answers(self, prompts)

    monkeypatch.setattr(engines.LoadedModel, "answers", counting)
    return count


def emptied(bench):
    """The same store without its answers."""
    store, generation, cache = bench
    store.backend.delete_many(store.list_files("generations"))
    return store, generation, cache


def test_every_question_is_asked_once_and_answered_as_by_the_model_alone(bench, asked):
    store, generation, cache = emptied(bench)
    stored = answer(generation, store, cache, part_clips=3)
    assert stored.plan.parts == 3
    assert asked == Counter((key, turn) for key, turn in asked)
    assert len(asked) == 3 * WORLD.clips
    again = answer(generation, store, cache, part_clips=2)
    assert again.plan == stored.plan  # cut once
    assert sum(asked.values()) == 3 * WORLD.clips
    record = store.record(generation.answerer.trial_id)
    recipe = Recipe.model_validate(record.recipe)
    trained = restore(recipe, store.download(record.trial_id, "checkpoint/", cache / "weights"))
    clips = StoredClips(store, load_prepared(store, generation.clips_fingerprint), "train")
    prompts = [Prompt(clip, t.human, n) for clip in clips.read(range(7)) for n, t in enumerate(clip.turns)]
    alone = generate(recipe, trained, prompts, FEW, batch_size=1)
    assert [replace_leads(a) for a in again.answers()] == [replace_leads(a) for a in alone]
    assert len({a.text for a in alone}) > 5
    references = References(store)
    assert references.unused_code() == references.unused_clips() == {}


def replace_leads(given):
    return given.model_copy(update={"leads": ()})


def test_a_run_that_failed_goes_on_where_parts_are_missing_and_gives_the_same_bytes(bench, asked, monkeypatch):
    store, generation, cache = emptied(bench)
    whole = parts(answer(generation, store, cache, part_clips=2))
    emptied(bench)
    asked.clear()
    write = answering.PartWriter.write

    def failing(self, number):
        if number in (1, 3):
            raise MemoryError("no room")
        write(self, number)

    monkeypatch.setattr(answering.PartWriter, "write", failing)
    with pytest.raises(AnsweringError, match=r"2 of 4 parts failed; the first: part 1: MemoryError: no room"):
        answer(generation, store, cache, part_clips=2)
    stored = StoredGeneration.load(store, generation.generation_id)
    assert stored.missing() == [1, 3]
    with pytest.raises(StoreError, match="lacks 2 of 4 parts: run the same command again"):
        stored.answers()
    monkeypatch.setattr(answering.PartWriter, "write", write)
    assert parts(answer(generation, store, cache)) == whole
    assert set(asked.values()) == {1}


def test_an_evaluation_of_answers_is_one_of_the_trial_and_generates_nothing(bench, asked, tmp_path):
    store, generation, cache = emptied(bench)
    stored = answer(generation, store, cache)
    asked.clear()
    record = score(stored, "described")
    assert record.metrics["described.answers"] == 3 * WORLD.clips
    assert record.metrics["described.left_out"] == 1  # a video that is not there
    assert score(stored, "described") == record
    assert not asked
    assert store.evaluations() == {record.evaluation_id: record}
    assert store.exists(f"code/{record.code_fingerprint}.tar.gz")
    (row,) = leaderboard(store).to_pylist()
    assert row["evaluated.described"] == record.evaluation_id
    assert row["described.avg"] == record.metrics["described.avg"]
    import duckdb  # most tests do without

    write_tables(store)
    (published,) = Path(store.uri, "tables").glob("evaluations/*.parquet")
    avg = duckdb.sql(f"select \"described.avg\" from '{published}'").fetchall()
    assert avg == [(record.metrics["described.avg"],)]


def test_answers_whose_rows_changed_are_not_scored(bench):
    store, generation, cache = bench
    stored = answer(generation, store, cache)
    file = Path(generation.data.annotations[0])
    rows = file.read_text()
    try:
        file.write_text(json.dumps(json.loads(rows)[1:]))
        assert len(annotated(generation.data, {a.key for a in stored.answers()})) == 0  # keys count rows
        with pytest.raises(StoreError, match="21 answers are about rows that the annotation files no longer have"):
            asked_about(stored)
    finally:
        file.write_text(rows)


def test_weights_that_were_trained_again_do_not_answer_under_the_old_name(bench):
    store, generation, cache = emptied(bench)
    old = generation.answerer.model_copy(update={"nonce": "older"})
    with pytest.raises(ValueError, match="was deleted or trained again since this generation was named"):
        answer(generation.model_copy(update={"answerer": old}), store, cache)
    emptied(bench)


def test_a_checkpoint_that_was_not_kept_is_told_before_anything_starts(bench, tmp_path):
    store, generation, cache = emptied(bench)
    shutil.copytree(store.uri, tmp_path / "store")
    copied = SweepStore(str(tmp_path / "store"))
    for item in find(copied, Rules(checkpoints="none")).items:
        copied.backend.delete_many(item.paths)
    with pytest.raises(StoreError, match=r"delete records/t1.json to run the trial again"):
        answer(generation, copied, cache, workers=2)


def test_a_damaged_part_says_what_to_delete(bench):
    store, generation, cache = bench
    stored = answer(generation, store, cache)
    receipt = stored.receipts()[0]
    path = f"{stored.folder}/{receipt.file}"
    content = store.read(path)
    store.backend.delete(path)
    store.put_create_only(path, content[:-1])
    with pytest.raises(StoreError, match=r"is missing or not what was written: delete .*done-000000.json"):
        stored.answers()
    emptied(bench)
