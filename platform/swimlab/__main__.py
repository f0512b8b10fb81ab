"""The `swimlab` command: what is not an experiment. A new command is one more settings class with a `cli_cmd`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, CliApp, CliSubCommand, SettingsConfigDict, SettingsError, get_subcommand

from swimlab.commands.base import print_any_text
from swimlab.commands.export import Export
from swimlab.commands.gc import Gc
from swimlab.commands.ls import Ls
from swimlab.commands.replay import ReplayTrial
from swimlab.commands.show import Show
from swimlab.commands.watch import Watch
from swimlab.commands.why import Why
from swimlab.doctor.cli import Doctor


class Swimlab(BaseSettings):
    """SWIM Lab. Experiments are files of experiments/; these commands are about data and stores."""

    model_config = SettingsConfigDict(cli_prog_name="swimlab", cli_kebab_case=True, cli_hide_none_type=True)

    doctor: CliSubCommand[Doctor] = Field(description="what is in annotations and videos, what is broken and where")
    ls: CliSubCommand[Ls] = Field(description="the trials of a store, as a leaderboard")
    show: CliSubCommand[Show] = Field(description="everything about a trial, on one screen")
    why: CliSubCommand[Why] = Field(description="what differs between two trials")
    watch: CliSubCommand[Watch] = Field(description="live status of the runs in a store")
    gc: CliSubCommand[Gc] = Field(description="what the store no longer needs; --delete removes it")
    export: CliSubCommand[Export] = Field(description="trials as a table, or for TensorBoard and MLflow")
    replay: CliSubCommand[ReplayTrial] = Field(description="run a trial again: is its curve the same, bit for bit?")

    def cli_cmd(self) -> None:
        """Runs the command that was named; without one, says which there are."""
        if get_subcommand(self, is_required=False) is None:
            print(CliApp.format_help(self), file=sys.stderr)
            raise SystemExit(2)
        CliApp.run_subcommand(self)


def main(argv: Sequence[str] | None = None) -> None:
    """Exits with the command's code, and with 2 and one line a mistake when it is called wrongly."""
    print_any_text()  # before `--help` is printed
    try:
        CliApp.run(Swimlab, cli_args=list(sys.argv[1:] if argv is None else argv))
        return
    except ValidationError as error:
        lines = [f"--{str(e['loc'][-1]).replace('_', '-')}: {e['msg']}" for e in error.errors()]
    except SettingsError as error:
        lines = [f"{error}; a file name with brackets, commas or quotes is written as '\"a,b.json\"'"]
    print("\n".join(lines), file=sys.stderr)
    raise SystemExit(2)


if __name__ == "__main__":
    main()
