"""`swimlab show TRIAL`: what the store holds about one trial, on one screen."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import zip_longest
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field
from pydantic_settings import CliPositionalArg, CliToggleFlag
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from swim import recipes
from swim.recipe import HubModel, NLReferFiles, Objective, Optim, Recipe, ShapesWorld, TinyModel
from swimlab.base.screen import say
from swimlab.base.times import ago
from swimlab.cli.commands.why import format_value
from swimlab.cli.store_command import StoreCommand
from swimlab.report.doctor_words import size
from swimlab.report.number_format import NO_VALUE, duration, number, throughput
from swimlab.stats.pairing import UNKNOWN
from swimlab.store import query
from swimlab.store.attempt_files import json_object, read_claims
from swimlab.store.attempts import COLLECTED
from swimlab.store.evaluation_records import TrialResult
from swimlab.store.leases import Owner, released
from swimlab.store.newest_results import newest_results
from swimlab.store.paths import code_path
from swimlab.store.records import Cost, TrialRecord
from swimlab.store.snapshot import leaderboard
from swimlab.store.sweep_store import SweepStore
from swimlab.store.trial_diff import flat, recipe_differences

MOST_DESCENDANTS = 8
METRIC_COLUMNS = 4
MOST_CHARS = 300


class Show(StoreCommand):
    """Prints what the store holds about a trial: recipe, state, metrics, cost, provenance, files, attempts, and the
    trials that start from it."""

    trial: CliPositionalArg[str] = Field(description="its id, or the beginning of it")
    recipe: CliToggleFlag[bool] = Field(False, description="print the whole recipe as JSON, and nothing else")
    errors: CliToggleFlag[bool] = Field(False, description="print the whole error of every failed attempt")

    def run(self, console: Console) -> int:
        """See `StoreCommand`."""
        store = query.open_store(self.store)
        trial_id = query.resolve(store, self.trial)
        board = leaderboard(store)
        record = newest_results(store, [trial_id], board).get(trial_id)
        if self.recipe:
            if record is None:
                raise ValueError(f"trial {trial_id} has no result yet: only records hold a recipe")
            print(json.dumps(record.whole_recipe(), indent=1))
            return 0
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(overflow="fold")
        attempts = attempts_of(store, trial_id, record)
        for subject, content in _lines(store, trial_id, record, attempts, board):
            grid.add_row(subject, content if isinstance(content, Group) else Text(content))
        console.print(Text(f"trial {trial_id}", style="bold"))
        console.print(grid)
        if self.errors:
            for attempt in attempts:
                if attempt["error"]:
                    say(console, f"\nattempt {attempt['number']}\n{attempt['error']}", "red")
        return 0


def attempts_of(store: SweepStore, trial_id: str, record: TrialRecord | None) -> list[dict[str, Any]]:
    """Every attempt, oldest first: `number`, `state`, `owner` (host, process), `error` (in full, or ""), `failed_at`,
    `beat`."""
    folder = f"attempts/{trial_id}"
    files = store.list_files(folder)
    numbers = sorted({int(parts[2]) for path in files if (parts := path.split("/"))[3:] == ["claim"]})
    claims = read_claims(store.backend, [(trial_id, number) for number in numbers])
    attempts = []
    for number_ in numbers:
        present = {path for path in files if path.startswith(f"{folder}/{number_}/")}

        def content(name: str, at: str = f"{folder}/{number_}", present: set[str] = present) -> dict[str, Any]:
            path = f"{at}/{name}"
            return json_object(f"{store.uri}/{path}", store.read(path)) if path in present else {}

        failure, beat = content("failure.json"), content("heartbeat")
        if not failure and f"{folder}/{number_}/failure.json" in present:
            failure = {"error": "failure.json is damaged"}
        owner, collected = claims[trial_id, number_].owner, f"{folder}/{number_}/{COLLECTED}" in present
        attempts.append(
            {
                "number": number_,
                "state": _state(record, number_, failure, beat, owner, numbers[-1], collected),
                "owner": f"{owner.host}, process {owner.pid}",
                "error": failure.get("error", ""),
                "failed_at": failure.get("failed_at"),
                "beat": beat,
            }
        )
    return attempts


def _state(
    record: TrialRecord | None,
    number: int,
    failure: Mapping[str, Any],
    beat: Mapping[str, Any],
    owner: Owner,
    latest: int,
    collected: bool,
) -> str:
    if record and record.attempt == number:
        return "committed"
    if failure:
        return "its process died" if failure.get("kind") == "lost" else "failed"
    if collected:
        return "collected"
    if beat and released(json.dumps(beat).encode()):
        return "gave up"
    if record or number < latest:
        return "ended without a result"
    return (
        "died: its process is gone" if owner.has_exited(Owner.current()) else "running, as far as can be seen from here"
    )


def _lines(
    store: SweepStore, trial_id: str, record: TrialResult | None, attempts: list[dict[str, Any]], board: pa.Table
) -> Iterable[tuple[str, str | Group]]:
    shown = query.arms_by_trial(store).get(trial_id, [])
    yield "shown by", "; ".join(f"{s.experiment} on {s.recipe} as {s.arm}, seed {s.seed}" for s in shown) or NO_VALUE
    if record is None:
        last = attempts[-1]["state"] if attempts else "unknown"
        yield "state", f"no result yet; the latest attempt: {last}"
        yield from _attempt_lines(attempts)
        return
    yield "state", f"done {ago(record.provenance.finished_at)}, attempt {record.attempt}"
    yield "recipe", _recipe_differences_text(record)
    yield "", f"seed {record.seed}, starts from {record.init_trial_id or 'fresh weights'}"
    yield "start weights", record.start_weights or UNKNOWN
    for i, evaluation in enumerate(record.evaluations):
        text = f"{evaluation.suite} {evaluation.evaluation_id[:12]}, {ago(evaluation.provenance.finished_at)}"
        yield "evaluated by" if i == 0 else "", f"{text}, {code_path(evaluation.code_fingerprint)}"
    yield "metrics", _metrics(record.metrics)
    cost = record.cost
    yield (
        "cost",
        (
            f"wall {duration(cost.wall_s)}: training {duration(cost.train_s)} (waiting for clips "
            f"{duration(cost.data_wait_s)}), evaluation {duration(cost.eval_s)}; CPU {duration(cost.cpu_s)}; "
            f"peak {size(cost.peak_rss_bytes)}"
        ),
    )
    yield "speed", _speed(cost)
    provenance = record.provenance
    changes = " with changes" if provenance.git_dirty else ""
    git = f"git {provenance.git_sha[:12]}{changes}" if provenance.git_sha else "no git"
    yield "made by", f"{git} on {provenance.host}, {provenance.started_at} to {provenance.finished_at[11:]}"
    yield "", ", ".join(f"{name} {version}" for name, version in provenance.versions.items())
    yield "numerics", ", ".join(f"{name} {text}" for name, text in provenance.numerics.items())
    yield "code", code_path(record.code_fingerprint)
    yield "data", record.data_fingerprint
    yield "files", _files(record)
    yield from _attempt_lines(attempts)
    below = board.filter(pc.equal(board["init_trial_id"], trial_id))["trial_id"].to_pylist()
    more = f" and {len(below) - MOST_DESCENDANTS} more" if len(below) > MOST_DESCENDANTS else ""
    yield "starts", f"{', '.join(t[:12] for t in below[:MOST_DESCENDANTS])}{more}" if below else "nothing from it"
    yield "again", f"swimlab replay {trial_id[:12]}"


def _speed(cost: Cost) -> str:
    texts = [throughput(cost.tokens_per_s, cost.mfu)]
    if cost.model_flops_per_s is not None:
        texts.append(f"{cost.model_flops_per_s / 1e12:.3g} TFLOP/s of the text tower a device")
    if cost.peak_device_bytes is not None:
        texts.append(f"peak on the GPU {size(cost.peak_device_bytes)}")
    return ", ".join(texts)


def _attempt_lines(attempts: list[dict[str, Any]]) -> Iterable[tuple[str, str]]:
    for i, attempt in enumerate(attempts):
        at = f" {ago(attempt['failed_at'])}" if attempt["failed_at"] else ""
        text = f"{attempt['number']}  {attempt['state']}{at}, {attempt['owner']}"
        if attempt["error"]:
            text += f"\n   {attempt['error'].strip().splitlines()[-1][:MOST_CHARS]}"
        yield "attempts" if i == 0 else "", text


def _recipe_differences_text(record: TrialRecord) -> str:
    """The recipe's name, and its fields that differ from the registered recipe of that name; from the defaults where
    none is registered."""
    stored, name = flat(record.recipe), record.recipe_name
    registered = name in recipes.RECIPES
    usual = recipes.named(name).model_dump(mode="json") if registered else _defaults(record.recipe)
    # Fields added to the schema later are not in the stored recipe: they are no difference.
    changed = [d for d in recipe_differences(usual, record.recipe) if d.path != "seed" and d.path in stored]
    if not registered:
        return f"{name}: " + ", ".join(
            f"{d.path} {format_value(d.right)}" for d in changed if not d.path.startswith("init.")
        )
    if not changed:
        return f"{name}, unchanged"
    return f"{name} with " + ", ".join(
        f"{d.path} {format_value(d.right)} (not {format_value(d.left)})" for d in changed
    )


def _defaults(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe of defaults, with the same kinds of model and data."""
    model: TinyModel | HubModel = TinyModel() if recipe["model"]["kind"] == "tiny" else HubModel()
    data = ShapesWorld() if recipe["data"]["kind"] == "shapes_world" else NLReferFiles(annotations=(), videos="")
    parts = {"model": model, "data": data, "objective": Objective(), "optim": Optim()}
    plain = {name: field.default for name, field in Recipe.model_fields.items() if isinstance(field.default, bool)}
    return {key: part.model_dump(mode="json") for key, part in parts.items()} | plain | {"init": None}


