"""A tally is a fact about rows: who read them, in what order and in what portions, leaves no trace in it."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swimlab.data.doctor import tally
from swimlab.data.doctor.tally import EDGES, FIRST_EXAMPLES, Pick, Places, Tally, place_of, shown
from swimlab.data.rejected_rows import BrokenRow

LABELS = [f"noun{i}" for i in range(30)] + ["tab\there", "half \ud800", "right \u202e left", "x" * 200]


@st.composite
def seen(draw: st.DrawFn) -> list[tuple[str, int]]:
    """(what is said of a row, its number)"""
    kinds = st.sampled_from([*LABELS, "bin", "broken", "video", "pick", "total"])
    return [(kind, row) for row, kind in enumerate(draw(st.lists(kinds, max_size=60)))]


def tally_of(rows: list[tuple[str, int]]) -> Tally:
    tally = Tally(picks=4)
    for kind, row in rows:
        if kind == "bin":
            tally.bin("tags a row", row)
        elif kind == "broken":
            reason = f"reason {row % 7}"
            example = BrokenRow(file=f"f{row % 2}", row=row, key=str(row), kind="k", field="x", reason=reason, hint="h")
            tally.add_broken(reason, example)
        elif kind == "video":
            tally.video(place_of(str(row % 9)))
        elif kind == "pick":
            tally.pick(Pick(place=place_of(str(row)), key=str(row), row=row, part="p"))
        elif kind == "total":
            tally.add("masks", row)
        else:
            tally.count("noun", kind)
    return tally


def sent(tally: Tally) -> Tally:
    return Tally.from_json(json.loads(json.dumps(tally.to_json())))


@pytest.fixture(autouse=True)
def few_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "MAX_LABELS", 5)


@given(rows=seen(), seed=st.integers(0, 1000), portions=st.integers(1, 8))
def test_portions_and_their_order_make_no_difference(rows: list[tuple[str, int]], seed: int, portions: int) -> None:
    whole = tally_of(rows).to_json()
    shuffled = random.Random(seed).sample(rows, len(rows))
    parts = [sent(tally_of(shuffled[i::portions])) for i in range(portions)]
    # Any grouping: two at a time, from either side, until one is left.
    while len(parts) > 1:
        at = random.Random(seed + len(parts)).randrange(len(parts) - 1)
        left, right = parts[at : at + 2]
        first, second = (left, right) if seed % 2 else (right, left)
        first.merge(second)
        parts[at : at + 2] = [first]
    assert parts[0].to_json() == whole


@given(rows=seen())
def test_the_counts_that_are_kept_are_whole(rows: list[tuple[str, int]]) -> None:
    total = Tally(picks=4)
    for row in rows:
        total.merge(tally_of([row]))
    truth = Counter(shown(kind) for kind, _ in rows if kind in LABELS)
    kept = total.to_json()["counts"].get("noun", {})
    assert len(kept) == min(len(truth), 5)
    assert kept == {label: truth[label] for label in kept}
    assert len(total.counts["noun"]) <= 10, "labels pile up"
    assert len(total.examples) <= 10


def test_many_labels_take_no_more_room_than_few() -> None:
    total = Tally()
    for row in range(500):
        part = Tally()
        part.count("noun", f"hostile{row}")
        example = BrokenRow(file="f", row=row, key="", kind="", field="", reason=f"r{row}", hint="")
        part.add_broken(f"reason {row}", example)
        total.merge(part)
    assert len(total.counts["noun"]) <= 10
    assert len(total.examples) <= 10
    assert set(total.to_json()["examples"]) == set(total.to_json()["counts"]["reason"])


def test_examples_are_the_first_of_their_kind() -> None:
    tally = tally_of([("broken", row) for row in (21, 7, 35, 14, 0, 28)])  # all of "reason 0", in two files
    places = [(example.file, example.row) for example in tally.examples["reason 0"]]
    assert places == [("f0", 0), ("f0", 14), ("f0", 28)]
    assert len(places) == FIRST_EXAMPLES


def test_a_sample_is_that_of_the_lowest_places() -> None:
    picks = [Pick(place=place_of(f"key{i}"), key=f"key{i}", row=i, part="p") for i in range(40)]
    tally = Tally(picks=4)
    for pick in picks:
        tally.pick(pick)
    assert tally.sample == sorted(picks, key=lambda pick: pick.place)[:4]


def test_bins_have_their_lower_edges() -> None:
    tally = Tally()
    for value in (0, 99, 100, 299, 300, 999_999, 10**9):
        tally.bin("object area", value)
    found = tally.histogram("object area")
    assert list(found) == list(EDGES["object area"])
    assert {edge: n for edge, n in found.items() if n} == {0: 2, 100: 2, 300_000: 2, 300: 1}
    tally.bin("turns a row", 0)  # below the first edge: counted all the same
    assert sum(tally.histogram("turns a row").values()) == 1


def test_corrections_leave_no_empty_label() -> None:
    tally = Tally()
    tally.count("usable", "nl-refer")
    tally.count("usable", "nl-refer", -1)
    assert "usable" not in tally.to_json()["counts"]


@given(st.lists(st.lists(st.integers(0, 2**64 - 1), max_size=9), max_size=9))
def test_places_are_a_set(groups: list[list[int]]) -> None:
    places = Places()
    for group in groups:
        places.update(Places(group))
        for place in group:
            places.add(place)
    assert places.array().tolist() == sorted({place for group in groups for place in group})
    assert len(places) == len(places.array())


@given(st.text(st.characters(), max_size=200))
def test_what_is_shown_is_one_short_printable_line(text: str) -> None:
    found = shown(text, 20)
    assert found.isprintable()
    assert len(found) <= 20 * 10 + 1
    found.encode()
    if text.isprintable() and len(text) <= 20:
        assert found == text


def test_escapes_are_legible() -> None:
    assert shown("a\x1b[31mb\r\n\u202e\ud83d") == "a\\x1b[31mb\\r\\n\\u202e\\ud83d"
