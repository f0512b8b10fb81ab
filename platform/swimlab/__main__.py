"""The `swimlab` command: what is not an experiment. A new command is one more line of `COMMANDS`."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import NoReturn

from swimlab.base.nearest import nearest
from swimlab.base.printable import complain

# Name → the module and class of its flags, and what it says. A module is imported when its command is named: all of
# them together take 2.2 CPU seconds (Ray Data, SciPy, Arrow), which no --help should.
COMMANDS: Mapping[str, tuple[str, str]] = {
    "doctor": ("swimlab.cli.commands.doctor:Doctor", "what is in annotations and videos, what is broken and where"),
    "recipe": ("swimlab.cli.commands.recipe:ShowRecipe", "the recipes there are; a named one in full"),
    "ls": ("swimlab.cli.commands.ls:Ls", "the trials of a store, as a leaderboard"),
    "show": ("swimlab.cli.commands.show:Show", "everything about a trial, on one screen"),
    "why": ("swimlab.cli.commands.why:Why", "what differs between two trials"),
    "watch": ("swimlab.cli.commands.watch:Watch", "live status of the runs in a store"),
    "gc": ("swimlab.cli.commands.gc:Gc", "what the store no longer needs; --delete removes it"),
    "export": ("swimlab.cli.commands.export:Export", "trials as a table, or for TensorBoard and MLflow"),
    "ask": ("swimlab.cli.commands.ask:Ask", "what a trained model answers about a video"),
    "look": ("swimlab.cli.commands.look:LookAt", "where it looks while it is asked, beside its base"),
    "answers": ("swimlab.cli.commands.answers:Answers", "what a model answered in an evaluation, hardest first"),
    "checkpoint": ("swimlab.cli.commands.checkpoint:Checkpoint", "a trial's model as a folder that others load"),
    "replay": ("swimlab.cli.commands.replay:ReplayTrial", "run a trial again: is its curve the same, bit for bit?"),
}


def usage() -> str:
    """What `swimlab --help` prints."""
    listed = "\n".join(f"  {name:10} {says}" for name, (_, says) in COMMANDS.items())
    text = """\
        usage: swimlab COMMAND [flags]
               swimlab COMMAND --help | --help | --version

        SWIM Lab. Experiments are files of experiments/; these commands are about data and stores.

        """
    return f"{textwrap.dedent(text)}{listed}"


def main(argv: Sequence[str] | None = None) -> None:
    """Exits with the command's code, and with 2 and one line a mistake when it is called wrongly."""
    name, *flags = [*(sys.argv[1:] if argv is None else argv)] or [""]
    if name in ("-h", "--help"):
        print(usage())
    elif name == "--version":
        print(f"swimlab {version()}")
    elif name in COMMANDS:
        _run(name, flags)
    elif not name:
        _refuse(usage())
    elif name.startswith("-"):
        _refuse(f"swimlab: no flag {name}: a command comes first, its flags after it ({', '.join(COMMANDS)})")
    else:
        _refuse(f"swimlab: no command {name!r}{nearest(name, COMMANDS)} (there are {', '.join(COMMANDS)})")


def version() -> str:
    """The installed version."""
    try:
        return metadata.version("swimlab")
    except metadata.PackageNotFoundError:  # uploaded with a Ray job
        return "of a source tree that is not installed"


def _run(name: str, flags: list[str]) -> None:
    # Pydantic is half of what a --help may take.
    from swimlab.cli.command_line import parse

    module, _, command = COMMANDS[name][0].partition(":")
    parse(getattr(importlib.import_module(module), command), flags, f"swimlab {name}")


def _refuse(text: str) -> NoReturn:
    complain(text)
    raise SystemExit(2)


if __name__ == "__main__":
    main()