def _metrics(metrics: Mapping[str, float]) -> Group:
    """Metrics in columns, one for each family (answer, attention, …), four side by side; of answers by the size of
    their object and by where the noun looks, the number alone."""
    from swim.evaluation.breakdown import of_a_class  # numpy, without which --help is fast

    families: dict[str, list[tuple[str, str]]] = {}
    for name, score in sorted(metrics.items()):
        if of_a_class(name):
            continue
        family, _, leaf = name.partition(".")
        families.setdefault(family, []).append((leaf, number(score)))
    blocks = []
    names = list(families)
    for start in range(0, len(names), METRIC_COLUMNS):
        grid = Table.grid(padding=(0, 1, 0, 0))
        block = names[start : start + METRIC_COLUMNS]
        for _ in block:
            grid.add_column()
            grid.add_column(justify="right", no_wrap=True)
        grid.add_row(*(text for family in block for text in (Text(family, "dim"), Text())))
        for cells in zip_longest(*(families[family] for family in block), fillvalue=("", "")):
            grid.add_row(*(Text(text) for cell in cells for text in cell))
        blocks.append(grid)
    classes = sum(map(of_a_class, metrics))
    more = [Text(f"and {classes} of answers by size and look: `swimlab answers`", "dim")] if classes else []
    return Group(*blocks, *more)


def _files(record: TrialRecord) -> str:
    folders: dict[str, list[int]] = {}
    for name, entry in record.files.items():
        head, slash, _ = name.partition("/")
        folders.setdefault(head + slash, []).append(entry.size_bytes)
    listed = ", ".join(
        f"{name} {size(sum(sizes))}" + (f" in {len(sizes)} files" if len(sizes) > 1 else "")
        for name, sizes in sorted(folders.items())
    )
    return f"{listed}\nattempts/{record.trial_id}/{record.attempt}/"
