"""Rejected rows: stored forms stay readable, texts are valid, reasons are grouped in one way."""

import json

import pyarrow as pa

from swim.data.types import DataError
from swimlab.data.decode_part import DecodeResult
from swimlab.data.doctor.row_checks import BROKEN_SCHEMA
from swimlab.data.prepared_clips import QUARANTINE_SCHEMA
from swimlab.data.rejected_rows import BrokenRow, QuarantinedRow, Reject

ERROR = DataError("mask 3 of 'cat' has -1.5 pixels", field="masks[2]", hint="draw it", file="a.json", row=4, key="k")


def test_a_receipt_of_an_earlier_version_is_read() -> None:
    entry = {
        "split": "train",
        "row": 4,
        "field": "video",
        "reason": "no such file",
        "hint": "h",
        "file": "a",
        "key": "k",
    }
    receipt = {"split": "train", "number": 0, "usable": [["k2", 5]], "left_out": [entry], "table": None}
    (row,) = DecodeResult.model_validate_json(json.dumps(receipt)).left_out
    assert row == QuarantinedRow(
        split="train", file="a", row=4, key="k", field="video", reason="no such file", hint="h"
    )


def test_the_columns_and_keys_of_stored_rows() -> None:
    quarantined, broken = QuarantinedRow.of(ERROR, split="train"), BrokenRow.of(ERROR, kind="nl-refer")
    for row, schema in ((quarantined, QUARANTINE_SCHEMA), (broken, BROKEN_SCHEMA)):
        assert pa.Table.from_pylist([row.model_dump()], schema=schema).to_pylist() == [row.model_dump()]
        assert set(row.model_dump()) == set(schema.names)
    assert list(Reject.of(ERROR).model_dump()) == ["file", "row", "key", "field", "reason", "hint", "output"]


def test_reasons_that_differ_in_particulars_are_one_group() -> None:
    assert QuarantinedRow.of(ERROR, split="train").group == "masks[N]: mask N of '…' has N pixels"
    assert Reject.of(ERROR, output="synonym").summary == "synonym: mask N of '…' has N pixels"


def test_texts_are_cut_and_valid_utf8() -> None:
    row = BrokenRow.of(ERROR, key="\ud800" + "x" * 50, max_chars=10, kind="k")
    assert (row.key, row.hint) == ("\\ud800" + "x" * 9 + "…", "draw it")
