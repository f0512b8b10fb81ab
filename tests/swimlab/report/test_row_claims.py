"""Claims over the rows of stored samples, with planted rows."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from store_kit import evaluated

from swim.outputs import SampleScore
from swim.recipe import NLReferFiles
from swimlab import Ablation, Above, Arm, Better, Metric, Paper
from swimlab.experiment.results import Results
from swimlab.report import ablation_page
from swimlab.report.evidence import evidence_index
from swimlab.report.markdown import render_markdown
from swimlab.report.row_claims import grid
from swimlab.report.summarise import summarise
from swimlab.report.terminal import render_terminal
from swimlab.stats.verdicts import Verdict
from swimlab.store.arrow_tables import samples_table, to_parquet
from swimlab.store.evaluation_records import TrialResult
from synthetic_results import committed

CLIPS = 40
Rows = Mapping[str, float]


def table(**changes: object) -> Ablation:
    fields = {
        "name": "rows",
        "arms": [Arm("swim"), Arm("control", {"objective.mask_weight": 0})],
        "seeds": (0, 1),
        "metrics": [Metric("attention.ap", primary=True)],
        "paper": Paper("Rows", claims=[Better("swim", "control")]),
    }
    return Ablation(**fields | changes)  # type: ignore[arg-type]


def rows_of(arm: str, seed: int) -> dict[str, float]:
    """Every clip of SWIM is better by about .1, one seed much less than the other."""
    noise = np.random.default_rng(1000 * seed + (arm == "swim")).normal(0, 0.05, CLIPS)
    gain = (0.19 if seed else 0.01) if arm == "swim" else 0.0
    return {f"clip-{number:02d}": 0.5 + gain + float(noise[number]) for number in range(CLIPS)}


def samples(values: Rows) -> bytes:
    where = {"turn": 0, "tag": 0, "noun": "dog", "metric": "attention.ap"}
    rows = [SampleScore(key=key, value=value, **where) for key, value in values.items()]
    other = [row.model_copy(update={"metric": "attention.ap_other", "value": 9.0}) for row in rows]
    return to_parquet(samples_table(rows + other))


def measured(
    ablation: Ablation,
    folder: Path,
    rows: Callable[[str, int], Rows] = rows_of,
    data: Callable[[int], str] = lambda seed: "data",
    off: float = 0.0,
    recipe: Mapping[str, object] = {},
) -> Results:
    """Results whose trials have an evaluation with these rows; the metric is their mean, plus `off`."""
    results = committed(ablation, folder, lambda arm, seed: {"train.loss": 1.0}, steps=0, nouns=())
    trials = []
    for trial in results.trials:
        record, values = trial.record, rows(trial.arm, trial.seed)
        evaluation = evaluated(
            results.store,
            record,
            evaluation_id=f"e-{trial.trial_id[:20]}",
            metrics={"attention.ap": float(np.mean(list(values.values()))) + off},
            data_fingerprint=data(trial.seed),
            files={"samples.parquet": samples(values)},
        )
        changed = record.model_copy(update={"recipe": record.recipe | dict(recipe)})
        trials.append(replace(trial, record=TrialResult.of(changed, [evaluation])))
    return replace(results, trials=tuple(trials))


def test_both_tests_are_shown_and_replicates_decide_unless_declared(tmp_path: Path) -> None:
    results = measured(table(), tmp_path)
    shown = summarise(results)
    (claim,) = shown.claims
    over = claim.over_rows
    assert over.difference.rows == over.difference.estimate.n == CLIPS
    assert over.difference.estimate.mean == pytest.approx(claim.outcome.interval.mean, abs=1e-9)
    # Two seeds that differ much decide nothing; forty clips that hardly differ do.
    assert claim.outcome.verdict is Verdict.UNDERPOWERED
    assert over.difference.estimate.low > 0
    text = render_terminal(shown, 200)
    assert "verdicts are by replicates" in text
    assert "says nothing about training again" in text
    assert "Claims over replicates and over rows" in render_markdown(shown, evidence_index(shown))
    assert 'id="over-rows"' in ablation_page.write(results, shown)["index.html"]

    by_rows = summarise(replace(results, ablation=table(verdicts="rows")))
    (judged,) = by_rows.claims
    assert judged.outcome.verdict is Verdict.REPRODUCED
    assert judged.outcome.interval == judged.over_rows.difference.estimate
    assert judged.over_rows.replicates == claim.outcome.interval
    assert evidence_index(by_rows).get("claim") is None  # no query over trials gives it
    written = ablation_page.write(results, by_rows)
    assert all("clustered by video" in written[name] for name in ("index.html", "report.tex"))


def test_clips_of_other_data_are_other_rows_whatever_their_keys(tmp_path: Path) -> None:
    results = measured(table(), tmp_path, data=lambda seed: f"world-{seed}")
    (claim,) = summarise(results).claims
    assert claim.over_rows.difference.rows == 2 * CLIPS
    assert claim.over_rows.difference.estimate.n == 2 * CLIPS


def test_rows_of_one_video_are_one_cluster(tmp_path: Path) -> None:
    files, keys = [], []
    for number in range(8):
        turn = {"from": "human", "value": f"Describe the <ins>dog</ins> {number}."}
        mask = {"0": {"segmentation": {"size": [4, 4], "counts": [4, 4, 8]}}}
        files.append(
            {
                "id": str(number),
                "video": f"{number // 4}.mp4",
                "conversations": [turn, {"from": "gpt", "value": "It runs."}],
                "annotation": [mask],
            }
        )
        keys.append(f"held:{number:08d}:{number}")
    (tmp_path / "held.json").write_text(json.dumps(files))
    data = NLReferFiles(annotations=("gone.json",), held_out_annotations=(str(tmp_path / "held.json"),), videos=".")

    def rows(arm: str, seed: int) -> Rows:
        return {key: 0.1 * number * (arm == "swim") for number, key in enumerate(keys)}

    own = {"data": data.model_dump(mode="json")}
    (claim,) = summarise(measured(table(), tmp_path / "store", rows, recipe=own)).claims
    assert (claim.over_rows.difference.rows, claim.over_rows.difference.estimate.n) == (8, 2)
    (tmp_path / "held.json").write_text(json.dumps(files[:-1]))
    (claim,) = summarise(measured(table(), tmp_path / "fewer", rows, recipe=own)).claims
    assert claim.over_rows.problem == "1 scored rows are no longer in the annotation files"
    (tmp_path / "held.json").unlink()
    results = measured(table(verdicts="rows"), tmp_path / "other", rows, recipe=own)
    (claim,) = summarise(results).claims
    assert claim.outcome.verdict is Verdict.NOT_RUN
    assert "which rows share a video cannot be read" in claim.outcome.reason
    assert "held.json" in claim.outcome.reason


def test_a_threshold_is_subtracted_and_rows_without_a_partner_are_counted(tmp_path: Path) -> None:
    def rows(arm: str, seed: int) -> Rows:
        values = rows_of(arm, seed)
        return {key: values[key] for key in list(values)[: 30 if arm == "control" else CLIPS]}

    claims = [Better("swim", "control"), Above("swim", 0.4)]
    better, above = summarise(measured(table(paper=Paper("", claims=claims)), tmp_path, rows)).claims
    assert (better.over_rows.difference.rows, better.over_rows.difference.unpaired) == (30, 10)
    assert above.over_rows.difference.estimate.mean == pytest.approx(above.outcome.interval.mean, abs=1e-9)
    assert above.over_rows.difference.estimate.low == pytest.approx(0.2, abs=0.05)


def test_a_metric_that_is_no_mean_of_its_rows_has_no_test_over_them(tmp_path: Path) -> None:
    shown = summarise(measured(table(), tmp_path, off=0.1))
    assert shown.claims[0].over_rows.problem == "attention.ap is not the mean of its stored rows"
    assert grid(shown) is None
    assert "over rows" not in render_terminal(shown)


def test_without_stored_rows_nothing_is_shown(tmp_path: Path) -> None:
    shown = summarise(committed(table(), tmp_path, lambda arm, seed: {"attention.ap": 0.5}))
    assert shown.claims[0].over_rows.problem == "no rows of attention.ap are stored of swim"
    assert grid(shown) is None


def test_only_two_tests_are_declared_and_looks_are_at_replicates() -> None:
    with pytest.raises(ValueError, match="neither 'replicates' nor 'rows'"):
        table(verdicts="videos")
    with pytest.raises(ValueError, match="looks are at replicates"):
        table(verdicts="rows", seeds=(), looks=(2, 4))


def test_claims_about_another_metric_are_tested_over_its_rows(tmp_path: Path) -> None:
    claims = [Better("swim", "control"), Better("swim", "control", metric="attention.ap_other")]
    metrics = [Metric("attention.ap", primary=True), Metric("attention.ap_other")]
    results = measured(table(metrics=metrics, paper=Paper("", claims=claims)), tmp_path)
    both = [
        replace(
            trial,
            record=TrialResult.of(
                trial.record,
                [
                    e.model_copy(update={"metrics": e.metrics | {"attention.ap_other": 9.0}})
                    for e in trial.record.evaluations
                ],
            ),
        )
        for trial in results.trials
    ]
    first, other = summarise(replace(results, trials=tuple(both))).claims
    assert first.over_rows.difference.estimate.mean == pytest.approx(0.1, abs=0.05)
    assert other.over_rows.difference.estimate.mean == 0
