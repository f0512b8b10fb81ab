"""`swimlab look`: where a model looks while it is asked about a video, beside the model that it was trained from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from rich.console import Console

from swimlab.base.screen import say
from swimlab.cli.model_command import ModelCommand

PAGE, FILM, SHEET, ARRAYS = "index.html", "film.mp4", "sheet.png", "maps.npz"


class LookAt(ModelCommand):
    """Writes a page on which every word of the question and of the answers can be clicked, a film (mp4), a contact
    sheet (PNG) and the raw maps (npz). No masks are needed: the noun is tagged, as in "Describe the <ins>dog</ins>.",
    or found by rule."""

    out: Path = Field(Path("look"), description="a new folder, for all that is written")
    base: str = Field("start", description="the model beside it; start: what it was trained from; none: no other")
    sink: Literal["raw", "relative"] = Field(
        "raw", description="maps as they are, or relative to a neutral prompt; the page has both"
    )
    layers: str | None = Field(
        None, description="layers to read: 1,2 or a choice such as even:6; default: those of the trial's evaluation"
    )

    @field_validator("layers")
    @classmethod
    def _layers(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"\d+(,\d+)*|[a-z]+(:[\d.]+)?", value):
            raise ValueError(f"{value!r} is neither numbers of layers (1,2) nor a choice (even:6, all)")
        return value

    def run(self, console: Console) -> int:
        """See `StoreCommand`."""
        if self.out.exists() and (not self.out.is_dir() or any(self.out.iterdir())):
            raise ValueError(f"--out {self.out} is there and not empty: name a new folder, nothing is overwritten")
        # torch, transformers and matplotlib, seconds of CPU: a mistake in the flags is answered before.
        from swimlab.checkpoints.asking import look
        from swimlab.report.look.arrays import write_arrays
        from swimlab.report.look.page import render_page
        from swimlab.report.look.pictures import contact_sheet, write_film

        seen = look(
            self.model,
            None if self.base == "none" else self.base,
            self.video,
            self.question,
            store_uri=self.store,
            device=self.torch_device(),
            max_new_tokens=self.max_new_tokens,
            layers=self._chosen_layers(),
        )
        self.out.mkdir(parents=True, exist_ok=True)
        (self.out / PAGE).write_text(render_page(seen, self.sink), encoding="utf-8")
        write_film(seen, self.sink, self.out / FILM)
        (self.out / SHEET).write_bytes(contact_sheet(seen, self.sink))
        write_arrays(seen, self.out / ARRAYS)
        noun = ", ".join(seen.words[i].word for i in seen.nouns)
        say(console, f"noun {noun} ({'found by rule' if seen.by_rule else 'tagged'})")
        for view in seen.views:
            say(console, f"{view.name}: {seen.texts[view.text]} (finish {view.finish})")
        for name in (PAGE, FILM, SHEET, ARRAYS):
            say(console, str(self.out / name))
        return 0

    def _chosen_layers(self) -> str | tuple[int, ...] | None:
        if self.layers is None or not self.layers[0].isdigit():
            return self.layers
        return tuple(map(int, self.layers.split(",")))
