"""Letters out of answers: the public script's traps, read strictly, and its own reading reproduced."""

import pytest

from swim.evaluation.letters import Letter, Refused, Unclear, option_texts, read_letter, released_letter

OPTIONS = ("(A) A rope", "(B) It runs", "(C) A bucket of red paint", "(D) Nothing")

# answer, strict letter (None: refused), the released script's reading
TRAPS = [
    ("Answer: B", "B", "A"),
    ("The answer is B.", "B", "T"),
    ("**B**", "B", "*"),
    (" B", "B", "B"),
    ("I cannot tell.", None, "I"),
    ("The correct option is (C), not (A).", "C", "C"),
    ("B", "B", "B"),
    ("B.", "B", "B"),
    ("(B) It runs", "B", "B"),
    ("Option B) it runs", "B", "B"),
]


@pytest.mark.parametrize(("text", "letter", "released"), TRAPS)
def test_the_traps_of_the_public_script(text, letter, released):
    assert read_letter(text, OPTIONS) == (Letter(letter) if letter else Refused())
    assert released_letter(text) == released


def test_videorefers_script_does_not_strip_and_both_end_with_an_error_on_nothing():
    assert released_letter(" B", strips=False) == " "
    assert [released_letter(text) for text in ("", " ", ".", " . ")] == [None, None, None, None]


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("b", "B"),
        ("(b)", "B"),
        ("answer is a", "A"),
        ("Answer:\nB", "B"),
        ("Answer: A\nA rope", "A"),
        ("\\boxed{C}", "C"),
        ("（B）", "B"),
        ("<think>It may be (A).</think>\n<answer>D</answer>", "D"),
        ("I am not sure, but the answer is B", "B"),
        ("It is not (A) but (C)", "C"),
        ("The answer is not B but C.", "C"),
        ("B, because it runs", "B"),
        ("C is correct.", "C"),
        ("I would go with option B", "B"),
        ("Option B is wrong. The answer is C.", "C"),
        ("B) It runs, unlike (A).", "B"),
        # An option's own text, an article that is no letter, and a text that is part of a longer one.
        ("The answer is a rope.", "A"),
        ("the dog carries a bucket of red paint", "C"),
        ("A bucket of red paint", "C"),
        ("Nothing!", "D"),
    ],
)
def test_what_a_reader_would_take_it_for(text, letter):
    assert read_letter(text, OPTIONS) == Letter(letter)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("<think>The answer is (A).", "empty"),
        ("E", "names no option"),
        ("a bucket", "names no option"),
        ("There is no rope.", "names no option"),
        ("A person who runs", "names no option"),
        ("It could be (A) or (B).", "names A, B"),
        ("The answer is (A) or (B)", "names A, B"),
        ("Both A and B", "names A, B"),
        ("it runs with nothing", "names B, D"),
        (" ".join(OPTIONS), "names A, B, C, D"),
    ],
)
def test_no_option_and_several_are_unclear(text, reason):
    assert read_letter(text, OPTIONS) == Unclear(reason)


def test_a_longer_option_that_contains_another_one_is_named_alone():
    options = ("(A) a dog", "(B) a dog and a cat", "(C) a cat")
    assert read_letter("I see a dog and a cat here", options) == Letter("B")
    assert read_letter("a cat, later a dog", options) == Unclear("names A, C")


@pytest.mark.parametrize(
    "text", ["Unable to determine.", "Sorry, I cannot choose (A) or (B).", "None of the above", "I can't see a rope."]
)
def test_a_refusal_is_told_from_an_unclear_answer(text):
    assert read_letter(text, OPTIONS) == Refused()


def test_an_option_that_reads_like_a_refusal_can_be_chosen():
    assert read_letter("None of the above.", (*OPTIONS[:3], "(D) None of the above")) == Letter("D")


@pytest.mark.parametrize("options", [("A rope", "(B) x"), ("(A) x", "(A) y")])
def test_options_need_letters_of_their_own(options):
    with pytest.raises(ValueError, match="capital letter of its own"):
        option_texts(options)
