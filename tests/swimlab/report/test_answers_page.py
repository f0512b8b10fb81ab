"""The page of an evaluation: every answer with its scores, and texts that stay text."""

import json
import re
from pathlib import Path

import pytest
from answering_kit import WORLD, benchmark, commit_trial, prepare_here
from store_kit import committed, evaluated, plausible_record

from swim.evaluation.decoding import Decoding
from swim.outputs import Answer, SampleScore
from swimlab import __main__
from swimlab.evaluating.answering import answer
from swimlab.evaluating.generation import of_trial
from swimlab.evaluating.scores import score
from swimlab.report.answers_page import ShownAnswer, render_answers
from swimlab.store.arrow_tables import answers_table, samples_table, to_parquet
from swimlab.store.sweep_store import SweepStore


def said(key: str, text: str, turn: int = 0) -> Answer:
    return Answer(key=key, turn=turn, question="Describe the dog.", text=text, finish="stop")


def scored(key: str, metric: str, value: float, turn: int = 0) -> SampleScore:
    return SampleScore(key=key, turn=turn, tag=-1, noun="", metric=metric, value=value)


def data_of(text: str) -> dict:
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    return json.loads(data)


ANSWERS = [said("a", "A dog."), said("a", "It runs.", turn=1), said("b", "A cat. </script><b>")]
SCORES = [scored("a", "sc", 5), scored("a", "sc", 3), scored("a", "ad", 1, turn=1), scored("b", "sc", 0)]


def test_each_answer_has_its_own_scores() -> None:
    shown = [ShownAnswer(answer, reference="A dog runs.", video="v.mp4") for answer in ANSWERS]
    text = render_answers("Bench", {"trial": "<t>"}, shown, SCORES, "sc")
    data = data_of(text)
    assert data["metrics"] == ["ad", "sc"]
    assert [row["scores"] for row in data["rows"]] == [[None, 4], [1, None], [None, 0]]
    assert data["rows"][2]["answer"] == "A cat. </script><b>"
    assert "<b>&lt;t&gt;</b>" in text
    assert "are not kept" not in text
    with pytest.raises(ValueError, match="no answer has a score 'td'; they have ad, sc"):
        render_answers("Bench", {}, shown, SCORES, "td")


def test_answers_are_grouped_by_size_and_look() -> None:
    """Of a judge's evaluation: its name is part of the metrics."""
    facts = {"a": (3.0, 1.0, 1.0), "b": (50.0, 0.0, 0.0)}
    scores = [
        scored(key, f"bench_d.{name} by judge-1", value)
        for key, values in facts.items()
        for name, value in zip(("cells", "on_object", "right"), values, strict=True)
    ]
    scores += [scored("a", "bench_d.avg by judge-1", 5), scored("b", "bench_d.avg by judge-1", 1)]
    shown = [ShownAnswer(said("a", "A dog."), video="v"), ShownAnswer(said("b", "A cat."), video="w")]
    text = render_answers("Bench", {}, shown, scores, "bench_d.avg by judge-1")
    assert [(row["size"], row["look"]) for row in data_of(text)["rows"]] == [
        ("under 4 tokens", "at it, right"),
        ("over 32 tokens", "elsewhere, wrong"),
    ]
    assert "bench_d.avg by the size of the object" in text
    assert "5.00 (1)" in text
    assert "does the question&#39;s noun look" in text


def test_the_command_writes_the_page_of_a_stored_evaluation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = SweepStore(str(tmp_path / "store"))
    committed(store, plausible_record)
    record = store.records()["t1"]
    files = {"answers.parquet": answers_table(ANSWERS), "samples.parquet": samples_table(SCORES)}
    evaluated(store, record, "e1aa", {name: to_parquet(table) for name, table in files.items()}, suite="described")
    evaluated(store, record, "e2aa", {"samples.parquet": to_parquet(samples_table(SCORES))})

    def run(*argv: str, code: int = 0) -> str:
        with pytest.raises(SystemExit) as ended:
            __main__.main(["answers", *argv, "--store", store.uri, "--out", str(tmp_path / "page.html")])
        assert (ended.value.code or 0) == code
        return capsys.readouterr().out

    assert "3 answers in" in run("e1")
    text = (tmp_path / "page.html").read_text()
    assert "described: 3 answers" in text
    assert "are not kept" in text
    assert [row["answer"] for row in data_of(text)["rows"]] == [answer.text for answer in ANSWERS]
    assert "asked the model nothing: it has no answers" in run("e2aa", code=1)
    assert "3 answers in" in run("t1")  # the only evaluation of the trial that asked
    assert "'e' means 2 evaluations: e1aa (described of t1), e2aa (attention of t1)" in run("e", code=1)
    assert "begins with 'x'; `swimlab ls` lists trials" in run("x", code=1)
    assert "no answer has a score 'td'" in run("e1", "--by", "td", code=1)


def test_answers_to_a_benchmark_stand_beside_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SweepStore(str(tmp_path / "store"))
    record = commit_trial(store)
    generation = of_trial(record, benchmark(tmp_path), tmp_path / "cache", decoding=Decoding(max_new_tokens=5))
    prepare_here(monkeypatch)
    evaluation = score(answer(generation, store, tmp_path / "cache"), "described")
    out = tmp_path / "pages" / "answers.html"
    with pytest.raises(SystemExit):
        __main__.main(["answers", evaluation.evaluation_id[:9], "--store", store.uri, "--out", str(out)])
    assert f"{3 * WORLD.clips} answers in {out}" in capsys.readouterr().out
    rows = data_of(out.read_text())["rows"]
    annotated = json.loads((tmp_path / "bench.json").read_text())
    expected = [
        turn["value"] for row in annotated[: WORLD.clips] for turn in row["conversations"] if turn["from"] == "gpt"
    ]
    assert sorted(row["reference"] for row in rows) == sorted(re.sub("</?ins>", "", text) for text in expected)
    assert all(row["video"].startswith("videos/") and row["scores"][0] is not None for row in rows)
