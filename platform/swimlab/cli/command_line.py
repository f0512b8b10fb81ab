"""Flags over SWIMLAB_* variables over defaults, for experiment files and the `swimlab` commands alike."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings, CliApp, CliPositionalArg, CliSettingsSource, SettingsError

from swimlab.base.nearest import nearest
from swimlab.base.screen import PLAIN, print_any_text

Flags = TypeVar("Flags", bound=BaseSettings)
PLAIN |= {"≥": ">=", "≤": "<=", "→": "->", "Δ": "D"}
_POSITIONAL = CliPositionalArg[str].__metadata__  # type: ignore[attr-defined]


def parse(kind: type[Flags], argv: Sequence[str] | None = None, program: str | None = None) -> Flags:
    """What was asked for; a command (with `cli_cmd`) is run as well. Exits with 0 after --help, and with 2 and one line
    a mistake. `program`: its name in the help, where that is not the file's."""
    print_any_text()  # before --help is printed
    source: CliSettingsSource[Any] = CliSettingsSource(kind, cli_prog_name=program, cli_exit_on_error=False)
    given = list(sys.argv[1:] if argv is None else argv)
    try:
        return CliApp.run(kind, cli_args=given, cli_settings_source=source)
    except ValidationError as error:
        lines = [_mistake(kind, e) for e in error.errors()]
    except SettingsError as error:
        lines = [_misread(kind, str(error))]
    print("\n".join(lines), file=sys.stderr)
    raise SystemExit(2)


def _mistake(kind: type[BaseSettings], error: Any) -> str:
    said, where = str(error["msg"]), error["loc"]
    if not where:  # one of several flags together has no flag of its own: its text names them
        return said.removeprefix("Value error, ")
    if error["type"] == "literal_error":
        said += nearest(str(error["input"]), re.findall(r"'([^']*)'", said))
    field = kind.model_fields.get(str(where[0]))
    dashes = "" if field and set(_POSITIONAL) & set(field.metadata) else "--"
    return f"{dashes}{'.'.join(map(str, where)).replace('_', '-')}: {said}"


def _misread(kind: type[BaseSettings], said: str) -> str:
    said = said.removeprefix("error parsing CLI: ")
    if (unknown := re.fullmatch(r"unrecognized arguments: (--[^ =]+).*", said, re.DOTALL)) is not None:
        flags = [f"--{name.replace('_', '-')}" for name in kind.model_fields]
        return f"no flag {unknown[1]}{nearest(unknown[1], flags)} (--help lists them all)"
    if "unrecognized" in said or "required" in said:
        return f"{said} (--help says what may follow)"
    return f"{said}; a file name with brackets, commas or quotes is written as '\"a,b.json\"'"
