"""Which layers a choice names, at any depth, and what is said of a choice that names none."""

from itertools import pairwise

import pytest

from swim import registry
from swim.recipe import Readout
from swim.supervision.layers import resolve

# Depth, choice, layers (from 0). Of 28: the paper's Table 3.
BY_HAND = [
    (28, "even:6", (2, 7, 12, 17, 22, 27)),
    (28, "even:3", (9, 18, 27)),
    (28, "even:14", tuple(range(1, 28, 2))),
    (28, "even:0.5", tuple(range(1, 28, 2))),
    (28, "even:1", (27,)),
    (28, "even:28", tuple(range(28))),
    (4, "even:2", (1, 3)),
    (4, "even:3", (1, 2, 3)),
    (3, "even:2", (0, 2)),
    (5, "even:4", (1, 2, 3, 4)),
    (28, "first:2", (0, 1)),
    (4, "first:0.5", (0, 1)),
    (4, "first:0.01", (0,)),
    (28, "last:2", (26, 27)),
    (4, "last:1.0", (0, 1, 2, 3)),
    (4, "all", (0, 1, 2, 3)),
    (28, "single:13", (13,)),
    (28, "single:0.0", (0,)),
    (29, "single:0.5", (14,)),
    (28, "single:1.0", (27,)),
    (29, "at:0.0,0.5,1.0", (0, 14, 28)),
    (28, "at:27,1,1", (1, 27)),
    (28, (27, 2), (2, 27)),
    (1, "even:1", (0,)),
]


@pytest.mark.parametrize(("depth", "choice", "layers"), BY_HAND)
def test_choice_by_hand(depth, choice, layers):
    assert resolve(choice, depth) == layers


@pytest.mark.parametrize("n", range(1, 29))
def test_even_layers_are_evenly_spaced_and_end_with_the_last(n):
    for depth in range(n, 65):
        layers = resolve(f"even:{n}", depth)
        assert (len(layers), layers[-1]) == (n, depth - 1)
        assert layers[0] >= 0
        assert len({b - a for a, b in pairwise(layers)}) <= 1


@pytest.mark.parametrize("name", registry.names("swim.supervision.layers"))
def test_every_selector_answers_with_layers_or_says_what_is_wrong(name):
    for depth in (1, 4, 28):
        for amount in ("", "1", "3", "0.5", "-1", "99", "x", "0.2,0.9", "-0.5", "1.5", "nan", "0", "."):
            choice = f"{name}:{amount}" if amount else name
            layers, complaint = (), ""
            try:
                layers = resolve(choice, depth)
            except ValueError as error:
                complaint = str(error)
            assert bool(layers) != complaint.startswith(f"layers {choice!r} of {depth}: ")
            assert not any(word in complaint for word in ("literal", "could not convert", "NaN", "division"))
            assert list(layers) == sorted(set(layers) & set(range(depth)))


@pytest.mark.parametrize(
    ("depth", "choice", "message"),
    [
        (4, "even:6", r"layers 'even:6' of 4: asks for 6 layers; the model has 4"),
        (4, "single:9", r"layers 'single:9' of 4: there is no layer 9; the model has 0 to 3"),
        (4, "at:0.5,9", r"there is no layer 9; the model has 0 to 3"),
        (4, "evn:2", r"no 'evn'; did you mean 'even'\? \(choices: all, at, even"),
        (4, "first:x", r"layers 'first:x' of 4: 'x' is no number; write layers as '6', a fraction of the depth as"),
        (4, "even", r"'' is no number"),
        (4, "single:", r"'' is no number"),
        (4, "at:0.5,", r"'' is no number"),
        (4, "first:0", r"asks for 0 layers"),
        (4, "first:1.5", r"the fraction 1.5 is not between 0.0 and 1.0"),
        (4, "last:-0.5", r"the fraction -0.5 is not between"),
        (4, "single:-0.1", r"the fraction -0.1 is not between"),
        (4, "all:3", r"takes no amount"),
        (4, "", r"has no ''"),
        (4, "2", r"has no '2'"),
        (4, (), r"name at least one layer"),
        (4, (1, 1), r"\(1, 1\): name at least one layer, and each once"),
        (4, (1, 4, -1), r"\[4, -1\] are outside the model's 4 layers"),
    ],
)
def test_what_is_wrong_is_named(depth, choice, message):
    with pytest.raises(ValueError, match=message):
        resolve(choice, depth)


def test_a_recipe_refuses_layers_that_its_model_lacks(nano):
    assert nano.override({"objective.layers": "single:0.5"}).objective.layers == "single:0.5"
    with pytest.raises(ValueError, match=r"objective: layers 'even:6' of 3: asks for 6 layers; the model has 3"):
        nano.override({"objective": {"layers": "even:6"}})
    with pytest.raises(ValueError, match=r"evaluation.attention.readout: layers \[3\] are outside"):
        nano.override({"evaluation.attention.readout": Readout(layers=(3,))})
