"""Scores stored answers: one evaluation per scorer, configuration and judge. Nothing is generated again.

What a trial answered is committed as any evaluation of it (`evaluations/<id>.json`), and shows in its tables. Of a
served model, which is no trial, the same numbers are in `generations/<generation_id>/evaluations/<id>.json`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import FiniteFloat

from swim import registry
from swim.evaluation.scoring import Ask, Asked, Question, Reply
from swim.outputs import Evaluated, SampleScore
from swim.recipe import Frozen
from swimlab.data.prepared_clips import load_prepared
from swimlab.evaluating.annotated import annotated
from swimlab.evaluating.generation import ServedModel
from swimlab.evaluating.parts import StoredGeneration, folder
from swimlab.execution.exactly_once import run_once
from swimlab.execution.numerics import joined
from swimlab.experiment.arms import judged_name
from swimlab.experiment.benchmark_suites import SCORERS
from swimlab.identity.canonical import canonical_json, plain_fields
from swimlab.identity.naming import digest
from swimlab.identity.source_archive import archive
from swimlab.identity.source_closure import Sources, fingerprint
from swimlab.llm.client import EndpointConfig
from swimlab.llm.judge import Judge
from swimlab.store import arrow_tables, provenance
from swimlab.store.attempts import Attempt, entry_of, put_once
from swimlab.store.errors import StoreError
from swimlab.store.evaluation_records import EvaluationRecord
from swimlab.store.paths import code_path
from swimlab.store.records import FileEntry, Provenance
from swimlab.store.sealed_json import SealedModel
from swimlab.store.sweep_store import SweepStore


class ServedEvaluation(SealedModel):
    """The scores of a served model's answers; fields as in `EvaluationRecord`."""

    evaluation_id: str
    suite: str
    config: dict[str, Any]
    target: ServedModel
    code_fingerprint: str
    data_fingerprint: str
    metrics: dict[str, FiniteFloat]
    files: dict[str, FileEntry]
    eval_s: FiniteFloat
    provenance: Provenance


@dataclass(frozen=True)
class Scoring:
    """How answers are scored, with the name of it. `suite` names the scorer and the judge, and so do the metrics:
    scores of two judges do not mix. `config` are plain values."""

    evaluation_id: str
    suite: str
    config: dict[str, Any]
    suite_fingerprint: str
    code_fingerprint: str
    judge: str

    @classmethod
    def of(cls, generation_id: str, scorer: str, config: Frozen, judge: EndpointConfig | None) -> Scoring:
        """Raises ValueError for a scorer that does not exist, or that needs a judge and has none, or the reverse."""
        module = registry.module(SCORERS, scorer)
        if module.JUDGED and judge is None:
            raise ValueError(f"scorer {scorer!r} asks a judge: say which")
        if judge is not None and not module.JUDGED:
            raise ValueError(f"scorer {scorer!r} asks no judge: leave {judge.model!r} out")
        code = fingerprint(Sources().module_hashes(_roots(scorer)))
        fields = {"scorer": plain_fields(config), "judge": _deciding(judge) if judge else None}
        suite = f"{scorer} by {judge.model}" if judge else scorer
        measure = digest(canonical_json({"suite": scorer, "config": fields, "code": code}))
        return cls(
            evaluation_id=digest(canonical_json({"generation": generation_id, "suite": measure})),
            suite=suite,
            config=fields | {"generation": generation_id},
            suite_fingerprint=measure,
            code_fingerprint=code,
            judge=judge.model if judge else "",
        )


def score(
    stored: StoredGeneration,
    scorer: str,
    config: Frozen | None = None,
    *,
    judge: EndpointConfig | None = None,
    ask: Ask | None = None,
    items: Sequence[Asked] | None = None,
) -> EvaluationRecord | ServedEvaluation:
    """The evaluation of a generation's answers: the stored one, else made now. Its metric `left_out`, below the
    scorer's first family, counts the rows that could not be used.

    Args:
        scorer: an entry of `swim.evaluation.scorers`, and its `config` (by default, its defaults).
        judge: the language model that the scorer asks, which names the evaluation; `ask` asks it.
        items: what `asked(stored)` returns, where it was called already.

    Raises:
        ValueError: for a scorer that does not exist, or a judge that is missing or not wanted.
        StoreError: when answers are missing or damaged, or annotations changed since they were given.
        EndpointError: when the judge cannot answer any more.
    """
    generation, store = stored.plan.generation, stored.store
    config = config if config is not None else registry.module(SCORERS, scorer).Config()
    if (judge is None) != (ask is None):
        raise ValueError("a judge is named by its EndpointConfig and asked by `ask`: give both, or neither")
    scoring = Scoring.of(generation.generation_id, scorer, config, judge)

    def measured() -> tuple[Evaluated, dict[str, Any]]:
        started_at, began_s = provenance.utc_now(), time.monotonic()
        result: Evaluated = registry.load(SCORERS, scorer)(
            config, asked(stored) if items is None else items, ask or _nobody
        )
        metrics = result.metrics | {f"{registry.module(SCORERS, scorer).FAMILIES[0]}left_out": left_out(stored)}
        sources = Sources().closure(_roots(scorer)).values()
        store.put_create_only(code_path(scoring.code_fingerprint), archive(sources))
        numerics = joined([receipt.numerics for receipt in stored.receipts()])
        if isinstance(ask, Judge) and ask.models:
            # An alias that moved to another model is another judge: trials that it graded before do not compare.
            numerics["judge"] = ", ".join(sorted(ask.models))
        named = {"evaluation_id": scoring.evaluation_id, "suite": scoring.suite, "config": scoring.config}
        return result, named | {
            "code_fingerprint": scoring.code_fingerprint,
            "data_fingerprint": generation.data_fingerprint,
            "metrics": {judged_name(name, scoring.judge): value for name, value in metrics.items()},
            "eval_s": time.monotonic() - began_s,
            "provenance": provenance.gather(numerics=numerics, started_at=started_at, finished_at=provenance.utc_now()),
        }

    if isinstance(generation.answerer, ServedModel):
        return _of_served(stored, scoring, generation.answerer, measured)
    target = generation.answerer

    def work(attempt: Attempt, _: Any) -> EvaluationRecord:
        result, fields = measured()
        attempt.put("samples.parquet", _samples(result, scoring.judge))
        return EvaluationRecord(
            **fields,
            target=target,
            suite_fingerprint=scoring.suite_fingerprint,
            folder=attempt.folder,
            files=dict(attempt.files),
            attempt=attempt.number,
            nonce=attempt.nonce,
        )

    return run_once(
        work,
        waiting=lambda: time.sleep(1.0),
        claim=lambda: store.claim(scoring.evaluation_id, target),
        committed=lambda: store.read_evaluations([scoring.evaluation_id]).get(scoring.evaluation_id),
        commit=store.commit_evaluation,
    )


