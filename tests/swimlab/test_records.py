import pyarrow as pa
import pytest
from pydantic import ValidationError

from swim.evaluation.types import MetricPoint, Overlay, SampleScore
from swim.recipe import Frozen
from swimlab import records

POINTS = [MetricPoint(step=i, name="train.loss", value=1 / (i + 1)) for i in range(3)]
SCORES = [SampleScore(key="k", turn=0, tag=-1, noun="", metric="answer.accuracy", value=1.0)]
OVERLAYS = [
    Overlay(
        key="k",
        tag=0,
        noun="ball",
        question="Where is it?",
        grid=(1, 2, 2),
        frame_size=(2, 2),
        frames=bytes(range(12)),
        masks=b"\0\1\1\0",
        map=b"\0" * 16,
        annotated=(True, False),
    )
]


@pytest.mark.parametrize(
    ("to_table", "from_table", "rows"),
    [
        (records.metrics_table, records.metrics_from_table, POINTS),
        (records.samples_table, records.samples_from_table, SCORES),
        (records.overlays_table, records.overlays_from_table, OVERLAYS),
    ],
)
def test_rows_survive_parquet_and_equal_rows_give_equal_bytes(to_table, from_table, rows):
    data = records.to_parquet(to_table(rows))
    assert from_table(records.from_parquet(data)) == rows
    assert records.to_parquet(to_table(list(rows))) == data
    empty = to_table([])
    assert empty.num_rows == 0
    assert empty.schema == to_table(rows).schema


def test_schema_comes_from_the_model_and_refuses_what_it_cannot_hold():
    assert records.arrow_schema(MetricPoint).field("step").type == pa.int64()
    assert records.arrow_schema(Overlay).field("annotated").type == pa.list_(pa.bool_())

    class Odd(Frozen):
        things: dict[str, int]

    with pytest.raises(TypeError, match=r"Odd\.things"):
        records.arrow_schema(Odd)


def test_a_record_refuses_a_metric_that_is_not_finite(trial_record):
    assert records.TrialRecord.model_validate_json(trial_record().model_dump_json()) == trial_record()
    with pytest.raises(ValidationError, match=r"train\.loss"):
        trial_record(metrics={"train.loss": float("nan")})
