"""The report of a search: one self-contained page, the same as Markdown, and a table for the terminal."""

from __future__ import annotations

from dataclasses import dataclass

from optuna.trial import TrialState
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from swimlab.execution.search import optuna_study
from swimlab.execution.search.results import SearchResults
from swimlab.report import html, number_format, search_findings, search_plots
from swimlab.report.index_page import OTHER_DIGEST, write_index
from swimlab.report.markdown import md, md_grid
from swimlab.report.page_summaries import PageSummary
from swimlab.report.summarise import replication
from swimlab.stats.pairing import Origin, mixed_of, mixture
from swimlab.store.flat_rows import trial_row
from swimlab.store.records import TrialRecord

STATE_CLASS = {"COMPLETE": "REPRODUCED", "PRUNED": "SHIFTED", "FAIL": "CONTRADICTED", "NOT_RUN": "NOT_RUN"}


@dataclass(frozen=True)
class Line:
    """A point as a row: texts ready to print. `how` is "step 30 of 120" where it was pruned, "= 3" where it repeats
    point 3, or why it failed."""

    number: int
    params: tuple[str, ...]
    state: str
    how: str
    values: tuple[str, ...]
    cost: str
    trial_id: str
    on_front: bool
    best: bool


def write_report(found: SearchResults) -> str:
    """Writes reports/<search>/<recipe>/{index.html, report.md, page.json}, replacing what is there, then the index over
    all pages; the page's address."""
    folder = f"reports/{found.search.name}/{found.recipe.name}"
    for name, content in write(found).items():
        found.store.backend.replace(f"{folder}/{name}", content.encode())
    write_index(found.store)
    return f"{found.store.uri}/{folder}/index.html"


def write(found: SearchResults) -> dict[str, str]:
    """File name → text."""
    page = PageSummary(
        title=f"Search {found.search.name}", question=found.search.question, findings=tuple(_said(found))
    )
    return {
        "index.html": render_html(found),
        "report.md": render_markdown(found),
        OTHER_DIGEST: page.model_dump_json(indent=1),
    }


def lines(found: SearchResults) -> list[Line]:
    """Every point that was proposed, in order."""
    on_front, top = search_findings.front(found), search_findings.best(found)
    made = []
    for point, answer in found.points:
        state = answer.state.name if answer else "NOT_RUN"
        how = ""
        if point.number in found.repeats:
            how = f"= {found.repeats[point.number]}"
        elif answer and answer.state == TrialState.PRUNED and point.spec:
            how = f"step {max(answer.rungs)} of {point.spec.recipe.optim.steps}"
        elif answer and answer.problem:
            how = answer.problem.strip().splitlines()[-1]
        values = [number_format.number(value) for value in answer.values] if answer else []
        if answer and state == "PRUNED":
            values = [f"({number_format.number(list(answer.rungs.values())[-1])})"]
        values += [number_format.NO_VALUE] * (len(found.names) - len(values))
        cost = answer.record.cost.wall_s if answer and answer.record and point.number not in found.repeats else None
        made.append(
            Line(
                number=point.number,
                params=tuple(f"{v:.3g}" if isinstance(v, float) else str(v) for v in point.params.values()),
                state=state,
                how=how,
                values=tuple(values),
                cost=number_format.NO_VALUE if cost is None else number_format.duration(cost),
                trial_id=point.spec.trial_id if point.spec else number_format.NO_VALUE,
                on_front=point.number in on_front,
                best=top is not None and point.number == top[0].number,
            )
        )
    return made


def render_html(found: SearchResults) -> str:
    """The page. Everything that comes from data is escaped."""
    top, worth = search_findings.best(found), search_findings.importances(found)
    best = top[0].number if top else None
    return html.render(
        "search.html.j2",
        state_class=STATE_CLASS,
        found=found,
        counts=search_findings.counts(found),
        lines=lines(found),
        best=best,
        best_changes=_changes(found, best),
        best_values=top[1].values if top else (),
        confirmed=search_findings.confirmed(found),
        front=search_plots.front(found, search_findings.front(found)),
        rungs=search_plots.rungs(found, best),
        worth=worth,
        importance=search_plots.importance(worth, [axis.path for axis in found.search.space]),
        parallel=search_plots.parallel(found, best),
        caveat=caveat(found),
        facts=_facts(found),
        journal=f"{found.store.uri}/{optuna_study.path(found.search.name, found.recipe.name)}",
    )


def _changes(found: SearchResults, number: int | None) -> dict[str, str]:
    paths = [axis.path for axis in found.search.space]
    return {} if number is None else dict(zip(paths, lines(found)[number].params, strict=True))


