"""Every kind of row becomes one sample; exactly one format claims each; a new format is one file."""

import copy
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from row_kinds import BENCH_D, BENCH_Q, DETAILED, DOG, KINDS, LLAVA, NL_BENCH_D, NL_BENCH_Q, NL_REFER, QA, SHORT, talk

from swim import registry
from swim.data import formats
from swim.data.annotations.samples import FORMATS, parse_row, require_marked
from swim.data.formats.bench_d import QUESTION
from swim.data.masks import encodings
from swim.data.rows.read import read_rows
from swim.data.types import DataError, ReferSample


def parse(raw: Any, accepted: tuple[str, ...] | None = None) -> ReferSample:
    return parse_row(json.loads(json.dumps(raw)), file="f.json", row=0, formats=accepted)


@pytest.mark.parametrize(("kind", "raw", "marks", "objects"), KINDS)
def test_each_kind_of_row_is_read_by_its_format_alone(kind: str, raw: dict[str, Any], marks: str, objects: int) -> None:
    sample = parse(raw)
    assert (sample.kind, sample.marks, len(sample.tracks)) == (kind, marks, objects)
    assert parse(raw, (kind,)) == sample
    claims = [name for name in registry.names(FORMATS) if registry.load(FORMATS, name).matches(raw)]
    assert claims == [kind]


def test_all_encodings_of_a_track_are_one_mask() -> None:
    read = parse(DETAILED).tracks[0]
    assert list(read) == [0, 3, 9]
    assert encodings.decode(read[0]).tolist() == encodings.decode(read[3]).tolist()
    assert encodings.decode(read[0]).T.reshape(-1).nonzero()[0].tolist() == [6, 7]
    assert encodings.decode(read[9]).nonzero()[0].tolist() == [1, 1, 2, 2]


def test_placeholders_stay_and_count_over_turns() -> None:
    sample = parse(QA)
    assert sample.question_type == "Relationship Questions"
    assert sample.turns[0].human.startswith("There are 2 objects here: <object0><region>")
    assert [list(one) for one in sample.tracks] == [[0, 3, 9], [0, 3, 9], [0]]
    assert parse(SHORT).turns[0].human == "Briefly, what is <region>?"
    with pytest.raises(DataError, match=r"f\.json row 0.*placeholder <region> still.*build_nl_refer\.py") as caught:
        require_marked(sample)
    assert (caught.value.field, caught.value.key) == ("conversations", "f:00000000:a")


def test_a_description_asks_in_its_own_words_or_in_ours() -> None:
    assert parse(BENCH_D).turns[0].model_dump() == {"human": QUESTION, "gpt": "A dog that runs.", "slots": ()}
    for raw in (NL_BENCH_D, BENCH_D | {"conversations": talk("Describe the <ins>dog</ins>.")}):
        (turn,) = parse(raw).turns
        assert (turn.human, turn.gpt) == ("Describe the <ins>dog</ins>.", "A dog that runs.")
        assert not parse(raw).reference_differs


def test_the_caption_is_the_reference_whatever_the_row_answers() -> None:
    other = parse(BENCH_D | {"conversations": talk("Describe the <ins>dog</ins>.", "A  dog that runs.")})
    assert other.turns[0].model_dump() == {
        "human": "Describe the <ins>dog</ins>.",
        "gpt": "A dog that runs.",
        "slots": (),
    }
    assert other.reference_differs


def test_a_question_stands_above_its_options() -> None:
    sample = parse(BENCH_Q)
    (turn,) = sample.turns
    assert turn.human == "What is <object3><region> not wearing?\n(A) A hat\n(B) What <object3> wears"
    assert (turn.gpt, sample.question_type) == ("(B) What <object3> wears", "Basic Questions")
    assert sample.options == ("(A) A hat", "(B) What <object3> wears")
    assert sample.video == "DAVIS/JPEGImages/480p/dogs"


