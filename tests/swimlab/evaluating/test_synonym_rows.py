"""Rows with synonyms are paired with the published ones, and nothing but tagged words may differ."""

import json
from pathlib import Path

import pytest

from swimlab.evaluating.synonym_rows import pair_keys

ROWS = [
    {"id": 4, "video": "a.mp4", "Question": "The <ins>dog</ins>?", "options": ["(A) a <ins>dog</ins>", "(B) x"]},
    {"id": 7, "video": "b.mp4", "Question": "The <ins>cat</ins>?", "options": ["(A) a cat", "(B) x"]},
]
SYNONYMS = json.loads(json.dumps(ROWS).replace(">dog<", ">hound<").replace(">cat<", ">feline<"))


def written(folder: Path, name: str, rows: list) -> str:
    (folder / name).write_text(json.dumps(rows))
    return str(folder / name)


def test_rows_are_paired_by_their_place(tmp_path):
    files = written(tmp_path, "q-synonym.json", SYNONYMS), written(tmp_path, "q.json", ROWS)
    assert pair_keys(*files) == {"q-synonym:00000000:4": "q:00000000:4", "q-synonym:00000001:7": "q:00000001:7"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([SYNONYMS[0] | {"video": "c.mp4"}, SYNONYMS[1]], "row 0 field 'video' differs"),
        ([SYNONYMS[0], SYNONYMS[1] | {"options": ["(A) a feline", "(B) x"]}], "row 1 field 'options' differs"),
        ([SYNONYMS[0], SYNONYMS[1] | {"caption": "x"}], "row 1 field 'caption' differs"),
        (SYNONYMS[:1], r"ends before row 1 of .*q\.json"),
        (SYNONYMS * 2, r"has more rows than .*q\.json"),
        (ROWS, "nothing was replaced"),
    ],
)
def test_files_that_cannot_be_compared_are_refused(tmp_path, rows, message):
    files = written(tmp_path, "q-synonym.json", rows), written(tmp_path, "q.json", ROWS)
    with pytest.raises(ValueError, match=message):
        pair_keys(*files)