def caveat(found: SearchResults) -> str:
    """What the page may be quoted for."""
    words = "One seed chose the best point, so its own numbers flatter it"
    words += "; the confirmation below is on seeds that chose nothing." if found.search.confirm else "."
    if found.recipe.model.kind == "tiny":
        words += f" Recipe {found.recipe.name} is a tiny model: this is about the mechanism, never about 7B."
    records = [answer.record for _, answer in found.complete()] + [run.record for run in found.confirmed]
    origins = {r.trial_id: Origin.of(trial_row(r)) for r in records if isinstance(r, TrialRecord)}
    if groups := mixture(origins):
        words += f" MIXED: not all trials may be compared ({mixed_of(groups)}); seeds are paired only where they may."
    return f"{words} {replication(found.recipe)}"


def terminal(found: SearchResults) -> RenderableType:
    """What `run` and `report` print at the end."""
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for title in _heads(found):
        grid.add_column(title.replace(".", "\n", 1), overflow="fold")
    for line in lines(found):
        grid.add_row(*_cells(line), style="bold" if line.best else None)
    parts: list[RenderableType] = [Text(_title(found), style="bold"), Text(caveat(found), style="italic"), grid]
    return Group(*parts, *(Text(said) for said in _said(found)))


def render_markdown(found: SearchResults) -> str:
    """For a README or a pull request."""
    out = [f"# {md(_title(found))}", "", f"_{md(caveat(found))}_", ""]
    out += [f"- {md(said)}" for said in _said(found)]
    out += [
        "",
        "## Points",
        "",
        *md_grid([*_heads(found), "trial"], [[*_cells(row), row.trial_id] for row in lines(found)]),
    ]
    for item in search_findings.importances(found):
        rows = [[path, f"{share:.2f}"] for path, share in item.shares.items()]
        out += ["", f"## What each axis was worth for {md(item.objective)}", "", *md_grid(["axis", "share"], rows)]
    return "\n".join(out) + "\n"


def _title(found: SearchResults) -> str:
    name = f"{found.search.name} on {found.recipe.name}"
    return f"{name}: {found.search.question}" if found.search.question else name


def _said(found: SearchResults) -> list[str]:
    """The findings in sentences."""
    seen = search_findings.counts(found)
    said = [
        f"{seen.complete} complete, {seen.pruned} pruned, {seen.failed} failed, {seen.repeated} repeated, "
        f"{seen.waiting} not run; {number_format.duration(seen.spent_s)} of trials, "
        f"{number_format.duration(seen.saved_s)} saved by pruning"
    ]
    if top := search_findings.best(found):
        numbers = ", ".join(f"{n} {number_format.number(v)}" for n, v in zip(found.names, top[1].values, strict=True))
        said.append(f"best by {found.names[0]}: point {top[0].number} ({numbers})")
        if len(found.names) > 1:
            said.append(f"not beaten in every objective: points {', '.join(map(str, search_findings.front(found)))}")
    for row in search_findings.confirmed(found):
        said.append(
            f"on fresh seeds {row.objective}: {number_format.mean_ci(row.best)} against "
            f"{number_format.mean_ci(row.base)} of the recipe as it is, difference "
            f"{number_format.mean_ci(row.difference, signed=True)}"
        )
    return said


def _heads(found: SearchResults) -> list[str]:
    return ["point", *(axis.path for axis in found.search.space), *found.names, "state", "cost"]


def _cells(line: Line) -> list[str]:
    mark = f"{line.number}{' *' if line.on_front else ''}"
    return [mark, *line.params, *line.values, " ".join(filter(None, (line.state, line.how))), line.cost]


def _facts(found: SearchResults) -> dict[str, list[str]]:
    """Provenance: every distinct value, so that a mixture is seen."""
    records = [answer.record for _, answer in found.points if answer and answer.record]
    search = found.search
    sampler = search.sampler or "TPE, multivariate, constant liar"
    facts = {
        "sampler": [f"{sampler}, seed {search.seed}, {search.generation} points a generation"],
        "pruner": [type(search.pruning.rule()).__name__ if search.pruning else "none"],
        "space": [f"{axis.path}: {axis.distribution()}" for axis in search.space],
        "seed of all points": [str(search.seed)],
        "code fingerprint": [record.code_fingerprint for record in records],
        "data fingerprint": [record.data_fingerprint for record in records],
        "base trial": [record.init_trial_id or "none" for record in records],
        "versions": [", ".join(f"{k} {v}" for k, v in record.provenance.versions.items()) for record in records],
        "numerics class": [", ".join(f"{k} {v}" for k, v in r.provenance.numerics.items()) for r in records],
        "host": [record.provenance.host for record in records],
        "recipe": [found.recipe.model_dump_json()],
    }
    return {name: list(dict.fromkeys(values)) or ["none"] for name, values in facts.items()}
