"""Pages of searches, of the doctor and of rewriting runs, and copies for trackers: texts of data arrive as text."""

import ast
import html
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.trial import TrialState
from store_kit import committed

import nano
import nasty
from nasty import MARKDOWN, Page, spaced
from swim.recipe import FramePolicy
from swimlab import Choice, Metric, Search
from swimlab.base.printable import one_line
from swimlab.data.doctor import examination, findings
from swimlab.data.doctor.row_checks import InspectionConfig
from swimlab.data.doctor.scenes import Case, Scene, ScenePicture
from swimlab.data.doctor.tally import Tally, shown
from swimlab.data.rejected_rows import BrokenRow
from swimlab.data.rewriting.run_record import Built
from swimlab.execution.search.results import Proposal, ProposalResult, SearchResults
from swimlab.report import doctor_page, rewriting_page, search_page, tracked_trials
from swimlab.report.trackers import mlflow, tensorboard
from swimlab.store import provenance
from swimlab.store.arrow_tables import metrics_table, to_parquet
from swimlab.store.sweep_store import SweepStore

TAGS = {"h1", "h2", "p", "em", "strong", "ol", "li", "ul", "table", "thead", "tbody", "tr", "th", "td"}


def check_html(page: str, texts: list[str]) -> None:
    """Nothing but text came of the texts."""
    read = Page(page)
    assert nasty.controls(page) <= {"\t"}
    assert not [tag for tag, names in read.tags if tag == "script" or {"onmouseover", "onerror"} & set(names)]
    assert [tag for tag, _ in read.tags].count("h1") == 1
    for text in texts:
        assert spaced(one_line(text)) in read.text


def check_markdown(text: str, texts: list[str]) -> None:
    """Nothing but text came of the texts, and every line of a grid has the columns of its head."""
    assert not nasty.controls(text)
    assert "$" not in text
    read = Page(MARKDOWN.render(text))
    assert {tag for tag, _ in read.tags} <= TAGS
    for name in texts:
        assert spaced(one_line(name)) in read.text
    assert all(len(counts) == 1 for counts in nasty.columns(text))


def results(folder: Path, names: list[str]) -> SearchResults:
    search = Search(
        name="nasty",
        question=names[0],
        space=[Choice("objective.fusion", {names[1]: "mean", names[2]: "max"})],
        objectives=[Metric("attention.ap")],
        budget=2,
        recipe="tiny-smoke",
    )
    points = tuple(Proposal(i, {"objective.fusion": name}, None) for i, name in enumerate(names[1:3]))
    answer = ProposalResult(TrialState.FAIL, problem=names[3].replace("\n", " "))
    return SearchResults(
        search, nano.recipe(base=False), tuple((p, answer) for p in points), {}, None, (), SweepStore(str(folder)), 1.0
    )


@pytest.mark.fault(
    injection="hostile names in the page of a search",
    symptom="they become elements of the page",
    expected="right: the same elements, names as text",
)
@pytest.mark.parametrize("seed", range(4))
def test_the_page_of_a_search(seed: int, tmp_path: Path) -> None:
    names = nasty.names(4, seed)
    files = search_page.write(results(tmp_path / "store", names))
    check_html(files["index.html"], names)
    check_markdown(files["report.md"], names)


def test_the_code_that_opens_a_study_names_its_file(tmp_path: Path) -> None:
    folder = tmp_path / 'it\'s \x1b[2J $(touch pwned)\n\u202e [a] "store"'
    page = search_page.render_html(results(folder, nasty.names(4, seed=0)))
    assert nasty.controls(page) <= {"\t"}
    snippet = re.search(r"<pre>(pip install.*?)</pre>", page, re.DOTALL)
    assert snippet
    shell, code = html.unescape(snippet[1]).split("\n\n", 1)
    printed = subprocess.run(
        ["bash", "-c", shell.splitlines()[1].replace("optuna-dashboard", "printf %s")], capture_output=True, check=True
    ).stdout.decode()
    strings = [node.value for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant)]
    assert printed == strings[0]
    assert printed.startswith(f"{folder}/")