def replaced(noun: str, raw: Any) -> Any:
    return json.loads(json.dumps(raw).replace("<ins>dog</ins>", f"<ins>{noun}</ins>"))


@pytest.mark.parametrize("raw", [NL_REFER, NL_BENCH_D, NL_BENCH_Q])
def test_synonyms_are_rows_of_the_format_they_come_from(raw: dict[str, Any]) -> None:
    before, after = parse(raw), parse(replaced("old hound", raw))
    assert after.turns[0].human == before.turns[0].human.replace("dog", "old hound")
    assert after.model_dump(exclude={"turns"}) == before.model_dump(exclude={"turns"})


Q = BENCH_Q
BAD: list[tuple[dict[str, Any], str, str]] = [
    (DETAILED | {"annotation": None}, "annotation", "1 <region> placeholders and no masks"),
    (DETAILED | {"annotation": [DOG, DOG]}, "annotation", "1 <region> placeholders, 2 annotation entries"),
    (QA | {"annotation": [DOG, DOG]}, "annotation", "3 <region> placeholders, 2 annotation entries"),
    (DETAILED | {"conversations": talk("Of <object0>?", "A")}, "conversations[0].value", "<object0> has no <region>"),
    (
        DETAILED | {"conversations": talk("Of <object0><region>?", "No, <object1>.")},
        "conversations[1].value",
        "<object1> has no <region>",
    ),
    (
        DETAILED | {"conversations": talk("Of <region>?", "The <ins>dog</ins>.")},
        "conversations[0].value",
        "beside <ins> tags",
    ),
    (DETAILED | {"conversations": talk("Of <Region>?", "A")}, "conversations[0].value", "is no placeholder"),
    (LLAVA | {"conversations": talk("The <ins>dog</ins>?", "A")}, "annotation", "1 <ins> tags and no masks"),
    (NL_REFER | {"conversations": talk("Who?", "A")}, "annotation", "0 <ins> tags, 1 annotation entries"),
    (BENCH_D | {"caption": 7}, "caption", "missing or no text"),
    (BENCH_D | {"annotation": None}, "annotation", "1 <region> placeholders and no masks"),
    (BENCH_D | {"annotation": [DOG, DOG]}, "annotation", "1 <region> placeholders, 2 annotation entries"),
    (BENCH_D | {"conversations": talk("Who?"), "annotation": None}, "annotation", "masks of 0 objects"),
    (BENCH_D | {"conversations": talk("<region>, <region>?"), "annotation": [DOG, DOG]}, "annotation", "of 2 objects"),
    (BENCH_D | {"conversations": talk("<region>?", "A", "B?", "C")}, "conversations", "2 turns and one caption"),
    (BENCH_D | {"conversations": []}, "conversations", "not a list of human-gpt pairs"),
    (BENCH_D | {"conversations": [7]}, "conversations[0].from", "not from 'human'"),
    (Q | {"conversations": talk("Who?", "A")}, "conversations", "beside a Question"),
    (Q | {"Question": ["Who?"]}, "Question", "missing or no text"),
    (Q | {"Question": "Who? <video> And <region>?"}, "Question", "<video> inside"),
    (Q | {"type": None}, "type", "missing or no text"),
    (Q | {"type": 3}, "type", "missing or no text"),
    (Q | {"options": None}, "options", "not a list of two or more"),
    (Q | {"options": ["(A) yes"]}, "options", "not a list of two or more"),
    (Q | {"options": ["(A) yes", "no"]}, "options[1]", "no letter"),
    (Q | {"options": ["(A) yes", "(A) no"]}, "options[1]", "a second (A)"),
    (Q | {"options": ["(A) yes", 4]}, "options[1]", "missing or no text"),
    (Q | {"Answer": None}, "Answer", "missing or no text"),
    (Q | {"Answer": "(C) Both"}, "Answer", "not one of the options"),
    (Q | {"Answer": "A"}, "Answer", "not one of the options"),
    (Q | {"Question": "Who?"}, "options[1]", "<object3> has no <region>"),
    (Q | {"annotation": None}, "annotation", "1 <region> placeholders and no masks"),
    (Q | {"video": None}, "video", "missing or no text"),
    ({}, "row", "of no known format"),
    ({"conversations": None}, "row", "of no known format"),
]


