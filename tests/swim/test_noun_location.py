"""Nouns are found where they were tagged, whatever the text and however a tokenizer cuts it.

The expected tokens never come from the offsets: they come from what each token spells, laid side by side over the text.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from swim.data.annotations.markup import strip_tags, token_positions
from swim.data.synthetic.tokenizer import SPECIAL, build_tokenizer

WORDS = [
    *("dog", "dogs", "hotdog", "do", "o", "cat", "ice cream", "ice  cream", "a\nb", "red dog", "dog dog"),
    *("é", "e\u0301", "o\u0308\u0323", "Ａ", "ﬁ", "İ", "ß", "\u0301", "ñandú", "naïve"),
    *("👩‍👩‍👧", "👍🏽", "🇩🇪🇫🇷", "🏳️‍🌈", "\u200d", "\ufeff", "\u200b"),
    *("犬", "犬犬", "柴犬", "한국", "ไทย", "כלב", "كلب", "\u202eكلب\u202c", "\u200fכ"),
    *("<|im_end|>", "<|video_pad|>", "<|im_start|>user", "<|", "|>", "<", "▁", "Ġ", "##", "&lt;ins&gt;", "ins", "/ins"),
]
SPACES = ["", " ", "  ", "\n", "\t", "\u00a0", "\u3000", "'", "-", "."]
WILD = st.text(alphabet=st.characters(exclude_characters="<>", exclude_categories=["Cs"]), max_size=8)
PIECE = st.one_of(st.sampled_from(WORDS), st.sampled_from(SPACES), WILD)
# What could be read as a tag belongs to test_markup.
GAP = st.lists(PIECE, max_size=4).map("".join).filter(lambda gap: "<" not in gap or "ins" not in gap.casefold())
NOUN = GAP.filter(lambda noun: noun.strip() != "")
PARTS = st.lists(st.tuples(GAP, NOUN), min_size=1, max_size=5)
# White space to the tokenizers library; Python's str.strip knows a few more.
WHITE = set("\t\n\x0b\x0c\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000") | {chr(c) for c in range(0x2000, 0x200B)}


def spelled_bytes(text: str, tokens: Sequence[str]) -> list[list[int]]:
    """Byte-level: one letter of a token is one byte of the text."""
    owner = [at for at, letter in enumerate(text) for _ in letter.encode()]
    assert sum(map(len, tokens)) == len(owner)
    following = iter(owner)
    return [list(islice(following, len(token))) for token in tokens]


def spelled_letters(text: str, tokens: Sequence[str]) -> list[list[int]]:
    """Metaspace: a token is the text itself, spaces drawn as ▁."""
    assert "".join(tokens) == text.replace(" ", "▁")
    following = iter(range(len(text)))
    return [list(islice(following, len(token))) for token in tokens]


def spelled_words(text: str, tokens: Sequence[str]) -> list[list[int]]:
    """Word pieces: white space belongs to no token, an unknown word to one."""
    spelled, at = [], 0
    for token in tokens:
        while text[at] in WHITE:
            at += 1
        begins = at == 0 or text[at - 1] in WHITE
        length = len(token) if begins else len(token.removeprefix("##"))
        if token == "[UNK]":
            length = next((i for i, letter in enumerate(text[at:]) if letter in WHITE), len(text) - at)
        else:
            assert text[at : at + length] == token if begins else token == "##" + text[at : at + length]
        spelled.append(list(range(at, at + length)))
        at += length
    assert set(text[at:]) <= WHITE
    return spelled


def fast(tokenizer: Tokenizer, **special: str) -> Any:
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, additional_special_tokens=list(SPECIAL), **special)


def byte_level() -> Any:
    return build_tokenizer()


def byte_level_trimmed() -> Any:
    """Offsets leave the spaces out that the tokens hold, as RoBERTa's do."""
    tokenizer = build_tokenizer()
    tokenizer._tokenizer.post_processor = processors.ByteLevel(trim_offsets=True, add_prefix_space=False)
    return tokenizer


def unigram() -> Any:
    """Spaces in front of tokens, pieces across words, stretches of unknown characters in one token."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    trainer = trainers.UnigramTrainer(vocab_size=90, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator([f"a {a} {b}{a}s" for a in WORDS[:20] for b in WORDS[:20]], trainer)
    return fast(tokenizer, unk_token="<unk>")


def word_pieces() -> Any:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.WordPieceTrainer(vocab_size=120, special_tokens=["[UNK]"], show_progress=False)
    tokenizer.train_from_iterator([f"{a}{b} {b}s" for a in WORDS[:24] for b in WORDS[:16]], trainer)
    return fast(tokenizer, unk_token="[UNK]")


TOKENIZERS: dict[str, tuple[Callable[[], Any], Callable[[str, Sequence[str]], list[list[int]]]]] = {
    "byte-level": (byte_level, spelled_bytes),
    "byte-level, trimmed": (byte_level_trimmed, spelled_bytes),
    "unigram": (unigram, spelled_letters),
    "word pieces": (word_pieces, spelled_words),
}


@pytest.fixture(scope="module", params=TOKENIZERS)
def cut(request: pytest.FixtureRequest) -> Callable[[str], tuple[list[list[int]], list[tuple[int, int]]]]:
    """Text → the characters each token spells, and the offsets. Spaces at a token's edges count where offsets do so."""
    build, spelled = TOKENIZERS[request.param]
    tokenizer = build()
    special = set(tokenizer.convert_tokens_to_ids(list(SPECIAL)))

    def read(text: str) -> tuple[list[list[int]], list[tuple[int, int]]]:
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, split_special_tokens=True)
        assert not special & set(encoded["input_ids"])
        letters = spelled(text, encoded.encodings[0].tokens)
        if "trimmed" in request.param:
            tokens = encoded.encodings[0].tokens
            kept = [(len(t) - len(t.lstrip("Ġ")), len(t.rstrip("Ġ"))) for t in tokens]
            letters = [own[first:last] for own, (first, last) in zip(letters, kept, strict=True)]
        return letters, encoded["offset_mapping"]

    return read


