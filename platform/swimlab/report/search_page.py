"""The report of a search: one self-contained page, Markdown, and a table for the terminal."""

from __future__ import annotations

from dataclasses import dataclass

from optuna.trial import TrialState
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from swimlab.base import quoting
from swimlab.execution.search import optuna_study
from swimlab.execution.search.results import SearchResults
from swimlab.report import html, number_format, search_findings, search_plots
from swimlab.report.index_page import PAGE_SUMMARY, write_index
from swimlab.report.markdown import md, md_grid
from swimlab.report.page_summaries import PageSummary
from swimlab.report.replication import replication
from swimlab.stats.pairing import Origin, mixed_of, mixture
from swimlab.store.flat_rows import trial_row
from swimlab.store.records import TrialRecord

STATE_CLASS = {"COMPLETE": "REPRODUCED", "PRUNED": "SHIFTED", "FAIL": "CONTRADICTED", "NOT_RUN": "NOT_RUN"}


@dataclass(frozen=True)
class Line:
    """A point as a row of printed texts. `detail` is "step 30 of 120" where it was pruned, "= 3" where it repeats point
    3, or the last line of its error."""

    number: int
    params: tuple[str, ...]
    state: str
    detail: str
    values: tuple[str, ...]
    cost: str
    trial_id: str
    on_front: bool
    best: bool


def write_report(results: SearchResults) -> str:
    """Writes reports/<search>/<recipe>/{index.html, report.md, page.json}, replacing earlier ones, then the index over
    all pages. Returns the address of the page."""
    folder = f"reports/{results.search.name}/{results.recipe.name}"
    for name, content in write(results).items():
        results.store.backend.replace(f"{folder}/{name}", content.encode())
    write_index(results.store)
    return f"{results.store.uri}/{folder}/index.html"


def write(results: SearchResults) -> dict[str, str]:
    """The files of the report, name → text."""
    page = PageSummary(
        title=f"Search {results.search.name}", question=results.search.question, findings=tuple(_findings(results))
    )
    return {
        "index.html": render_html(results),
        "report.md": render_markdown(results),
        PAGE_SUMMARY: page.model_dump_json(indent=1),
    }


def lines(results: SearchResults) -> list[Line]:
    """The proposed points as rows, in order."""
    on_front, top = search_findings.front(results), search_findings.best(results)
    rows = []
    for point, answer in results.points:
        state = answer.state.name if answer else "NOT_RUN"
        detail = ""
        if point.number in results.repeats:
            detail = f"= {results.repeats[point.number]}"
        elif answer and answer.state == TrialState.PRUNED and point.spec:
            detail = f"step {max(answer.rungs)} of {point.spec.recipe.optim.total_steps}"
        elif answer and answer.problem:
            detail = answer.problem.strip().splitlines()[-1]
        values = [number_format.number(value) for value in answer.values] if answer else []
        if answer and state == "PRUNED":
            values = [f"({number_format.number(list(answer.rungs.values())[-1])})"]
        values += [number_format.NO_VALUE] * (len(results.names) - len(values))
        cost = answer.record.cost.wall_s if answer and answer.record and point.number not in results.repeats else None
        rows.append(
            Line(
                number=point.number,
                params=tuple(f"{v:.3g}" if isinstance(v, float) else str(v) for v in point.params.values()),
                state=state,
                detail=detail,
                values=tuple(values),
                cost=number_format.NO_VALUE if cost is None else number_format.duration(cost),
                trial_id=point.spec.trial_id if point.spec else number_format.NO_VALUE,
                on_front=point.number in on_front,
                best=top is not None and point.number == top[0].number,
            )
        )
    return rows


def render_html(results: SearchResults) -> str:
    """The HTML page; everything that comes from data is escaped."""
    top, worth = search_findings.best(results), search_findings.importances(results)
    best = top[0].number if top else None
    return html.render(
        "search.html.j2",
        state_class=STATE_CLASS,
        results=results,
        counts=search_findings.counts(results),
        lines=lines(results),
        best=best,
        best_changes=_changes(results, best),
        judged=search_findings.judged(results),
        confirmed=search_findings.confirmed(results),
        front=search_plots.front(results, search_findings.front(results)),
        rungs=search_plots.rungs(results, best),
        worth=worth,
        importance=search_plots.importance(worth, [axis.path for axis in results.search.space]),
        parallel=search_plots.parallel(results, best),
        caveat=caveat(results),
        facts=_provenance_values(results),
        snippet=_snippet(results),
    )


def _changes(results: SearchResults, number: int | None) -> dict[str, str]:
    paths = [axis.path for axis in results.search.space]
    return {} if number is None else dict(zip(paths, lines(results)[number].params, strict=True))


def caveat(results: SearchResults) -> str:
    """Sentences on what the page may be quoted for."""
    words = (
        "Points are compared on validation clips, where chance favours the best one's numbers; the reported clips "
        "chose nothing. One seed trained the points"
    )
    words += "; the confirmation below is on fresh seeds." if results.search.confirm else "."
    if results.recipe.model.kind == "tiny":
        words += f" Recipe {results.recipe.name} is a tiny model: this is about the mechanism, never about 7B."
    records = [answer.record for _, answer in results.complete()] + [run.record for run in results.confirmed]
    origins = {r.trial_id: Origin.of(trial_row(r)) for r in records if isinstance(r, TrialRecord)}
    if groups := mixture(origins):
        words += f" MIXED: not all trials may be compared ({mixed_of(groups)}); seeds are paired only where they may."
    return f"{words} {replication(results.recipe)}"


