"""What lmms-eval writes about one task (`*_results.json`, `*_samples_<task>.jsonl`), as rows and their mean.

`<task>.avg` is the mean over all rows with the ends of a 95 % interval that knows that the questions of a video are
not independent (`<task>.avg_low`, `_high`); of a group of tasks also the mean of each. `<task>.reported` is the number
of lmms-eval itself, of a group the mean over its tasks, for which MVBench has none. The two differ where lmms-eval
leaves rows out: MVBench's answers that are empty. `<task>.asked` and `.empty` count answers; an empty one is wrong.

Fields that say less than their names, in lmms-eval 0.7.3: `doc_hash` is equal for all rows, and with it `task_hashes`;
`git_hash` and `lmms_eval_version` are empty when it was installed as a package. So a row is named here by its task,
its number and its prompt.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from swim.evaluation.clustered import clustered_mean
from swim.outputs import Evaluated, SampleScore

Samples = Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True)
class Task:
    """How the rows of a task are read. `metric` is the field of a row that holds its score: a number, or an object with
    the score in `score`; None for the first metric of the task's own configuration. Scores count `scale` each.
    `video` is the field of that object that names the video, None for the task's `cluster_key`; rows that name none
    count as independent."""

    metric: str | None = None
    score: str = "score"
    scale: float = 1.0
    video: str | None = None


KNOWN = {
    "mvbench": Task("mvbench_accuracy", scale=100.0),
    "videomme": Task("videomme_perception_score", scale=100.0, video="videoID"),
    "activitynetqa": Task("gpt_eval_accuracy", score="Correctness", scale=100.0, video="video_name"),
}


@dataclass(frozen=True)
class TaskScores:
    """`videos`: (key, turn) of a row → its video. `rows_fingerprint`: of prompts and targets, equal for two models that
    were asked the same."""

    evaluated: Evaluated
    videos: Mapping[tuple[str, int], str]
    rows_fingerprint: str


def read_samples(text: str) -> list[dict[str, Any]]:
    """The rows of a samples file. Raises ValueError, naming the line, for one that is no JSON object."""
    rows = []
    # Not splitlines: JSON texts may hold the other separators that it knows.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"line {number} is not JSON ({error}): the run was cut off, delete its results") from error
        if not isinstance(row, dict):
            raise ValueError(f"line {number} is no JSON object")
        rows.append(row)
    return rows


def score(name: str, results: Mapping[str, Any], samples: Samples) -> TaskScores:
    """The scores of a task, or of a group with the samples of each of its tasks.

    Raises ValueError, naming task and row, for files that do not belong together or that cannot be read.
    """
    if not samples or not any(samples.values()):
        raise ValueError(f"{name}: no row was logged: the task has no rows, or --limit 0 was given")
    how, family = KNOWN.get(name, Task()), name.replace(".", "_")
    scores: list[SampleScore] = []
    values: dict[str, list[float]] = defaultdict(list)
    videos: dict[tuple[str, int], str] = {}
    reported, empty, seen = [], 0, hashlib.sha256()
    for task in sorted(samples):
        config = _of(results, "configs", task)
        metric = how.metric or _first_metric(task, config)
        reported.append(_reported(results, task, metric))
        _check_count(results, task, samples[task])
        for row in sorted(samples[task], key=lambda row: _number(task, row)):
            number = _number(task, row)
            prompt = hashlib.sha256(str(row.get("input")).encode()).hexdigest()
            key = f"{task}/{number}/{prompt[:8]}"
            if (key, 0) in videos:
                raise ValueError(f"{task}, doc_id {number}: there are two such rows; score runs without --repeats")
            value = how.scale * _value(task, number, row, metric, how.score)
            videos[key, 0] = _video(row[metric], how.video or config.get("cluster_key")) or key
            for column in (f"{family}.avg", *([f"{family}.{_short(task, name)}"] if len(samples) > 1 else [])):
                scores.append(SampleScore(key=key, turn=0, tag=-1, noun="", metric=column, value=value))
                values[column].append(value)
            empty += not _answer(row).strip()
            seen.update(f"{task}\0{number}\0{prompt}\0{row.get('target')}\0".encode())
    mean = clustered_mean(values[f"{family}.avg"], list(videos.values()))
    metrics = {column: sum(of_column) / len(of_column) for column, of_column in values.items()}
    metrics |= {f"{family}.asked": float(len(videos)), f"{family}.empty": float(empty)}
    if mean.low is not None and mean.high is not None:
        metrics |= {f"{family}.avg_low": mean.low, f"{family}.avg_high": mean.high}
    if None not in reported:
        metrics[f"{family}.reported"] = sum(filter(None, reported)) / len(reported)
    return TaskScores(Evaluated(metrics, scores, []), videos, seen.hexdigest()[:20])


def _of(results: Mapping[str, Any], part: str, task: str) -> Mapping[str, Any]:
    content = results.get(part)
    of_task = content.get(task) if isinstance(content, dict) else None
    if not isinstance(of_task, dict):
        raise ValueError(f"{part!r} of the results says nothing of task {task!r}: they are of another run")
    return of_task


def _first_metric(task: str, config: Mapping[str, Any]) -> str:
    try:
        return str(config["metric_list"][0]["metric"])
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"{task}: its configuration has no metric_list, so no row's score is known") from error


def _reported(results: Mapping[str, Any], task: str, metric: str) -> float | None:
    """The task's own number, None where it is none ("N/A")."""
    of_task = _of(results, "results", task)
    numbers = [value for name, value in of_task.items() if name.split(",")[0] == metric]
    if len(numbers) != 1:
        raise ValueError(f"{task}: the results have {len(numbers)} values of {metric!r}, one was expected")
    return float(numbers[0]) if isinstance(numbers[0], int | float) else None


def _check_count(results: Mapping[str, Any], task: str, rows: Sequence[Mapping[str, Any]]) -> None:
    counted = _of(results, "n-samples", task).get("effective")
    if counted != len(rows):
        raise ValueError(
            f"{task}: {len(rows)} rows were logged, and lmms-eval counted {counted}: its output was cut off"
        )


def _number(task: str, row: Mapping[str, Any]) -> int:
    number = row.get("doc_id")
    if not isinstance(number, int):
        raise ValueError(f"{task}: a row has doc_id {number!r}, a number was expected")
    return number


def _value(task: str, number: int, row: Mapping[str, Any], metric: str, field: str) -> float:
    if metric not in row:
        raise ValueError(f"{task}, doc_id {number}: no field {metric!r}; it has {', '.join(sorted(row))}")
    content = row[metric]
    value = content.get(field) if isinstance(content, dict) else content
    if isinstance(value, str) and value.lower() in ("yes", "no"):
        return float(value.lower() == "yes")
    if isinstance(value, bool | int | float) and math.isfinite(value):
        return float(value)
    raise ValueError(f"{task}, doc_id {number}: {metric!r} holds {str(content)[:80]}, no number in {field!r}")


def _video(content: Any, field: str | None) -> str | None:
    value = content.get(field) if isinstance(content, dict) and field else None
    return None if value is None else str(value)


def _answer(row: Mapping[str, Any]) -> str:
    answer = row.get("filtered_resps", "")
    return " ".join(map(str, answer)) if isinstance(answer, list) else str(answer)


def _short(task: str, group: str) -> str:
    """`action_count` of `mvbench_action_count`."""
    return task.removeprefix(f"{group}_").replace(".", "_")
