"""The base class of the commands about a store: the --store flag and the exit code."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict
from rich.console import Console

from swimlab.cli.command_line import exit_with

HELP = SettingsConfigDict(
    env_prefix="SWIMLAB_", cli_kebab_case=True, extra="forbid", frozen=True, cli_hide_none_type=True
)


class StoreCommand(BaseSettings):
    """A command that reads a sweep store and needs neither Ray nor torch to start."""

    model_config = HELP

    store: str = Field("swimlab-store", description="sweep store: a folder or s3://bucket/prefix")

    def run(self, console: Console) -> int:
        """Runs the command.

        Returns:
            The exit code.

        Raises:
            StoreError, ValueError: for what the user can mend; the message says how.
        """
        raise NotImplementedError

    def cli_cmd(self) -> None:
        """Runs the command and exits: see `command_line.exit_with`."""
        exit_with(self.run)
