"""Texts that look the same are the same: line ends, composed characters, and the spellings of the video's token."""

import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swim.data.annotations.samples import parse_row
from swim.data.annotations.texts import uniform, video_token, without_video
from swim.data.types import DataError, ReferSample

SPELLINGS = ["<video>", "<Video>", "<VIDEO>", "< video >", "<video/>", "<image>", "<|video|>", "<|video_pad|>"]
QWEN = "<|vision_start|><|video_pad|><|vision_end|>"
BLANKS = ["", "\n", "\r\n", " \n", "\n\n", "\t", " ", "\r", "\u00a0\n", "\ufeff"]
PIECES = st.lists(
    st.sampled_from(
        ["e", "\u0301", "é", "\r", "\n", "\r\n", " ", "<ins>", "</ins>", "한", "\u1112\u1161", ">", "\u0338", "Å"]
    )
)


def parse(*texts: str, slots: Any = None) -> ReferSample:
    talk = [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(texts)]
    if slots:
        talk[1]["slots"] = slots
    return parse_row({"video": "v", "conversations": talk}, file="f.json", row=0)


@pytest.mark.parametrize("token", [*SPELLINGS, QWEN])
@pytest.mark.parametrize("blanks", BLANKS)
def test_a_video_is_named_in_any_spelling(token: str, blanks: str) -> None:
    for text in (f"{blanks}{token}{blanks}Why?", f"Why?{blanks}{token}{blanks}", f"{token}{blanks}Why?"):
        assert parse(text, "So.").turns[0].human == "Why?"


@pytest.mark.parametrize(
    "token", [*SPELLINGS, QWEN, "<video1>", "<image 2>", "</video>", "<|vision_start|>", "<video_token>"]
)
def test_a_video_named_elsewhere_is_refused(token: str) -> None:
    places = [
        ((f"What {token} is?", "So."), 0),
        ((f"{token}\n{token}\nWhy?", "So."), 0),
        (("Why?", f"{token}\nSo."), 1),
        (("Why?", "So.", f"{token}\nMore?", "Yes."), 2),
    ]
    for texts, turn in places:
        with pytest.raises(DataError, match="named once as <video>, at the start or the end of the first") as caught:
            parse(*texts)
        assert caught.value.field == f"conversations[{turn}].value"
        assert caught.value.reason.endswith("inside the text")


@pytest.mark.parametrize(
    "text", ["a < b and video > c", "<b>video</b>?", "the <ins>video</ins>?", "videos: <3", "[image]"]
)
def test_other_words_stay(text: str) -> None:
    assert video_token(text) == ""
    assert without_video(text) == text


def test_line_ends_of_windows_are_those_of_others() -> None:
    windows = parse("<video>\r\nWhy?\r\nHow?\r\n", "So.\r\n\r\nThus.")
    assert windows == parse("<video>\nWhy?\nHow?\n", "So.\n\nThus.")
    assert windows.turns[0].human == "Why?\nHow?\n"


@given(PIECES.map("".join))
@settings(max_examples=200)
def test_composed_and_decomposed_texts_are_one(text: str) -> None:
    assert uniform(uniform(text)) == uniform(text)
    assert uniform(unicodedata.normalize("NFD", text)) == uniform(text)
    assert unicodedata.normalize("NFC", uniform(text)) == unicodedata.normalize(
        "NFC", text.replace("\r\n", "\n").replace("\r", "\n")
    )
    assert uniform(text).count("<ins>") == text.count("<ins>")


def test_nouns_are_the_same_however_their_accents_are_written() -> None:
    apart = unicodedata.normalize("NFD", "Où est le <ins>café</ins>?")
    sample = parse_row(
        {
            "video": unicodedata.normalize("NFD", "é.mp4"),
            "conversations": [{"from": "human", "value": apart}, {"from": "gpt", "value": "Là."}],
            "annotation": [{"0": {"segmentation": {"size": [1, 2], "counts": [1, 1]}}}],
        },
        file="f.json",
        row=0,
    )
    assert sample.turns[0].human == "Où est le <ins>café</ins>?"
    assert sample.video == unicodedata.normalize("NFD", "é.mp4")  # a path is what its file is called


@pytest.mark.parametrize(
    ("answer", "word"),
    [("Un cafe\u0301 noir.", "noir"), ("Line\r\nnoir.", "noir"), ("\ufeff e\u0301 <ins>e\u0301</ins> x", "x")],
)
def test_slots_move_with_their_words(answer: str, word: str) -> None:
    plain = answer.replace("<ins>", "").replace("</ins>", "")
    slot = {"name": "s", "start": plain.index(word), "end": plain.index(word) + len(word)}
    raw: dict[str, Any] = {
        "index": "qa",
        "video": "v",
        "conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": answer, "slots": [slot]}],
    }
    (turn,) = parse_row(raw, file="f.json", row=0).turns
    assert turn.word_at(turn.slots[0]) == word


def test_a_slot_inside_a_letter_is_refused() -> None:
    with pytest.raises(DataError, match="character 1 is inside a letter or a line end") as caught:
        parse("?", "e\u0301", slots=[{"name": "s", "start": 0, "end": 1}])
    assert caught.value.field == "conversations[1].slots[0]"


def test_a_tower_of_accents_is_refused_before_it_is_composed() -> None:
    for marks in (30, 2**20 - 1):
        text = "a" + "\u0300\u0315\u0316" * (marks // 3)
        if marks == 30:
            assert len(parse("?", text).turns[0].gpt) == 30  # the first mark is composed with its letter
            continue
        with pytest.raises(DataError, match="more than 30 accents on a letter"):
            parse("?", text)
