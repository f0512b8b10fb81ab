"""The page, the numbers and the summary of a check of a real checkpoint (`real_check.py`)."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from swim.data.annotations.markup import strip_tags
from swim.data.types import Clip
from swim.outputs import Answer, MetricPoint, Overlay
from swim.recipe import HubModel, Recipe
from swimlab.report import attention_maps, html
from swimlab.report.doctor_words import size
from swimlab.report.figure_data import MetricCurve
from swimlab.report.figure_style import arm_colours
from swimlab.report.grids import Grid
from swimlab.report.line_plots import learning_curves
from swimlab.report.number_format import duration, number, throughput
from swimlab.store import provenance

TITLE, QUESTION = "Check of a checkpoint", "Does training reach the attention and the answers of this model?"
BEFORE, AFTER = "before", "after"
METRICS = ("attention.ap", "attention.pointing", "attention.mass", "answer.token_accuracy")
CURVES = ("loss", "text_loss", "mask_loss", "grad_norm")


@dataclass(frozen=True)
class Look:
    """What a model does with the clips."""

    metrics: Mapping[str, float]
    overlays: Sequence[Overlay]
    answers: Sequence[Answer]


@dataclass(frozen=True)
class Report:
    """What was checked and seen. `left_out`: why rows were not used; `speed`: of `swimlab.execution.speed.Speed`, empty
    for a single step."""

    recipe: Recipe
    device: str
    clips: Sequence[Clip]
    left_out: Sequence[str]
    embedded: bool
    before: Look
    after: Look
    curve: Sequence[MetricPoint]
    train_s: float
    speed: Mapping[str, float | None]
    peak_device_bytes: int | None

    @property
    def losses(self) -> list[float]:
        """Of every step."""
        return [point.value for point in self.curve if point.name == "loss"]

    @property
    def learned(self) -> bool:
        """Whether the loss of the last third of the steps is below that of the first, in the median."""
        third = max(1, len(self.losses) // 3)
        return statistics.median(self.losses[-third:]) < statistics.median(self.losses[:third])

    @property
    def model(self) -> HubModel:
        """The model that was checked."""
        assert isinstance(self.recipe.model, HubModel)
        return self.recipe.model


def numbers(report: Report) -> dict[str, Any]:
    """Everything but the pictures, as JSON values."""
    looks = {BEFORE: report.before, AFTER: report.after}
    return {
        "recipe": report.recipe.model_dump(mode="json"),
        "machine": report.device if report.device != "cpu" else provenance.processor(),
        "versions": provenance.framework_versions(),
        "clips": [clip.key for clip in report.clips],
        "left_out": list(report.left_out),
        "metrics": {name: dict(look.metrics) for name, look in looks.items()},
        "answers": {name: [answer.model_dump(mode="json") for answer in look.answers] for name, look in looks.items()},
        "curve": [point.model_dump() for point in report.curve],
        "train_s": report.train_s,
        "speed": dict(report.speed),
        "peak_device_bytes": report.peak_device_bytes,
        "learned": report.learned,
    }


def summary(report: Report) -> str:
    """The result in a few lines."""
    before, after = report.before.metrics, report.after.metrics
    lines = [f"{name:24} {number(before.get(name))} → {number(after.get(name))}" for name in METRICS]
    first, last = report.losses[0], report.losses[-1]
    verdict = "fell" if report.learned else "did NOT fall"
    return "\n".join([f"{'loss':24} {number(first)} → {number(last)} ({verdict})", *lines])


def page(report: Report) -> str:
    """One self-contained page."""
    speed = throughput(report.speed.get("tokens_per_s"), report.speed.get("mfu"))
    facts = {"model": report.model.path, "machine": report.device, "steps": len(report.losses), "speed": speed}
    facts |= {"training": duration(report.train_s), **provenance.framework_versions()}
    if report.peak_device_bytes is not None:
        facts["peak on the GPU"] = size(report.peak_device_bytes)
    notes = [f"Scores are of the {len(report.clips)} clips that were trained on, so they say nothing about others."]
    if report.embedded:
        notes.append("The clips are the embedded ones, drawn shapes: a pretrained model has never seen such videos.")
    if report.left_out:
        notes.append(f"{len(report.left_out)} rows could not be used; the first: {report.left_out[0]}")
    arms = {BEFORE: report.before.overlays, AFTER: report.after.overlays}
    curves = learning_curves(_curves(report), arm_colours([AFTER], ""))
    return html.render(
        "real_check.html.j2",
        title=TITLE,
        question=QUESTION,
        facts=facts,
        notes=notes,
        grids=[_metrics(report), _answers(report)],
        curves=Markup(curves) if curves else "",
        strips=attention_maps.strips(arms),
        colours=arm_colours([BEFORE, AFTER], BEFORE),
    )


def _curves(report: Report) -> list[MetricCurve]:
    curves = []
    for name in CURVES:
        points = [point for point in report.curve if point.name == name]
        curves.append(MetricCurve(AFTER, 0, name, [p.step for p in points], [p.value for p in points]))
    return curves


def _metrics(report: Report) -> Grid:
    before, after = report.before.metrics, report.after.metrics
    rows = [[name, number(before.get(name)), number(after.get(name))] for name in METRICS]
    rows.append(["loss of a step", number(report.losses[0]), number(report.losses[-1])])
    return "Scores", ["metric", BEFORE, AFTER], rows


def _answers(report: Report) -> Grid:
    reference = {clip.key: strip_tags(clip.turns[0].gpt)[0] for clip in report.clips}
    rows = [
        [before.question, reference[before.key], _text(before), _text(after)]
        for before, after in zip(report.before.answers, report.after.answers, strict=True)
    ]
    return "Answers", ["question", "as annotated", BEFORE, AFTER], rows


def _text(answer: Answer) -> str:
    return answer.text + (" …" if answer.finish == "limit" else "")
