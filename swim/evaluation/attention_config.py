"""The configuration of the suite `attention`, apart from it so that what scores and what films can read it."""

from __future__ import annotations

from pydantic import Field

from swim.recipe import ModelConfig, Readout, SuiteConfig
from swim.supervision.layers import resolve


class AttentionConfig(SuiteConfig):
    """Maps are read by one fixed `readout`, so that arms are compared by one ruler, and by the arm's own. With
    `attributes` also those of the word in front of a noun, beside the noun's. `precision_threshold`: of a map scaled to
    [0, 1]; `overlays`: clips of which maps are kept for pictures."""

    readout: Readout = Readout(layers="all")
    precision_threshold: float = Field(0.5, ge=0, lt=1)
    overlays: int = Field(4, ge=0)
    attributes: bool = False

    def check(self, model: ModelConfig) -> None:
        """See `SuiteConfig`."""
        self.readout.check("readout", model)

    def resolved(self, model: ModelConfig) -> AttentionConfig:
        """See `SuiteConfig`."""
        layers = resolve(self.readout.layers, model.layers)
        return self.model_copy(update={"readout": self.readout.model_copy(update={"layers": layers})})

    def choices(self) -> set[tuple[str, str]]:
        """See `SuiteConfig`."""
        return {("normalise", "none"), *self.readout.choices()}
