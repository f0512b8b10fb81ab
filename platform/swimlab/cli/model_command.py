"""The base class of the commands that ask a model: which model, where it computes, and errors of videos as one line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field
from pydantic_settings import CliPositionalArg

from swim.data.types import DataError
from swimlab.cli.command_line import exit_with
from swimlab.cli.store_command import StoreCommand

if TYPE_CHECKING:
    import torch


class ModelCommand(StoreCommand):
    """A command about one model and one video."""

    model: CliPositionalArg[str] = Field(
        description="a trial's id or the beginning of one, a folder with a checkpoint, or a name on the hub (org/name)"
    )
    video: CliPositionalArg[str] = Field(description="a file, a folder of pictures, or s3://bucket/key")
    question: CliPositionalArg[str] = Field(description="what to ask, as in 'Describe the brown dog.'")
    max_new_tokens: int = Field(256, ge=1, description="the longest answer")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: a GPU where there is one")

    def cli_cmd(self) -> None:
        """Runs the command and exits: see `command_line.exit_with`."""
        exit_with(self.run, errors=(DataError,))

    def torch_device(self) -> torch.device:
        """The device that --device names. Raises ValueError where there is none of it."""
        import torch  # 1.5 s of CPU, which `--help` does not need

        has_gpu = torch.cuda.is_available()
        if self.device == "cuda" and not has_gpu:
            raise ValueError("--device cuda: torch finds no GPU here; leave it out, or name cpu")
        return torch.device("cuda" if has_gpu and self.device != "cpu" else "cpu")