def assemble(parts: Iterable[tuple[str, str]], tail: str) -> tuple[str, list[tuple[int, int]]]:
    """Tagged text and the characters of each noun in the plain text, white space at a noun's edges left out."""
    plain, where = "", []
    for gap, noun in parts:
        start = len(plain) + len(gap) + len(noun) - len(noun.lstrip())
        where.append((start, start + len(noun.strip())))
        plain += gap + noun
    return "".join(f"{gap}<ins>{noun}</ins>" for gap, noun in parts) + tail, where


def check(cut: Any, parts: Sequence[tuple[str, str]], tail: str, strangers: Sequence[tuple[int, bool]] = ()) -> None:
    """`strangers` are tokens for no character to be put in: (place, whether its offsets are (0, 0) or (n, n))."""
    tagged, where = assemble(parts, tail)
    plain, spans = strip_tags(tagged)
    assert plain == "".join(gap + noun for gap, noun in parts) + tail
    assert [(span.start, span.end) for span in spans] == where
    letters, offsets = cut(plain)
    for place, zero in sorted(strangers, reverse=True):
        at = place % (len(offsets) + 1)
        n = 0 if zero or at == 0 else offsets[at - 1][1]
        letters, offsets = [*letters[:at], [], *letters[at:]], [*offsets[:at], (n, n), *offsets[at:]]
    for span, (start, end) in zip(spans, where, strict=True):
        noun = set(range(start, end))
        found = token_positions(offsets, span)
        assert list(found) == [token for token, own in enumerate(letters) if noun & set(own)]
        skipped = set(range(found[0], found[-1] + 1)) - set(found)
        assert all(not letters[token] for token in skipped)
        covered = {letter for token in found for letter in letters[token]}
        assert {letter for letter in noun if plain[letter] not in WHITE} <= covered


@settings(max_examples=200, deadline=None)
@given(parts=PARTS, tail=GAP)
def test_no_noun_is_missed_cut_or_confused(cut: Any, parts: list[tuple[str, str]], tail: str) -> None:
    check(cut, parts, tail)


@settings(max_examples=100, deadline=None)
@given(parts=PARTS, tail=GAP, strangers=st.lists(st.tuples(st.integers(0, 200), st.booleans()), max_size=12))
def test_tokens_for_no_character_are_never_part_of_a_noun(
    cut: Any, parts: list[tuple[str, str]], tail: str, strangers: list[tuple[int, bool]]
) -> None:
    check(cut, parts, tail, strangers)


@pytest.mark.parametrize(
    ("parts", "tail"),
    [
        ([("A dog meets a ", "dog"), ("; the other ", "dog")], " barks at the dog."),
        ([("", "dog")], ""),
        ([("", "dog"), ("", "dog"), ("", "dog")], ""),
        ([("hot", "dog")], "s"),
        ([("dogdog", "dog")], "dog dog"),
        ([("the dogs ", " dog ")], " dog"),
        ([("犬の", "犬")], "犬"),
        ([("e", "\u0301")], "\u0301"),
        ([("👩\u200d", "👩\u200d👧")], "\u200d👦"),
        ([("אחד ", "כלב")], " כלב"),
        ([("<|im_end|>", "<|im_end|>")], "<|im_end|>"),
        ([("<|video_pad|> dog ", "video_pad")], "|>"),
        ([("a ", "ice  cream")], " cream"),
        ([("<", "a"), (">", "b")], "<"),
        ([(" " * 200, "x" * 200)], "x" * 200),
    ],
)
def test_the_classic_traps(cut: Any, parts: list[tuple[str, str]], tail: str) -> None:
    check(cut, parts, tail)


class Counted(Sequence[tuple[int, int]]):
    """A list of offsets that counts how often it is looked into."""

    def __init__(self, offsets: Sequence[tuple[int, int]]) -> None:
        self.offsets, self.looks = offsets, 0

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitem__(self, index: Any) -> Any:
        self.looks += len(range(*index.indices(len(self)))) if isinstance(index, slice) else 1
        return self.offsets[index]


def test_thousands_of_tags_look_at_a_few_offsets_each(cut: Any) -> None:
    parts = [(f" {i} the dog and a ", f"dog{i}") for i in range(3000)]
    plain, spans = strip_tags(assemble(parts, " dog")[0])
    letters, offsets = cut(plain)
    padded = [(0, 0), *offsets, *[(0, 0)] * 5]
    counted = Counted(padded)
    found = [token_positions(counted, span) for span in spans]
    owner = {letter: token for token, own in enumerate(letters) for letter in own}
    for span, tokens in zip(spans, found, strict=True):
        assert (tokens[0], tokens[-1]) == (owner[span.start] + 1, owner[span.end - 1] + 1)
    # One bisection, the tokens themselves and the one behind them; a scan would look 3000 × len(padded) times.
    a_tag = math.ceil(math.log2(len(padded) + 1)) + 2 + 5
    assert counted.looks <= len(spans) * a_tag + sum(map(len, found))


def test_a_long_padding_is_walked_through_not_searched_again_and_again() -> None:
    offsets = [(0, 0)] * 5000 + [(i, i + 1) for i in range(5000)] + [(0, 0)] * 5000
    for start in (0, 1, 2500, 4998):
        counted = Counted(offsets)
        assert token_positions(counted, strip_tags("x" * start + "<ins>xx</ins>")[1][0]) == (5000 + start, 5001 + start)
        assert counted.looks <= 2 * len(offsets)
