"""`swimlab answers`: all answers of an evaluation on one page, hardest first."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import CliPositionalArg
from rich.console import Console

from swim.evaluation.breakdown import of_a_class
from swimlab.base.screen import say
from swimlab.cli.store_command import StoreCommand
from swimlab.report.answers_page import ShownAnswer, render_answers
from swimlab.report.number_format import number
from swimlab.store import arrow_tables, query
from swimlab.store.evaluation_records import EvaluationRecord
from swimlab.store.sweep_store import SweepStore

ANSWERS, SAMPLES = "answers.parquet", "samples.parquet"
MOST = 8


class Answers(StoreCommand):
    """Writes a page of what a model answered, beside the annotated answers, sorted by score, with filters."""

    of: CliPositionalArg[str] = Field(description="the id of a trial or of an evaluation, or the beginning of it")
    out: Path = Field(Path("answers.html"), description="the page, which replaces an earlier one")
    by: str | None = Field(None, description="the score to sort by; the page can sort by each")

    def run(self, console: Console) -> int:
        """See `StoreCommand`."""
        store = query.open_store(self.store)
        evaluation = self._resolved(store)
        answers = _answers(store, evaluation)
        table = arrow_tables.from_parquet(store.evaluation_file(evaluation, SAMPLES))
        facts = {
            "trial": evaluation.target.trial_id,
            "evaluation": evaluation.evaluation_id,
            **{name: number(value) for name, value in sorted(evaluation.metrics.items()) if not of_a_class(name)},
        }
        title = f"{evaluation.suite}: {len(answers)} answers"
        page = render_answers(title, facts, answers, arrow_tables.samples_from_table(table), self.by)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self.out.write_text(page, encoding="utf-8")
        say(console, f"{len(answers)} answers in {self.out}")
        return 0

    def _resolved(self, store: SweepStore) -> EvaluationRecord:
        """The evaluation of that id, else the only one of that trial which asked the model."""
        evaluations = store.evaluations()
        if self.of in evaluations:
            return evaluations[self.of]
        chosen = [e for name, e in evaluations.items() if name.startswith(self.of)]
        if not chosen:
            chosen = [e for e in evaluations.values() if e.target.trial_id.startswith(self.of) and _asked(e)]
        if not chosen:
            raise ValueError(
                f"no evaluation in {store.uri}, and no trial that was asked, begins with {self.of!r}; `swimlab ls` "
                "lists trials, `swimlab show` the evaluations of one"
            )
        if len(chosen) > 1:
            named = ", ".join(f"{e.evaluation_id[:12]} ({e.suite} of {e.target.trial_id[:8]})" for e in chosen[:MOST])
            raise ValueError(f"{self.of!r} means {len(chosen)} evaluations: {named}; give more letters of one")
        return chosen[0]


def _asked(evaluation: EvaluationRecord) -> bool:
    return "generation" in evaluation.config or ANSWERS in evaluation.files


def _answers(store: SweepStore, evaluation: EvaluationRecord) -> list[ShownAnswer]:
    # What runs trials stands behind these, seconds of CPU: a mistake in the id is answered before.
    from swimlab.evaluating.parts import StoredGeneration
    from swimlab.evaluating.scores import asked

    if generation := evaluation.config.get("generation"):
        return [ShownAnswer.of(item) for item in asked(StoredGeneration.load(store, generation))]
    if ANSWERS in evaluation.files:
        table = arrow_tables.from_parquet(store.evaluation_file(evaluation, ANSWERS))
        return [ShownAnswer(said) for said in arrow_tables.answers_from_table(table)]
    raise ValueError(
        f"evaluation {evaluation.evaluation_id} ({evaluation.suite}) asked the model nothing: it has no answers"
    )