def terminal(results: SearchResults) -> RenderableType:
    """The table and findings for any rich console, as `run` and `report` print them at the end."""
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for title in _heads(results):
        grid.add_column(Text(title.replace(".", "\n", 1)), overflow="fold")
    for line in lines(results):
        grid.add_row(*map(Text, _cells(line)), style="bold" if line.best else None)
    parts: list[RenderableType] = [Text(_title(results), style="bold"), Text(caveat(results), style="italic"), grid]
    return Group(*parts, *(Text(sentence) for sentence in _findings(results)))


def render_markdown(results: SearchResults) -> str:
    """The report as Markdown, for a README or a pull request."""
    out = [f"# {md(_title(results))}", "", f"_{md(caveat(results))}_", ""]
    out += [f"- {md(sentence)}" for sentence in _findings(results)]
    out += [
        "",
        "## Points",
        "",
        *md_grid([*_heads(results), "trial"], [[*_cells(row), row.trial_id] for row in lines(results)]),
    ]
    for item in search_findings.importances(results):
        rows = [[path, f"{share:.2f}"] for path, share in item.shares.items()]
        out += ["", f"## Importance of each axis for {md(item.objective)}", "", *md_grid(["axis", "share"], rows)]
    return "\n".join(out) + "\n"


def _title(results: SearchResults) -> str:
    name = f"{results.search.name} on {results.recipe.name}"
    return f"{name}: {results.search.question}" if results.search.question else name


def _findings(results: SearchResults) -> list[str]:
    """The findings as sentences."""
    counts = search_findings.counts(results)
    sentences = [
        f"{counts.complete} complete, {counts.pruned} pruned, {counts.failed} failed, {counts.repeated} repeated, "
        f"{counts.waiting} not run; {number_format.duration(counts.spent_s)} of trials, "
        f"{number_format.duration(counts.saved_s)} saved by pruning"
    ]
    if results.unmeasured:
        sentences.append(
            f"points {', '.join(map(str, results.unmeasured))} are trained, and not measured on the validation clips: "
            "`run` measures them, and trains none of them again"
        )
    if top := search_findings.best(results):
        numbers = ", ".join(f"{n} {number_format.number(v)}" for n, v in zip(results.names, top[1].values, strict=True))
        sentences.append(f"best by {results.names[0]}: point {top[0].number} ({numbers})")
        if reported := [f"{r.objective} {number_format.number(r.reported)}" for r in search_findings.judged(results)]:
            sentences.append(f"the same trial on the reported clips, which chose nothing: {', '.join(reported)}")
        if len(results.names) > 1:
            sentences.append(f"on the Pareto front: points {', '.join(map(str, search_findings.front(results)))}")
    for row in search_findings.confirmed(results):
        sentences.append(
            f"on fresh seeds {row.objective}: {number_format.mean_ci(row.best)} against "
            f"{number_format.mean_ci(row.base)} of the recipe as it is, difference "
            f"{number_format.mean_ci(row.difference, signed=True)}"
        )
    return sentences


def _heads(results: SearchResults) -> list[str]:
    return ["point", *(axis.path for axis in results.search.space), *results.names, "state", "cost"]


def _cells(line: Line) -> list[str]:
    mark = f"{line.number}{' *' if line.on_front else ''}"
    return [mark, *line.params, *line.values, " ".join(filter(None, (line.state, line.detail))), line.cost]


def _snippet(results: SearchResults) -> str:
    journal = f"{results.store.uri}/{optuna_study.path(results.search.name, results.recipe.name)}"
    return f"""pip install optuna-dashboard
optuna-dashboard {quoting.shell(journal)}

import optuna
from optuna.storages.journal import JournalFileBackend
storage = optuna.storages.JournalStorage(JournalFileBackend({journal!r}))
study = optuna.load_study(study_name={results.search.name!r}, storage=storage)"""


def _provenance_values(results: SearchResults) -> dict[str, list[str]]:
    """Provenance: every distinct value of each field, which shows a mixture of machines or versions."""
    records = [answer.record for _, answer in results.points if answer and answer.record]
    search = results.search
    sampler = search.sampler or "TPE, multivariate, constant liar"
    facts = {
        "sampler": [f"{sampler}, seed {search.seed}, {search.generation} points a generation"],
        "pruner": [type(search.pruning.rule()).__name__ if search.pruning else "none"],
        "space": [f"{axis.path}: {axis.distribution()}" for axis in search.space],
        "seed of all points": [str(search.seed)],
        "validation clips": [p.spec.clips("validation").data_fingerprint for p, _ in results.points if p.spec],
        "code fingerprint": [record.code_fingerprint for record in records],
        "data fingerprint": [record.data_fingerprint for record in records],
        "base trial": [record.init_trial_id or "none" for record in records],
        "versions": [", ".join(f"{k} {v}" for k, v in record.provenance.versions.items()) for record in records],
        "numerics class": [", ".join(f"{k} {v}" for k, v in r.provenance.numerics.items()) for r in records],
        "host": [record.provenance.host for record in records],
        "recipe": [results.recipe.model_dump_json()],
    }
    return {name: list(dict.fromkeys(values)) or ["none"] for name, values in facts.items()}
