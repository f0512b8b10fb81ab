"""VideoRefer-Bench-Q: the share of right letters in percent, by type of question and over all questions.

`bench_q.avg` (over questions, as in the paper, not the mean over types), `bench_q.<first word of the type>`, each with
`_low` and `_high`, the ends of a 95 % interval that knows that the questions of a video are not independent
(`swim.evaluation.clustered`). `bench_q_released.*` are read by the released script's rule, with which the paper's
figures compare; `bench_q_released.errors` answers would have ended the script. `bench_q.asked`, `.refused`, `.unclear`
and `.failed` count answers: refused and unclear ones are wrong, failed ones (a server gave none) are left out. Where
more than `most_missing` failed, `bench_q.undecided` is 1 and there is no share. `swim.evaluation.breakdown` says what
else there is, by the size of the object and by where the model looked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from pydantic import Field

from swim.data.annotations.markup import strip_tags
from swim.data.types import DataError
from swim.evaluation import breakdown
from swim.evaluation.clustered import clustered_mean
from swim.evaluation.letters import Letter, Refused, Unclear, option_texts, read_letter, released_letter
from swim.evaluation.scoring import Ask, Asked
from swim.frozen import Frozen
from swim.outputs import Evaluated, SampleScore

FAMILIES = ("bench_q.", "bench_q_released.")
JUDGED = False


class Config(Frozen):
    """`most_missing`: the share of failed answers up to which accuracies are given."""

    most_missing: float = Field(0.02, ge=0, le=1)


def score(config: Config, asked: Sequence[Asked], ask: Ask) -> Evaluated:
    """Raises DataError for a row without options, without a type, or with a true answer outside its options; ValueError
    where nothing was asked."""
    if not asked:
        raise ValueError("there are no answers to score")
    rows: list[SampleScore] = []
    videos: dict[str, list[str]] = defaultdict(list)
    counts = dict.fromkeys(("bench_q.refused", "bench_q.unclear", "bench_q_released.errors"), 0)
    answered = [item for item in asked if item.answer.finish != "failed"]
    counts["bench_q.failed"] = len(asked) - len(answered)
    undecided = not answered or counts["bench_q.failed"] > config.most_missing * len(asked)
    for item in answered:
        truth, options = _truth(item)
        choice, released = read_letter(item.answer.text, options), released_letter(item.answer.text)
        counts["bench_q.refused"] += isinstance(choice, Refused)
        counts["bench_q.unclear"] += isinstance(choice, Unclear)
        counts["bench_q_released.errors"] += released is None
        right = {"bench_q": choice == Letter(truth), "bench_q_released": (released or "").upper() == truth}
        for family, hit in right.items():
            for group in ("avg", item.sample.question_type.split()[0].lower()):
                metric = f"{family}.{group}"
                rows.append(
                    SampleScore(
                        key=item.answer.key, turn=item.answer.turn, tag=-1, noun="", metric=metric, value=100.0 * hit
                    )
                )
                videos[metric].append(item.sample.video)
    counts |= {"bench_q.asked": len(asked), "bench_q.undecided": int(undecided)}
    means = {} if undecided else _means(rows, videos)
    details = breakdown.of_answers("bench_q", "avg", rows, (item.answer for item in answered), right=100.0)
    means |= {} if undecided else details.metrics
    return Evaluated({name: float(count) for name, count in counts.items()} | means, [*rows, *details.rows], [])


def _truth(item: Asked) -> tuple[str, tuple[str, ...]]:
    """The right letter, and the options without tags."""
    sample = item.sample
    options = tuple(strip_tags(option)[0] for option in sample.options)
    try:
        letters = option_texts(options)
    except ValueError as error:
        raise _error(item, str(error), "options") from error
    truth = strip_tags(item.turn.gpt)[0].strip()
    if not letters or truth[1:2] not in letters or not truth.startswith(f"({truth[1:2]})"):
        raise _error(item, f"the answer {truth[:40]!r} is none of the options {', '.join(letters)}", "Answer")
    if not sample.question_type.strip():
        raise _error(item, "no type of question, by which accuracy is counted", "type")
    return truth[1:2], options


def _means(rows: Sequence[SampleScore], videos: dict[str, list[str]]) -> dict[str, float]:
    values: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        values[row.metric].append(row.value)
    metrics = {}
    for name, of_metric in sorted(values.items()):
        mean = clustered_mean(of_metric, videos[name])
        metrics[name] = mean.mean
        if mean.low is not None and mean.high is not None:
            metrics |= {f"{name}_low": max(0.0, mean.low), f"{name}_high": min(100.0, mean.high)}
    return metrics


def _error(item: Asked, reason: str, field: str) -> DataError:
    sample = item.sample
    hint = "score Bench-Q on rows of the format bench-q"
    return DataError(reason, field=field, hint=hint, file=sample.file, row=sample.row, key=sample.key)
