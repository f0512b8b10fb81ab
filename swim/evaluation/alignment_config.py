"""The configuration of the suite `alignment`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from swim.recipe import ModelConfig, Query, Readout, SuiteConfig
from swim.supervision.layers import resolve

Convention = Literal["video", "frame", "release"]

# How the released script's rows are read: full softmax over every token, the position before each sub-token.
RELEASED_QUERY, RELEASED_DOMAIN = "each-before", "all"
# Several positions as one map: any query is read as one of these, so that one forward pass serves all queries.
GROUP_QUERY = "noun-mean"


class AlignmentConfig(SuiteConfig):
    """Maps are read by `readout`, once for each of `queries`, and scored by the `conventions` "video" and "frame", with
    `per_layer` also each layer's own map. The convention "release" has its own reading, at `released_layers`: layer 23
    of 28, or the same depth of another model. `clips`: of the first so many held-out clips; None: of all."""

    conventions: tuple[Convention, ...] = ("video", "frame", "release")
    readout: Readout = Readout(layers="all")
    queries: tuple[Query, ...] = ("noun", "before")
    per_layer: bool = False
    released_layers: tuple[int, ...] | str = "at:0.8519"
    clips: int | None = Field(None, ge=1)

    @field_validator("conventions", "queries")
    @classmethod
    def _each_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not names or len(set(names)) != len(names):
            raise ValueError(f"{', '.join(names) or 'none'}: name at least one, and each once")
        return names

    @property
    def released_readout(self) -> Readout:
        """How the convention "release" reads a map."""
        return Readout(layers=self.released_layers, query=RELEASED_QUERY, domain=RELEASED_DOMAIN)

    def check(self, model: ModelConfig) -> None:
        """See `SuiteConfig`."""
        self.readout.check("readout", model)
        self.released_readout.check("released_layers", model)

    def resolved(self, model: ModelConfig) -> AlignmentConfig:
        """See `SuiteConfig`."""
        layers = resolve(self.readout.layers, model.layers)
        released = resolve(self.released_layers, model.layers)
        readout = self.readout.model_copy(update={"layers": layers})
        return self.model_copy(update={"readout": readout, "released_layers": released})

    def choices(self) -> set[tuple[str, str]]:
        """See `SuiteConfig`."""
        queries = {("query", query) for query in (*self.queries, GROUP_QUERY)}
        fused = {choice for choice in self.readout.choices() if choice[0] != "query"}
        return {("normalise", "none"), *queries, *fused, *self.released_readout.choices()}