@pytest.mark.fault(
    injection="hostile labels, paths and reasons in a data set",
    symptom="they become elements of the doctor's page",
    expected="right: the same elements, names as text",
)
@pytest.mark.parametrize("seed", range(4))
def test_the_doctors_pages(seed: int) -> None:
    file, field, reason, hint, question, problem = nasty.names(6, seed)
    tally = Tally()
    tally.add_broken(
        reason, BrokenRow(file=file, row=3, key=field, kind="nl-refer", field=field, reason=reason, hint=hint)
    )
    tally.count("broken", "nl-refer")
    tally.count("noun", question)
    tally.add("tags", 1)
    outcome = examination.Examination(tally, {file: 10}, {})
    config = InspectionConfig(annotations=(file,), frames=FramePolicy())
    result = findings.findings(config, outcome, name="doctor", recipe="the paper")
    broken = tuple(f.model_copy(update={"problem": problem}) for f in result.files)
    result = result.model_copy(update={"files": broken, "rows": 1, "broken_files": ("broken-a?b#c.parquet",)})
    case = Case(
        concern=reason, text=hint, broken=True, file=file, row=3, video=field, nouns=(question,),
        texts=(hint, question), problem=problem,
    )  # fmt: skip
    picture = ScenePicture(question, np.zeros((64, 64, 3), np.uint8), ((0, np.eye(64, dtype=bool)),), ())
    files = doctor_page.write(result, "it's", failed=True, scenes=[Scene(case, (picture,))])
    check_html(files["index.html"], [reason, hint, problem, field, question])
    check_markdown(files["report.md"], [])
    for text in (file, reason, problem):
        assert spaced(shown(text, 500)) in Page(files["index.html"]).text
        assert spaced(shown(text, 200)) in Page(MARKDOWN.render(files["report.md"])).text
    assert 'href="broken-a%3Fb%23c.parquet"' in files["index.html"]


@pytest.mark.fault(
    injection="hostile words of a language model",
    symptom="they become elements of the rewriting page",
    expected="right: the same elements, names as text",
)
@pytest.mark.parametrize("seed", range(4))
def test_the_pages_of_a_rewriting_run(seed: int, tmp_path: Path) -> None:
    names = nasty.names(6, seed)
    about = provenance.gather(
        numerics={"device": "cpu", "dtype": "-", "world_size": 1}, started_at="s", finished_at="f"
    )
    tally = {
        "rows": 2, "rewritten": 1, "kinds": {names[0]: 1}, "rejected": {names[1]: 1}, "no_synonym": {}, "synonyms": 0,
        "words": 1, "expressions": 1, "examples": [(names[2], names[3])],
    }  # fmt: skip
    settings = {"rewriter": "endpoint", "model": names[4], "base_url": names[5], "least_share": 0.5}
    built = Built(
        run_id="r", command="run", settings=settings, provenance=about, wall_s=1.0, outputs={}, tally=tally
    )  # fmt: skip
    store, folder = SweepStore(str(tmp_path / "store")), "reports/build_nl_refer/r"
    reject = {"output": "rows", "file": "a/b", "row": 1, "field": "f", "reason": names[1], "hint": names[0]}
    store.backend.replace(f"{folder}/rejected.jsonl", json.dumps(reject).encode() + b"\n")
    rewriting_page.write_report(store, built)
    check_html(store.read(f"{folder}/index.html").decode(), [names[0], names[1], names[4], names[5]])
    check_markdown(store.read(f"{folder}/report.md").decode(), [names[0], names[1], names[4], names[5]])


@pytest.mark.fault(
    injection="hostile names in a copy for TensorBoard",
    symptom="control characters in its files and folders",
    expected="right: printable names",
)
def test_trackers_get_printable_names(tmp_path: Path, trial_record: Any) -> None:
    names, store = nasty.names(12, seed=3), SweepStore(str(tmp_path / "store"))
    files = {"metrics.parquet": to_parquet(metrics_table([]))}
    rows = []
    for i, name in enumerate(names):
        provenance = trial_record().provenance.model_copy(update={"host": name})
        committed(store, trial_record, f"t{i}", files, recipe_name=name, provenance=provenance)
        rows.append({"trial_id": f"t{i}", "experiment": name, "arm": name})
    trials = list(tracked_trials.runs(store, rows))
    assert len({trial.name for trial in trials}) == len(names)
    for trial in trials:
        assert (trial.experiment + trial.name + trial.arm + "".join(trial.tags.values())).isprintable()
    assert tensorboard.copy(trials, tmp_path / "board") == (len(names), 0)
    inside = [path.relative_to(tmp_path) for path in (tmp_path / "board").rglob("*")]
    assert all(re.fullmatch(r"[A-Za-z0-9_=@+.-]+", part) for path in inside for part in path.parts)


def test_mlflow_gets_names_that_it_takes() -> None:
    assert mlflow._key("train/attention.ap") == "train/attention.ap"
    assert mlflow._key("final/a[b]\x1b|名=1") == "final/a_b___名_1"
