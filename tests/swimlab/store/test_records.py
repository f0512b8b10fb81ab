import json
from pathlib import Path

import pyarrow as pa
import pytest
from pydantic import ValidationError

from swim.outputs import MetricPoint, Overlay, SampleScore
from swim.recipe import Frozen
from swimlab.store import arrow_tables, evaluation_records, records, sealed_json

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
        (arrow_tables.metrics_table, arrow_tables.metrics_from_table, POINTS),
        (arrow_tables.samples_table, arrow_tables.samples_from_table, SCORES),
        (arrow_tables.overlays_table, arrow_tables.overlays_from_table, OVERLAYS),
    ],
)
def test_rows_survive_parquet_and_equal_rows_give_equal_bytes(to_table, from_table, rows):
    data = arrow_tables.to_parquet(to_table(rows))
    assert from_table(arrow_tables.from_parquet(data)) == rows
    assert arrow_tables.to_parquet(to_table(list(rows))) == data
    empty = to_table([])
    assert empty.num_rows == 0
    assert empty.schema == to_table(rows).schema


def test_schema_comes_from_the_model_and_refuses_what_it_cannot_hold():
    assert arrow_tables.arrow_schema(MetricPoint).field("step").type == pa.int64()
    assert arrow_tables.arrow_schema(Overlay).field("annotated").type == pa.list_(pa.bool_())

    class Odd(Frozen):
        things: dict[str, int]

    with pytest.raises(TypeError, match=r"Odd\.things"):
        arrow_tables.arrow_schema(Odd)


@pytest.mark.fault(
    injection="a metric is nan or inf",
    symptom="the table's mean is nan, or the value counts as 0",
    expected="error names the metric",
)
def test_a_record_refuses_a_metric_that_is_not_finite(trial_record):
    assert records.TrialRecord.model_validate_json(trial_record().model_dump_json()) == trial_record()
    with pytest.raises(ValidationError, match=r"train\.loss"):
        trial_record(metrics={"train.loss": float("nan")})


GOLDEN = Path(__file__).parent / "golden"
MODELS = (
    records.TrialRecord,
    records.FileEntry,
    records.Cost,
    records.Provenance,
    evaluation_records.EvaluationRecord,
    evaluation_records.TrialTarget,
)
TABLES = {
    "metrics": arrow_tables.metrics_table([]),
    "samples": arrow_tables.samples_table([]),
    "overlays": arrow_tables.overlays_table([]),
    "film": arrow_tables.film_table([]),
}


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("record_v1", records.read_record),
        ("record_v2", records.read_record),
        ("evaluation_v1", evaluation_records.read_evaluation),
    ],
)
def test_records_of_every_version_are_still_read(name, read):
    """The files are frozen: they lie in other people's stores. Fields that came later have their defaults."""
    data = (GOLDEN / f"{name}.json").read_bytes()
    record = read(data)

    def covers(found, golden):
        return all(
            covers(found[key], value) if isinstance(value, dict) else found[key] == value
            for key, value in golden.items()
            if key not in ("schema_version", sealed_json.DIGEST)
        )

    assert covers(json.loads(record.model_dump_json()), json.loads(data))
    assert record.schema_version == type(record).model_fields["schema_version"].default


def test_fields_that_version_1_lacks_have_their_defaults():
    record = records.read_record((GOLDEN / "record_v1.json").read_bytes())
    assert (record.cost.data_wait_s, record.cost.resumed_step, record.start_weights) == (0.0, 0, None)


def test_what_is_written_is_declared():
    """Fails when a field or column is added, renamed or retyped. With a default it may be added: write it here too.
    Anything else needs a new SCHEMA_VERSION, an entry in UPGRADES and a new file beside record_v2.json."""
    required = {m.__name__: {n: f.is_required() for n, f in m.model_fields.items()} for m in MODELS}
    columns = {name: {field.name: str(field.type) for field in table.schema} for name, table in TABLES.items()}
    assert {"records": required, "tables": columns} == json.loads((GOLDEN / "schema_v2.json").read_text())


@pytest.mark.fault(
    injection="a record written by a newer swimlab",
    symptom="fields that this version does not know are dropped",
    expected="error names both versions",
)
def test_an_older_version_is_brought_up_and_a_newer_one_refused(monkeypatch):
    data = (GOLDEN / "record_v1.json").read_bytes()
    monkeypatch.setattr(records, "SCHEMA_VERSION", 3)
    monkeypatch.setitem(records.UPGRADES, 1, lambda tree: tree | {"nonce": tree["nonce"] + "+1"})
    monkeypatch.setitem(records.UPGRADES, 2, lambda tree: tree | {"nonce": tree["nonce"] + "+2"})
    read = records.read_record(data)
    assert (read.schema_version, read.nonce) == (3, "f00d+1+2")
    for version in (0, 4, "1", None):
        tree = json.loads(data) | {"schema_version": version}
        with pytest.raises(ValueError, match=f"schema_version {version}, this swimlab reads 3; update swimlab"):
            records.read_record(json.dumps(tree).encode())


@pytest.mark.parametrize("data", [b"", b"[]", b"no json", b'{"schema_version": 1}'])
def test_what_is_no_record_is_refused(data):
    with pytest.raises(ValueError, match=r"schema_version None|is not a trial record|is not JSON"):
        records.read_record(data)
