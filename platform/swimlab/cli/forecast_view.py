"""What `plan` says about training a hub model on a GPU: memory, speed, price, and what is assumed."""

from __future__ import annotations

from collections.abc import Iterator

from swim.recipe import HubModel, Recipe
from swimlab.data.row_tokens import row_tokens
from swimlab.experiment import cards, training_forecast
from swimlab.experiment.cards import Card
from swimlab.experiment.cost_forecast import CostEstimate
from swimlab.experiment.run_settings import Settings
from swimlab.experiment.training_forecast import RowTokens, TrainingForecast
from swimlab.report.number_format import duration
from swimlab.store.sweep_store import SweepStore

ARITHMETIC = "arithmetic of the card"


class Forecasts:
    """Forecasts of the trials of a plan; the tokens of each data set are counted once."""

    def __init__(self, store: SweepStore, settings: Settings) -> None:
        self._store, self._settings = store, settings
        self._rows: dict[str, RowTokens] = {}

    def of(self, recipe: Recipe, data: str) -> TrainingForecast | None:
        """Of a recipe whose length is in steps and the fingerprint of its clips; None where it is not trained on a GPU,
        or its widths are not known."""
        settings = self._settings
        if settings.gpu is False or not isinstance(recipe.model, HubModel):
            return None
        if data not in self._rows:
            self._rows[data] = row_tokens(self._store, recipe, data)
        return training_forecast.forecast(
            recipe,
            self._rows[data],
            cards.named(settings.card),
            workers=settings.workers,
            shard=settings.shard,
            micro_batch=settings.micro_batch,
        )


def estimate(of: TrainingForecast) -> CostEstimate:
    """As an estimate of a trial; its evaluation is not counted."""
    return CostEstimate(of.train_s, of.train_s, of.size_bytes, 0, ARITHMETIC, of.card.name)


def lines(of: TrainingForecast) -> Iterator[str]:
    """Memory and speed, then the assumptions."""
    card, memory = of.card, of.memory
    parts = sorted(memory.held.items(), key=lambda part: -part[1])
    held = ", ".join(f"{name} {_gb(size)}" for name, size in parts if size >= 0.05e9)
    more = f"{_gb(memory.peak - sum(memory.held.values()))} more at the peak, {memory.moment}"
    yield f"memory     ≈ {_gb(memory.peak)} GB a GPU of {card.memory_gb:g} ({card.name}): {held}; {more}"
    if not of.fits:
        yield (
            "           does NOT fit: try model.weights=bfloat16 with fewer unchecked layers, adapters (model.lora), "
            "smaller data.frames, a larger --card, or --shard with --workers"
        )
    gpus = f", {of.devices} GPUs" if of.devices > 1 else ""
    yield (
        f"speed      ≈ {duration(of.step_s)} a step of {of.batch} conversations, {of.tokens_per_s:,.0f} "
        f"tokens/s{gpus}; {duration(of.train_s)} a trial, without its evaluation"
    )
    share = f"{training_forecast.SHARE * 100:.0f} % of its {card.flops_per_s / 1e12:.0f} TFLOP/s"
    yield (
        f"assumed    {card.name} (--card): {share}, measured once (7B, 8,192 tokens, H200); "
        "a guess elsewhere, too fast for small models"
    )
    rows = of.rows
    yield (
        f"           a conversation of {rows.mean:,.0f} tokens, the longest "
        f"{rows.longest_visual + rows.longest_text:,}: {rows.basis}"
    )


def price(device_hours: float, card: Card, usd_per_hour: float | None) -> str:
    """Of GPU-hours, as a line."""
    return f"price      {cost(device_hours, card, usd_per_hour)}"


def cost(device_hours: float, card: Card, usd_per_hour: float | None) -> str:
    """Of GPU-hours, and where the rate is from."""
    rate = card.usd_per_hour if usd_per_hour is None else usd_per_hour
    source = "assumed, give yours with --usd-per-hour" if usd_per_hour is None else "--usd-per-hour"
    return f"≈ {device_hours * rate:,.3g} USD at {rate:g} an hour of one {card.name} ({source})"


def _gb(size_bytes: float) -> str:
    return f"{size_bytes / 1e9:.3g}"
