"""`swimlab checkpoint`: a trial's model as a folder that others load without our code."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import CliPositionalArg, CliToggleFlag
from rich.console import Console

from swimlab.base.screen import say
from swimlab.cli.commands.why import committed
from swimlab.cli.store_command import StoreCommand
from swimlab.store import query


class Checkpoint(StoreCommand):
    """Writes a folder that transformers loads (AutoModelForImageTextToText, AutoProcessor): weights as safetensors,
    tokenizer, processor, chat template, and a model card with the evidence."""

    trial: CliPositionalArg[str] = Field(description="a trial id, or the beginning of one")
    out: CliPositionalArg[Path] = Field(description="a new folder")
    adapters: CliToggleFlag[bool] = Field(
        False, description="LoRA adapters alone, to be loaded onto their base; default: merged into the weights"
    )
    push: str | None = Field(
        None, description="owner/name on the Hugging Face hub to upload it to, with the login of `hf auth login`"
    )

    def run(self, console: Console) -> int:
        """See `StoreCommand`."""
        # transformers, seconds of CPU: a mistake in the flags is answered before.
        from swimlab.checkpoints.export import write_checkpoint
        from swimlab.checkpoints.push import push
        from swimlab.report.model_card import model_card

        store = query.open_store(self.store)
        (result,) = committed(store, [query.resolve(store, self.trial)])
        card = model_card(store, result, self.adapters)
        files = write_checkpoint(store, result, self.out, "adapters" if self.adapters else "merged", card)
        size_mb = sum((self.out / file).stat().st_size for file in files) / 1e6
        say(console, f"trial {result.trial_id} in {self.out}: {len(files)} files, {size_mb:,.1f} MB")
        if self.push is not None:
            say(console, push(self.out, self.push))
        return 0
