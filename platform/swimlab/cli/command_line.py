"""Command lines: flags before SWIMLAB_* variables before defaults, and what a command exits with."""

from __future__ import annotations

import json
import re
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings, CliApp, CliPositionalArg, CliSettingsSource, SettingsError
from rich.console import Console

from swimlab.base.nearest import nearest
from swimlab.base.printable import complain
from swimlab.base.screen import LOG_WIDTH, print_any_text, say, screen
from swimlab.experiment.run_settings import FlagError
from swimlab.store.errors import StoreError

Flags = TypeVar("Flags", bound=BaseSettings)
_ASSIGNMENT = re.compile(r"[A-Za-z_][\w.]*=")
_POSITIONAL = CliPositionalArg[str].__metadata__  # type: ignore[attr-defined]


def parse(kind: type[Flags], argv: Sequence[str] | None = None, program: str | None = None) -> Flags:
    """Reads the command line into settings; runs the command where `kind` is one (has `cli_cmd`).

    Args:
        kind: the settings class; its fields are the flags.
        argv: the flags, instead of the process's.
        program: the program's name in the help, instead of the file's.

    Raises:
        SystemExit: with 0 after --help, and with 2 and one line on stderr for each mistake.
    """
    print_any_text()  # before --help is printed
    source: CliSettingsSource[Any] = CliSettingsSource(kind, cli_prog_name=program, cli_exit_on_error=False)
    arguments = _with_assignments_joined(sys.argv[1:] if argv is None else argv)
    try:
        return CliApp.run(kind, cli_args=arguments, cli_settings_source=source)
    except ValidationError as error:
        lines = [_mistake(kind, e) for e in error.errors()]
    except SettingsError as error:
        lines = [_misread(kind, str(error))]
    complain("\n".join(lines))
    raise SystemExit(2)


def _with_assignments_joined(arguments: Sequence[str]) -> list[str]:
    """The arguments with all of `--set PATH=VALUE …` as one JSON array: pydantic's lists end at a space, and at the
    commas of a value."""
    others: list[str] = []
    assignments: list[str] = []
    rest = deque(arguments)
    while rest:
        argument = rest.popleft()
        if argument != "--set" and not argument.startswith("--set="):
            others.append(argument)
            continue
        assignments.append(argument.removeprefix("--set=") if "=" in argument else rest.popleft() if rest else "")
        while rest and _ASSIGNMENT.match(rest[0]):
            assignments.append(rest.popleft())
    return [*others, f"--set={json.dumps(assignments)}"] if assignments else others


def exit_with(
    command: Callable[[Console], int],
    *,
    log_width: int = LOG_WIDTH,
    errors: tuple[type[Exception], ...] = (),
    stopped: str = "",
) -> NoReturn:
    """Runs a command on a screen of its own and ends the process with its exit code.

    Args:
        command: prints on the console and returns the exit code.
        log_width: columns where stdout is no terminal.
        errors: what the user can mend, beside StoreError, ValueError and OSError; each is printed as one line.
        stopped: printed on Ctrl-C, and on SIGTERM, as a batch system or a spot machine sends it before it kills.

    Raises:
        SystemExit: always. With the command's code, 1 after such an error, 2 after a FlagError, 130 on
            Ctrl-C, 143 on SIGTERM.
    """
    terminations: list[int] = []
    console = screen(log_width)
    expected: tuple[type[Exception], ...] = (StoreError, ValueError, OSError, *errors)
    try:
        with _terminable(terminations):
            code = command(console)
    except KeyboardInterrupt:
        if stopped:
            say(console, stopped)
        code = 143 if terminations else 130
    except FlagError as error:
        complain(str(error))
        code = 2
    except expected as error:
        cause = getattr(error, "cause", error)  # Ray wraps what a task raised, and adds the task's traceback
        say(console, f"{type(cause).__name__}: {cause}", "red")
        code = 1
    raise SystemExit(code)


@contextmanager
def _terminable(terminations: list[int]) -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt inside the block, and is noted: what ends well on Ctrl-C ends well on it."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals reach the main thread only
        return

    def terminate(number: int, _: object) -> None:
        terminations.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _mistake(kind: type[BaseSettings], error: Any) -> str:
    message, location = str(error["msg"]), error["loc"]
    if not location:  # several flags that do not go together: the message names them
        return message.removeprefix("Value error, ")
    if error["type"] == "literal_error":
        message += nearest(str(error["input"]), re.findall(r"'([^']*)'", message))
    field = kind.model_fields.get(str(location[0]))
    dashes = "" if field and set(_POSITIONAL) & set(field.metadata) else "--"
    return f"{dashes}{'.'.join(map(str, location)).replace('_', '-')}: {message}"


def _misread(kind: type[BaseSettings], message: str) -> str:
    message = message.removeprefix("error parsing CLI: ")
    if (unknown := re.fullmatch(r"unrecognized arguments: (--[^ =]+).*", message, re.DOTALL)) is not None:
        flags = [f"--{name.replace('_', '-')}" for name in kind.model_fields]
        return f"no flag {unknown[1]}{nearest(unknown[1], flags)} (--help lists them all)"
    if "unrecognized" in message or "required" in message:
        return f"{message} (--help lists what the command takes)"
    return f"{message}; a file name with brackets, commas or quotes is written as '\"a,b.json\"'"
