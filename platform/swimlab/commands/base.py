"""What commands share: a screen that prints any text; those about a store: its flag, errors in one line, exit codes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict
from rich.console import Console

from swimlab.backends import StoreError
from swimlab.command_line import print_any_text

LOG_WIDTH = 100
HELP = SettingsConfigDict(
    env_prefix="SWIMLAB_", cli_kebab_case=True, extra="forbid", frozen=True, cli_hide_none_type=True
)


class StoreCommand(BaseSettings):
    """A command that reads a sweep store and needs neither Ray nor torch to start."""

    model_config = HELP

    store: str = Field("swimlab-store", description="sweep store: a folder or s3://bucket/prefix")

    def run(self, console: Console) -> int:
        """Does it and returns the exit code. Raises StoreError or ValueError saying what to do."""
        raise NotImplementedError

    def cli_cmd(self) -> None:
        """Runs and exits: with the command's code, 1 for what cannot be done here, 130 on Ctrl-C."""
        console = screen()
        try:
            code = self.run(console)
        except KeyboardInterrupt:
            code = 130
        except (StoreError, ValueError, OSError) as error:
            say(console, f"{type(error).__name__}: {error}", "red")
            code = 1
        raise SystemExit(code)


def screen(width: int = LOG_WIDTH) -> Console:
    """A terminal as wide as it is; a log of `width` columns. Text is printed as it is: names of arms, files and metrics
    may hold brackets (rich's markup) or colons (its emoji)."""
    print_any_text()
    return Console(width=None if sys.stdout.isatty() else width, highlight=False, markup=False, emoji=False)


def say(console: Console, text: str, style: str = "") -> None:
    """A line of text, not folded inside paths; literal on any console."""
    console.print(text, style=style, markup=False, emoji=False, highlight=False, soft_wrap=True)


def ago(moment: str, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> str:
    """How long ago a UTC time of a record was, in one unit."""
    seconds = (now() - datetime.fromisoformat(moment)).total_seconds()
    for unit, length_s in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length_s:
            return f"{seconds / length_s:.0f} {unit} ago"
    return f"{max(seconds, 0):.0f} s ago"
