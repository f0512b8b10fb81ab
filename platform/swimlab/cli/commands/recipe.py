"""`swimlab recipe`: the recipes there are, and one in full, with whatever --set changes."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, CliPositionalArg
from rich.console import Console
from rich.table import Table
from rich.text import Text

from swim import recipes
from swim.recipe import Optim
from swimlab.cli.command_line import exit_with
from swimlab.cli.store_command import HELP
from swimlab.experiment import chosen_recipe
from swimlab.experiment.run_settings import Assignments


class ShowRecipe(BaseSettings):
    """Prints a recipe in full, as a JSON file that --recipe reads; without a name, the recipes there are."""

    model_config = HELP

    # Not `recipe`: SWIMLAB_RECIPE would then be the name.
    name: CliPositionalArg[str | None] = Field(None, description="a named recipe, or a .json or .toml file with one")
    set: Assignments = Field((), description="changes, PATH=VALUE …: objective.fusion=max optim.lr=1e-5")

    def run(self, console: Console) -> int:
        """Prints.

        Returns:
            The exit code.

        Raises:
            ValueError: for a recipe that does not exist; FlagError for a mistake in --set.
        """
        if self.name is None:
            console.print(_overview())
        else:
            recipe = chosen_recipe.changed(recipes.named(self.name), self.set)
            print(recipe.model_dump_json(indent=2))
        return 0

    def cli_cmd(self) -> None:
        """Runs the command and exits: see `command_line.exit_with`."""
        exit_with(self.run)


def _overview() -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("recipe", "length", "what it is"):
        table.add_column(column, no_wrap=column != "what it is")
    for name, build in recipes.RECIPES.items():
        summary = (build.__doc__ or "").strip().split("\n\n")[0]
        table.add_row(Text(name), Text(_length(build().optim)), Text(" ".join(summary.split())))
    return table


def _length(optim: Optim) -> str:
    amount, unit = (optim.steps, "steps") if optim.epochs is None else (optim.epochs, "epochs")
    return f"{amount:,g} {unit} of {optim.batch}"
