"""What `plan` says about the benchmarks of a table: what is missing, what a run would generate and pay, and what is
assumed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from swim.recipe import Recipe
from swimlab.cli import forecast_view
from swimlab.evaluating import benchmark_forecast
from swimlab.evaluating.benchmark_forecast import QUESTION_TOKENS, BenchmarkForecast
from swimlab.experiment import cards, generation_forecast
from swimlab.experiment.generation_forecast import ANSWER_TOKENS, LAYER_TOKEN_S
from swimlab.experiment.planned_benchmarks import PlannedBenchmark
from swimlab.experiment.run_settings import Settings
from swimlab.llm.judge import TEXT_TOKENS
from swimlab.report.number_format import duration
from swimlab.store.records import TrialRecord
from swimlab.store.sweep_store import SweepStore


def lines(
    benchmarks: Sequence[PlannedBenchmark],
    recipe: Recipe,
    trial_ids: Sequence[str],
    records: Mapping[str, TrialRecord],
    store: SweepStore,
    settings: Settings,
) -> Iterator[str]:
    """Of a table's trials, each once; `records` are of those that are trained."""
    for item in benchmarks:
        of = benchmark_forecast.forecast(item, recipe, trial_ids, records, store, settings)
        todo = f"{of.answers:,} answers of {of.trials} trials to generate"
        yield f"{'benchmark':10} {item.suite.scorer}: {_rows(of)}; {todo}"
        for text in (*_time(of, recipe, settings), *_judge(of, settings), *_missing(of)):
            yield f"{'':10} {text}"


def _rows(of: BenchmarkForecast) -> str:
    how = f"by prompts {of.planned.suite.prompts!r}, at most {of.planned.suite.max_new_tokens} tokens each"
    return f"{of.rows:,} rows{' (as published: assumed)' if of.assumed else ''}, {how}"


def _time(of: BenchmarkForecast, recipe: Recipe, settings: Settings) -> Iterator[str]:
    if not of.answers:
        return
    card, tokens = cards.named(settings.card), ANSWER_TOKENS[of.planned.suite.scorer]
    each_s = generation_forecast.answer_s(recipe, card, tokens, settings.micro_batch or 1)
    if each_s is None:
        yield "time unknown: this is no model whose speed on a GPU is known from here"
        return
    total_s = each_s * of.answers
    yield (
        f"≈ {duration(total_s)} on {max(1, settings.workers)} × {card.name}, {total_s / 3600:.3g} GPU-hours; assumed: "
        f"{tokens} tokens an answer, {LAYER_TOKEN_S * 1e3:g} ms a token and layer (guesses), "
        f"{settings.micro_batch or 1} at a time (--micro-batch)"
    )
    yield forecast_view.cost(total_s / 3600, card, settings.usd_per_hour)


def _judge(of: BenchmarkForecast, settings: Settings) -> Iterator[str]:
    price = of.judge
    if price is None:
        return
    tokens = f"{price.prompt_tokens / 1e6:.3g} M tokens to it and {price.completion_tokens / 1e6:.3g} M back"
    yield f"judge {of.planned.judge or '(not named)'}: {price.requests:,} requests ({price.cached:,} stored), {tokens}"
    if settings.price_in or settings.price_out:
        prices = f"{settings.price_in:g} and {settings.price_out:g} a million tokens"
        yield f"≈ {price.cost:,.4g} at {prices} (--price-in, --price-out)"
    else:
        yield "its cost: give the prices of a million tokens, --price-in and --price-out"
    basis = f"{QUESTION_TOKENS} tokens a question" if of.assumed else "4 characters a token"
    yield f"assumed: {basis}, {TEXT_TOKENS} tokens a reply; replies that have to be asked for again cost more"


def _missing(of: BenchmarkForecast) -> Iterator[str]:
    yield from (f"missing: {text}" for text in of.planned.missing)
    if of.problem:
        yield f"missing: {of.problem}"