@pytest.mark.parametrize(("raw", "field", "reason"), BAD)
def test_what_does_not_fit_its_format_is_refused(raw: dict[str, Any], field: str, reason: str) -> None:
    with pytest.raises(DataError) as caught:
        parse(raw)
    assert (caught.value.field, caught.value.file, caught.value.row) == (field, "f.json", 0)
    assert reason in caught.value.reason
    assert caught.value.hint


def test_other_kinds_than_a_data_set_may_consist_of_are_named() -> None:
    for kind, raw, _, _ in KINDS:
        others = tuple(name for name in registry.names(FORMATS) if name != kind)
        with pytest.raises(DataError, match=rf"field 'row': a {kind} row \(accepted are .*add {kind} to data\.formats"):
            parse(raw, others)
    with pytest.raises(ValueError, match=r"no 'bench-x'.*did you mean 'bench-"):
        parse(NL_REFER, ("bench-x",))


@pytest.mark.parametrize(
    ("raw", "closest"),
    [
        ({"video": "v", "options": [], "Answer": "(A)"}, "closest is bench-q, decided by `Question`"),
        ({"video": "v", "annotation": [], "frame_idx": 3}, "closest is bench-d, decided by `caption`"),
        ({"video": "v", "data_source": "x"}, "closest is llava-video, decided by `data_source`"),
    ],
)
def test_a_row_nobody_claims_is_told_what_decides(raw: dict[str, Any], closest: str) -> None:
    with pytest.raises(DataError, match=closest):
        parse(raw)


NEW = """
from swim.data.annotations.fields import RowContent, RowFormat, read_video
from swim.data.types import Turn

FORMAT = RowFormat(
    decides="`prompt`",
    fields=("prompt",),
    matches=lambda raw: "prompt" in raw,
    parse=lambda raw: RowContent(read_video(raw), (Turn(human=raw["prompt"], gpt="?"),)),
)
"""


@pytest.fixture
def _new_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "my_bench.py").write_text(NEW)
    monkeypatch.setattr(formats, "__path__", [*formats.__path__, str(tmp_path)])
    registry.names.cache_clear()
    yield
    registry.names.cache_clear()


@pytest.mark.usefixtures("_new_format")
def test_a_new_format_is_one_file() -> None:
    raw = {"video": "v.mp4", "prompt": "Who?"}
    assert parse(raw) == parse(raw, ("my-bench",))
    assert (parse(raw).kind, parse(raw).turns[0].human) == ("my-bench", "Who?")
    both = copy.deepcopy(BENCH_D) | raw
    with pytest.raises(DataError, match="matched by several formats: bench-d and my-bench"):
        parse(both)
    # Whoever does not accept the new format does not notice it.
    assert (
        parse(both, ("bench-d", "bench-q")) == parse(both | {"prompt": None}, ("bench-d",)) == parse(both, ("bench-d",))
    )


REAL = Path(os.environ.get("SWIMLAB_REAL_CLIPS", "nowhere"))


@pytest.mark.skipif(not REAL.is_dir(), reason="SWIMLAB_REAL_CLIPS names no folder of real clips and their annotations")
def test_all_real_rows_are_read() -> None:
    for file, kind, marks, count in (
        ("nl_refer_real.json", "nl-refer", {"ins", "none"}, 5),
        ("videorefer_real.json", "videorefer", {"region"}, 2),
    ):
        samples = [parse_row(raw, file=file, row=row) for row, raw in read_rows(REAL / file)]
        assert ({s.kind for s in samples}, {s.marks for s in samples}, len(samples)) == ({kind}, marks, count)
        assert all(sample.tracks for sample in samples if sample.marks != "none")