def rows_of(store: SweepStore, evaluation: EvaluationRecord | ServedEvaluation) -> list[SampleScore]:
    """The scores of each answer. Raises StoreError where their file is missing or damaged."""
    if isinstance(evaluation, EvaluationRecord):
        data = store.evaluation_file(evaluation, "samples.parquet")
    else:
        data = _served_rows(store, evaluation)
    return arrow_tables.samples_from_table(arrow_tables.from_parquet(data))


def of_served(store: SweepStore, generation_id: str, evaluation_id: str) -> ServedEvaluation | None:
    """An evaluation of a served model, None where there is none. Raises StoreError for one that is damaged."""
    path = _served_path(generation_id, evaluation_id)
    try:
        return ServedEvaluation.from_json(store.read(path))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise StoreError(f"{store.uri}/{path} is damaged ({error}): delete it to score again") from error


def left_out(stored: StoredGeneration) -> float:
    """How many rows of the annotation files could not be used, and were not asked about. Raises StoreError."""
    prepared = load_prepared(stored.store, stored.plan.generation.clips_fingerprint)
    if prepared is None:
        raise StoreError(f"clips/{stored.plan.generation.clips_fingerprint} was deleted: run the same command again")
    return float(prepared.quarantine.rows)


def asked(stored: StoredGeneration) -> list[Asked]:
    """The answers of a generation beside the rows that they are about. Raises StoreError when a row is gone."""
    answers = stored.answers()
    samples = annotated(stored.plan.generation.data, {answer.key for answer in answers})
    if missing := [answer.key for answer in answers if answer.key not in samples]:
        raise StoreError(
            f"{len(missing)} answers are about rows that the annotation files no longer have ({missing[0]} first): "
            "restore the files, or name the generation anew"
        )
    return [Asked(answer, samples[answer.key]) for answer in answers]


def _served_path(generation_id: str, evaluation_id: str) -> str:
    return f"{folder(generation_id)}/evaluations/{evaluation_id}.json"


def _nobody(questions: Sequence[Question]) -> list[Reply]:
    raise RuntimeError(f"{len(questions)} questions for a judge, from a scorer that says it asks none (JUDGED)")


def _of_served(
    stored: StoredGeneration,
    scoring: Scoring,
    target: ServedModel,
    measured: Callable[[], tuple[Evaluated, Mapping[str, Any]]],
) -> ServedEvaluation:
    store, name, generation_id = stored.store, scoring.evaluation_id, stored.plan.generation.generation_id
    if (earlier := of_served(store, generation_id, name)) is not None:
        return earlier
    result, fields = measured()
    samples = f"{name}-samples.parquet"
    entry = put_once(store.backend, f"{stored.folder}/evaluations/{samples}", _samples(result, scoring.judge))
    record = ServedEvaluation(**fields, target=target, files={samples: entry})
    store.put_create_only(_served_path(generation_id, name), record.to_json())
    return of_served(store, generation_id, name) or record


def _served_rows(store: SweepStore, evaluation: ServedEvaluation) -> bytes:
    ((name, entry),) = evaluation.files.items()
    generation_id = evaluation.config["generation"]
    path = f"{folder(generation_id)}/evaluations/{name}"
    try:
        data = store.read(path)
    except FileNotFoundError:
        data = b""
    if entry_of(data) != entry:
        raise StoreError(
            f"{store.uri}/{path} is missing or not what was written: delete "
            f"{_served_path(generation_id, evaluation.evaluation_id)} to score again"
        )
    return data


def _samples(result: Evaluated, judge: str) -> bytes:
    rows = [row.model_copy(update={"metric": judged_name(row.metric, judge)}) for row in result.scores]
    return arrow_tables.to_parquet(arrow_tables.samples_table(rows))


def _deciding(judge: EndpointConfig) -> dict[str, Any]:
    """What of a judge decides its answers: not its address, prices or patience."""
    return {"model": judge.model, "params": dict(judge.params), "structured": judge.structured}


def _roots(scorer: str) -> tuple[str, ...]:
    return ("swim.evaluation.scoring", registry.module_name(SCORERS, scorer))
