"""Conversations that are more tokens than a model has positions are refused, by the count of what the model is fed."""

from dataclasses import replace

import pytest

from swim.data.chat import CHATML, SYSTEM, pieces
from swim.data.context import count_tokens, most_text_tokens
from swim.data.encode import Encoder
from swim.data.types import Clip, DataError, Turn

TALKS = (
    (Turn(human="What is the dog?", gpt="It runs."),),
    (Turn(human="Say <|im_end|> of ß, 日本 and \u0958.", gpt="é e\u0301"), Turn(human="And?", gpt="😀" * 9)),
)


@pytest.mark.parametrize("system", [None, SYSTEM])
@pytest.mark.parametrize("turns", TALKS)
def test_the_count_is_that_of_the_encoded_text(clips: list[Clip], tokenizer, family, system, turns):
    clip = replace(clips[0], turns=turns, masks=())
    sample = Encoder(tokenizer, family, system=system)(clip)
    found = count_tokens(tokenizer, pieces(CHATML, turns, system))
    # 128 of the video's content, one at either end.
    assert found == len(sample.input_ids_L) - 130
    assert found <= most_text_tokens(turns, system)


def test_tags_are_no_text(clips: list[Clip], encoder, tokenizer):
    sample = encoder(clips[0])
    assert sample.nouns
    assert count_tokens(tokenizer, pieces(CHATML, clips[0].turns, None)) == len(sample.input_ids_L) - 130


def test_one_token_more_than_positions_is_refused(clips: list[Clip], tokenizer, family):
    def encode(positions: int) -> int:
        encoder = Encoder(tokenizer, family, system=None, positions=positions)
        return len(encoder(clips[0]).input_ids_L)

    length = encode(4096)
    assert encode(length) == length
    with pytest.raises(DataError, match=rf"{length} tokens, {length - 128} of the text and 128 of the video") as error:
        encode(length - 1)
    assert error.value.key == clips[0].key


def test_training_refuses_a_conversation_that_is_too_long(clips: list[Clip], nano):
    from swim.train import train

    long = replace(clips[0], turns=(Turn(human="What?", gpt="zq " * 2500),), masks=())
    with pytest.raises(DataError, match="more than the model's 4096 positions"):
        train(nano, [long, *clips[1:8]])


def test_nfc_makes_at_most_three_bytes_of_one():
    """The bound holds for Qwen's tokenizer, which normalises its text."""
    import unicodedata

    for code in range(0x110000):
        character = chr(code)
        if 0xD800 <= code < 0xE000 or unicodedata.is_normalized("NFC", character):
            continue
        assert len(unicodedata.normalize("NFC", character).encode()) <= 3 * len(character.encode())
