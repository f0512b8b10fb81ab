"""`swimlab ask`: a model's answer to a question about any video."""

from __future__ import annotations

from rich.console import Console

from swimlab.base.screen import say
from swimlab.cli.model_command import ModelCommand


class Ask(ModelCommand):
    """Prints what a trained model answers, each token the most likely one. Tags such as <ins>dog</ins> are left out of
    what it reads."""

    def run(self, console: Console) -> int:
        """See `StoreCommand`."""
        # torch and transformers, seconds of CPU: a mistake in the flags is answered before.
        from swimlab.checkpoints.asking import answer, clip_of
        from swimlab.checkpoints.load import load

        with load(self.model, self.store, self.torch_device()) as model:
            clip = clip_of(self.video, self.question, model.recipe.data.frames)
            said = answer(model, clip, self.question, self.max_new_tokens)
        say(console, said.text)
        frames = ", ".join(map(str, clip.frame_indices))
        end = "finish stop" if said.finish == "stop" else f"finish limit: cut at {len(said.token_ids)} tokens"
        say(console, f"{model.name}; {end}; frames {frames} of {self.video}", "dim")
        return 0
