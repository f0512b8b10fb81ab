"""Tags → spans → token positions."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swim.data.annotations.markup import MarkupError, Span, strip_tags, token_positions

TEXT = st.text(alphabet=st.characters(exclude_characters="<>", exclude_categories=["Cs"]), max_size=12)
NOUN = TEXT.filter(lambda noun: noun.strip() != "")


@given(st.lists(st.tuples(TEXT, NOUN), max_size=6), TEXT)
def test_spans_are_where_the_tags_were(pairs: list[tuple[str, str]], tail: str) -> None:
    tagged = "".join(f"{before}<ins>{noun}</ins>" for before, noun in pairs) + tail
    plain, spans = strip_tags(tagged)
    assert plain == "".join(before + noun for before, noun in pairs) + tail
    assert [span.text for span in spans] == [noun.strip() for _, noun in pairs]
    cursor = 0
    for span, (before, noun) in zip(spans, pairs, strict=True):
        assert plain[span.start : span.end] == span.text
        assert cursor + len(before) <= span.start < span.end <= cursor + len(before) + len(noun)
        cursor += len(before) + len(noun)


@given(st.lists(st.tuples(TEXT, NOUN), min_size=1, max_size=4), TEXT, st.data())
def test_tokens_of_a_span_are_those_holding_its_characters(
    pairs: list[tuple[str, str]], tail: str, data: st.DataObject
) -> None:
    plain, spans = strip_tags("".join(f"{b}<ins>{n}</ins>" for b, n in pairs) + tail)
    cuts = sorted({0, len(plain), *data.draw(st.lists(st.integers(0, len(plain)), max_size=20))})
    offsets = [(0, 0), *pairwise(cuts), (0, 0)]  # special tokens at both ends
    for span in spans:
        brute = [i for i, (a, b) in enumerate(offsets) if set(range(a, b)) & set(range(span.start, span.end))]
        assert list(token_positions(offsets, span)) == brute


def test_equal_nouns_and_earlier_untagged_ones_are_told_apart() -> None:
    plain, spans = strip_tags("A dog meets a <ins>dog</ins>; the other <ins>dog</ins> barks.")
    assert [(s.start, s.end) for s in spans] == [(14, 17), (29, 32)]
    words = [(plain.index(w, at), plain.index(w, at) + len(w)) for w, at in (("dog", 0), ("dog", 10), ("dog", 20))]
    assert [token_positions(words, s) for s in spans] == [(1,), (2,)]


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("a <ins>b <ins>c</ins></ins>", 9),
        ("a <ins>b", 2),
        ("a b</ins>", 3),
        ("a <ins></ins>", 2),
        ("a <ins> \n</ins>", 2),
        ("a <INS>b</INS>", 2),
        ("a <ins>b</ ins>", 8),
        ("a <ins >b</ins>", 2),
    ],
)
def test_broken_tags_name_their_position(text: str, position: int) -> None:
    with pytest.raises(MarkupError, match=f"at character {position}$") as caught:
        strip_tags(text)
    assert caught.value.position == position


def test_a_sub_token_of_one_character_counts_every_token() -> None:
    # Byte-level tokenizers give each byte token of "é" the offsets of the whole character.
    assert token_positions([(0, 1), (1, 2), (1, 2), (2, 3)], Span(1, 2, "é")) == (1, 2)


@pytest.mark.parametrize("offsets", [[], [(0, 0)], [(0, 3)], [(0, 3), (3, 5)]])
def test_a_noun_without_its_last_token_is_refused(offsets: list[tuple[int, int]]) -> None:
    with pytest.raises(ValueError, match="'noun' at characters 3-7"):
        token_positions(offsets, Span(3, 7, "noun"))


@pytest.mark.parametrize(
    "hostile",
    [
        "<" * 300_000,
        "<" + " " * 300_000,
        "<   " + " " * 300_000 + "/" + " " * 300_000,
        "< " * 150_000,
        "</" * 150_000,
        "< / " * 75_000,
        "<ins" * 75_000,
        "<ins " + "x " * 150_000,
        "<ins" + "\n" * 300_000,
    ],
    ids=lambda text: repr(text[:8]),
)
def test_hostile_texts_are_read_in_one_pass(hostile: str) -> None:
    # Quadratic scanning of any of these takes minutes; the suite's timeout is the judge.
    plain, spans = strip_tags(hostile + "<ins>a</ins>")
    assert plain == hostile + "a"
    assert [(span.start, span.end) for span in spans] == [(len(hostile), len(hostile) + 1)]


def test_a_hostile_number_of_tags_is_read_in_one_pass() -> None:
    plain, spans = strip_tags("<ins>a</ins> " * 75_000)
    assert (plain, len(spans), spans[-1]) == ("a " * 75_000, 75_000, Span(149_998, 149_999, "a"))
    for hostile in ("<ins>" * 75_000, "</ins>" * 75_000, "<ins>" + "</ins" * 75_000):
        with pytest.raises(MarkupError):
            strip_tags(hostile)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 3)), max_size=30), st.integers(0, 30), st.integers(0, 6))
def test_bisection_and_a_scan_agree_where_characters_are_split_shared_or_missing(
    steps: list[tuple[bool, int]], start: int, length: int
) -> None:
    offsets, at = [], 0
    for character, size in steps:  # a token of `size` characters; or a hole, a repetition, one for no character
        if character:
            offsets.append((max(0, at - size // 3), at + size))
            at += size
        elif size == 1:
            at += 1
        else:
            offsets.append((0, 0) if size == 2 or not offsets else offsets[-1])
    span = Span(start, start + length, "x")
    scan = [i for i, (a, b) in enumerate(offsets) if a < b and a < span.end and b > span.start]
    if scan and offsets[scan[-1]][1] >= span.end:
        assert token_positions(offsets, span) == tuple(scan)
    else:
        with pytest.raises(ValueError, match="no token covers 'x'"):
            token_positions(offsets, span)
