"""What commands share: a screen that prints any text; those about a store: its flag, errors in one line, exit codes."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict
from rich.console import Console

from swimlab.base.screen import say, screen
from swimlab.store.errors import StoreError

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
