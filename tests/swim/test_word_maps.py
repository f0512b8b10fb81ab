"""Words of questions and answers: whose maps they are, that no mask is needed, and what "relative" divides by."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from swim.data.annotations.markup import Span, strip_tags
from swim.data.encode import collate
from swim.data.nl_refer.rules import question_noun
from swim.data.types import DataError, Rle, Turn
from swim.evaluation.noun_attention import attentions, read
from swim.evaluation.word_maps import FLOOR, relative, word_maps, words_of
from swim.recipe import Readout
from swim.train import Trained, encoder_for

READOUT = Readout(layers=(0, 2), fusion="mean")
QUESTION, ANSWER, OTHER = "Describe the lemon.", "The small lemon is striped.", "No, it moves left"


@pytest.fixture
def trained(nano, model, tokenizer):
    return Trained(model.eval(), tokenizer, encoder_for(nano, model, tokenizer), [])


def test_a_word_has_the_map_that_an_annotated_noun_has(nano, trained, clips):
    texts = (QUESTION, ANSWER)
    words = words_of(texts)
    maps = word_maps(nano, trained, clips[0], texts, words, READOUT)
    whole = Rle(height=64, width=64, counts="PP3")  # no matter where: it only says which patches are read
    tagged = replace(
        clips[0],
        turns=(Turn(human="Describe the <ins>lemon</ins>.", gpt="The small <ins>lemon</ins> is striped."),),
        masks=({0: whole, 2: whole}, {0: whole, 2: whole}),
    )
    batch = collate([trained.encoder(tagged)], trained.tokenizer.pad_token_id)
    with torch.no_grad():
        _, reading = read(trained, batch, batch.nouns, READOUT)
    asked, said = attentions(batch, reading, READOUT.fusion, "none")
    numbers = [i for i, word in enumerate(words) if word.word == "lemon"]
    assert len(numbers) == 2
    for number, noun in zip(numbers, (asked, said), strict=True):
        np.testing.assert_allclose(maps.fused_MTHW[number], noun.map_PHW.numpy(), atol=1e-6)
    assert maps.layers == (0, 2)
    np.testing.assert_allclose(maps.layers_SMTHW.mean(0), maps.fused_MTHW, atol=1e-7)
    np.testing.assert_allclose(maps.layers_SMTHW.sum((-3, -2, -1)), 1, atol=1e-5)
    assert np.ptp(maps.fused_MTHW[:, 0, 0, 0]) > 0  # words differ


@pytest.mark.parametrize("query", ["noun", "before", "each-before"])
def test_each_answer_is_read_as_if_alone_and_the_question_as_whatever_follows(nano, trained, clips, query):
    readout = READOUT.model_copy(update={"query": query})
    both = (QUESTION, ANSWER, OTHER)
    together = word_maps(nano, trained, clips[0], both, words_of(both), readout)
    asked = len(words_of([QUESTION]))
    apart = [
        word_maps(nano, trained, clips[0], texts, words_of(texts), readout).fused_MTHW
        for texts in ((QUESTION, ANSWER), (QUESTION, OTHER))
    ]
    np.testing.assert_allclose(apart[0][:asked], apart[1][:asked], atol=1e-6)
    expected = np.concatenate([apart[0], apart[1][asked:]])
    np.testing.assert_allclose(together.fused_MTHW, expected, atol=1e-6)


def test_an_answer_of_no_words_leaves_those_of_the_question(nano, trained, clips):
    texts = (QUESTION, "", "!")
    maps = word_maps(nano, trained, clips[0], texts, words_of(texts), READOUT)
    assert len(maps.fused_MTHW) == 3
    with pytest.raises(ValueError, match="no word in '…'"):
        word_maps(nano, trained, clips[0], ("…", ""), (), READOUT)


def test_relative_maps_lose_what_the_neutral_word_has_too():
    neutral_THW = np.array([[[0.7, 0.1], [0.1, 0.1]]], np.float32)
    sink_and_object = np.array([[[[0.7, 0.2], [0.05, 0.05]]]], np.float32)
    found = relative(sink_and_object, neutral_THW)
    np.testing.assert_allclose(found[0, 0], [[1 / 4, 2 / 4], [0.5 / 4, 0.5 / 4]], rtol=1e-6)
    np.testing.assert_allclose(relative(neutral_THW[None], neutral_THW), 0.25, rtol=1e-6)
    # Where the neutral word looks nowhere, a trace of attention is no peak.
    empty_THW = np.array([[[1, 0], [0, 0]]], np.float32)
    traces = relative(np.array([[[[0.99, 0.01], [0, 0]]]], np.float32), empty_THW)
    np.testing.assert_allclose(traces[0, 0], np.array([[0.99, 0.01 / (FLOOR / 4)], [0, 0]]) / (0.99 + 0.04 / FLOOR))
    assert not np.isnan(relative(np.zeros((1, 1, 2, 2), np.float32), np.zeros((1, 2, 2), np.float32))).any()


def test_words_are_without_punctuation_and_a_noun_is_one():
    question, spans = strip_tags("What is the man's <ins>fire-truck toy</ins>, say?")
    assert [w.word for w in words_of([question, "It's red."], spans)] == [
        "What", "is", "the", "man's", "fire-truck toy", "say", "It's", "red",
    ]  # fmt: skip
    for text, word in ((question, w) for w in words_of([question], spans)):
        assert text[word.start : word.end] == word.word
    assert words_of(["dogs"], [Span(0, 3, "dog")])[0].word == "dog"


@pytest.mark.parametrize(
    ("question", "noun"),
    [
        ("Describe the brown dog.", "dog"),
        ("Please describe the fawn and white dog sitting on the bed in the video.", "dog"),
        ("What is the man in the red shirt doing?", "man"),
        ("In this video, what colour is the car?", "car"),
        ("How many people are in the group of people on the left?", "people"),
        ("What does the small lemon look like?", "lemon"),
        ("What does the man read today?", "man"),
        ("What can the white dog do?", "dog"),
        ("Is the dog barking?", "dog"),
    ],
)
def test_the_noun_of_a_question_is_found(question, noun):
    start, end = question_noun(question)
    assert question[start:end] == noun


@pytest.mark.parametrize(
    "question", ["Describe it.", "What happens in the video?", "Dogs?", "What does the dog gobble?"]
)
def test_a_question_without_a_noun_is_refused_with_what_to_do(question):
    with pytest.raises(DataError, match="<ins>dog</ins>"):
        question_noun(question)
