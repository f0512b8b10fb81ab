"""`swimlab gc`: lists what a store no longer needs, and removes it with --delete."""

from __future__ import annotations

import time
from collections.abc import Sequence

from pydantic import Field
from pydantic_settings import CliToggleFlag
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from swimlab.base.screen import say
from swimlab.cli.store_command import StoreCommand
from swimlab.report.doctor_words import count, size
from swimlab.store import garbage_collection, query, scratch
from swimlab.store.garbage_collection import Checkpoints, Item, Kind, Rules
from swimlab.store.scratch import Abandoned

MOST_ITEMS = 30
WORDS: dict[Kind, str] = {
    "attempt": "finished attempts",
    "record": "records whose files are gone",
    "steps": "step checkpoints of committed trials",
    "checkpoint": "checkpoints",
    "mark": "marks of commits that did not happen",
    "leftover": "half-written files",
    "clips": "decoded clips",
    "code": "archived code",
    "table": "damaged tables",
    "scratch": "temporary folders of processes that were killed",
}


class Gc(StoreCommand):
    """Lists what a store no longer needs, and temporary folders that killed processes left on this machine, with their
    size; --delete removes them. Files that a record names and those of attempts that are still running are always
    kept."""

    delete: CliToggleFlag[bool] = Field(False, description="remove it")
    checkpoints: Checkpoints = Field(
        "all", description="final checkpoints to keep: all, bases (those a committed trial started from) or none"
    )
    unfinished: CliToggleFlag[bool] = Field(
        False, description="also the step checkpoints from which interrupted trials would continue"
    )
    clips: CliToggleFlag[bool] = Field(False, description="also decoded clips that no committed trial reads")
    code: CliToggleFlag[bool] = Field(False, description="also archived code that no committed trial ran")
    tables: CliToggleFlag[bool] = Field(
        False, description="also damaged tables of curves and samples; the next run writes them again"
    )
    wait: CliToggleFlag[bool] = Field(
        False,
        description="read the store twice, a minute apart, to tell whether attempts of other machines are running",
    )

    def run(self, console: Console) -> int:
        """See `StoreCommand`."""
        store = query.open_store(self.store)
        rules = Rules(**{name: getattr(self, name) for name in Rules.model_fields})
        garbage = garbage_collection.find(store, rules, time.sleep if self.wait else None)
        folders = scratch.abandoned()
        items = (*garbage.items, *map(_of_scratch, folders))
        if items:
            console.print(_kinds(items))
            console.print(_items(items))
        if garbage.alive:
            note = "" if self.wait else ", or cannot be judged from one reading (--wait)"
            say(console, f"{count(len(garbage.alive))} attempts are alive{note}", "dim")
        if not items:
            say(console, f"nothing to collect in {store.uri}")
        elif not self.delete:
            say(console, f"{_places(store.uri, garbage.items, folders)} would be freed; --delete does it", "bold")
        else:
            deleted = garbage_collection.collect(store, garbage)
            for folder in folders:
                scratch.remove(folder)
            say(console, f"{_places(store.uri, deleted, folders)} freed", "bold")
            if remaining := len(garbage.items) - len(deleted):
                say(console, f"{count(remaining)} kept: their attempts committed meanwhile")
        return 0


def _of_scratch(folder: Abandoned) -> Item:
    why = f"left by process {folder.owner.pid}, which was killed"
    return Item("scratch", str(folder.path), why, (str(folder.path),), folder.size_bytes)


def _places(uri: str, items: Sequence[Item], folders: Sequence[Abandoned]) -> str:
    text = f"{size(sum(item.size_bytes for item in items))} in {uri}"
    if folders:
        text += f" and {size(sum(f.size_bytes for f in folders))} in {folders[0].path.parent} on this machine"
    return text


def _kinds(items: Sequence[Item]) -> Table:
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    grid.add_column("what")
    for name in ("places", "files", "bytes"):
        grid.add_column(name, justify="right")
    for kind in dict.fromkeys(item.kind for item in items):
        of_kind = [item for item in items if item.kind == kind]
        files = sum(len(item.paths) for item in of_kind)
        grid.add_row(WORDS[kind], count(len(of_kind)), count(files), size(sum(item.size_bytes for item in of_kind)))
    return grid


def _items(items: Sequence[Item]) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(no_wrap=True, overflow="ellipsis")
    grid.add_column(overflow="fold", style="dim")
    largest = sorted(items, key=lambda item: -item.size_bytes)
    for item in largest[:MOST_ITEMS]:
        grid.add_row(size(item.size_bytes), Text(item.location), Text(item.reason))
    if (more := len(items) - MOST_ITEMS) > 0:
        grid.add_row("", Text(f"and {count(more)} smaller"), "")
    return grid
