"""Every option of the objective: what it reads, by hand; that its gradient is its own; that it trains.

Options are found in the recipe and the registries: one that is added is checked here without a line being written.
"""

import math
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import scenes
import torch

from swim import registry
from swim.data.answer_tokens import AnswerTokens
from swim.data.documents import Noun
from swim.recipe import Objective, Optim
from swim.supervision.maps import mask_loss, noun_maps
from swim.supervision.objective import mask_weight
from swim.train import train

LAYERS = (0, 2, 3)
PAPER = Objective(layers=LAYERS)
REGISTRIES = {
    "query": "query",
    "target": "target",
    "domain": "domain",
    "heads": "heads",
    "fusion": "fusion",
    "normalise": "normalise",
    "mask_loss": "losses",
    "mask_schedule": "schedule",
}
CHOICES = {field: registry.names(f"swim.supervision.{package}") for field, package in REGISTRIES.items()}
CHOICES |= {field: get_args(Objective.model_fields[field].annotation) for field in ("resize", "patch_masks")}
# One field changed from preset `paper` at a time.
OPTIONS = [(field, value) for field, values in CHOICES.items() for value in values if value != getattr(PAPER, field)]


def test_the_lists_above_are_complete():
    assert set(CHOICES) | {"layers", "chosen_heads", "text_weight", "mask_weight"} == set(Objective.model_fields)
    assert len(OPTIONS) >= 24


# ---- By hand: one video of two patches of two tokens, row 5 asks. Its scores are the logarithms of these weights.
WEIGHT_L = (2.0, 1.0, 3.0, 2.0, 2.0, 4.0, 6.0)  # text, four visual tokens, the noun, the future
DOMAIN = {
    "video": [1 / 8, 3 / 8, 2 / 8, 2 / 8],
    "frame": [1 / 4, 3 / 4, 1 / 2, 1 / 2],
    "all-causal": [1 / 14, 3 / 14, 2 / 14, 2 / 14],
    "all": [1 / 20, 3 / 20, 2 / 20, 2 / 20],
}
# Heads 0 and 1 read the first key head, 2 and 3 the second (whose weights are all alike); head 1 looks nowhere.
HEADS = {
    ("mean", ()): [(1 / 8 + 3 / 4) / 4, (3 / 8 + 3 / 4) / 4, 1 / 4, 1 / 4],
    ("max", ()): [1 / 4, 3 / 8, 1 / 4, 1 / 4],
    ("mean", (0,)): [1 / 8, 3 / 8, 1 / 4, 1 / 4],
    ("mean", (2,)): [1 / 4] * 4,
    ("max", (0, 3)): [1 / 4, 3 / 8, 1 / 4, 1 / 4],
    ("mean", (0, 1)): [3 / 16, 5 / 16, 1 / 4, 1 / 4],
}


def by_hand(**changes):
    sample = scenes.Sample(0, 0, 7, [1, 2, 3, 4], (2, 1, 2), [((5,), {0: np.ones((1, 2))})])
    key_BGLD = torch.zeros(1, 2, 7, 1)
    key_BGLD[0, 0, :, 0] = torch.tensor(WEIGHT_L).log()
    query_BHLD = torch.tensor([1.0, 0.0, 1.0, 0.0]).reshape(1, 4, 1, 1).expand(1, 4, 7, 1)
    reading, a_SNRK = scenes.read([sample], Objective(layers=(0,), **changes), [query_BHLD], [key_BGLD])
    return reading, a_SNRK


@pytest.mark.parametrize("domain", DOMAIN)
def test_domain_by_hand(domain):
    torch.testing.assert_close(
        by_hand(domain=domain, chosen_heads=(0,))[1].flatten(), torch.tensor(DOMAIN[domain]), rtol=1e-6, atol=0
    )


@pytest.mark.parametrize(("heads", "chosen"), HEADS)
def test_heads_by_hand(heads, chosen):
    wanted_K = torch.tensor(HEADS[heads, chosen])
    torch.testing.assert_close(by_hand(heads=heads, chosen_heads=chosen)[1].flatten(), wanted_K, rtol=1e-6, atol=0)


def test_heads_that_the_model_lacks_are_named():
    with pytest.raises(ValueError, match=r"chosen_heads \[4, 7\] are outside the model's 4 query heads"):
        by_hand(chosen_heads=(0, 7, 4))


QUERY = {
    "noun": ((9,),),
    "noun-first": ((7,),),
    "noun-mean": ((7, 8, 9),),
    "before": ((6,),),
    "each-before": ((6,), (7,), (8,)),
    "answer": ((11,), (12,), (13,)),
    "answer-before": ((12,),),
    "answer-last": ((13,),),
    "noun-and-answer": ((9,), (12,)),
}
ANSWER = AnswerTokens((12, 13, 14), (13,))


def rows_of(query, noun):
    return registry.load("swim.supervision.query", query)(noun)


@pytest.mark.parametrize("name", QUERY)
def test_query_by_hand(name):
    """The rows, and the maps made of them: a group's mean, a group each."""
    assert rows_of(name, Noun((7, 8, 9), {}, answer=ANSWER)) == QUERY[name]
    sample = scenes.Sample(
        0, 0, 15, [0, 1, 2, 3], (1, 2, 2), [((7, 8, 9), {0: np.eye(2)}), ((5,), {}), ((6,), {1: np.eye(2)})]
    )
    reading = scenes.plan([sample], Objective(layers=(0,), query=name))
    rows = reading.probe.rows_NR[0].tolist()
    # What row r reads of token k is r + k / 10.
    a_SNRK = (torch.tensor(rows)[:, None] + torch.arange(4) / 10)[None, None]
    found = noun_maps(reading, a_SNRK, "mean", "none")
    groups = [*QUERY[name], *rows_of(name, Noun((6,), {}, answer=AnswerTokens()))]
    assert [m.map_PHW[0, 0, 0].item() for m in found] == pytest.approx([sum(g) / len(g) for g in groups])
    torch.testing.assert_close(found[0].map_PHW[0].flatten() - found[0].map_PHW[0, 0, 0], torch.arange(4) / 10)


@pytest.mark.parametrize("name", CHOICES["query"])
@pytest.mark.parametrize("tokens", [(4,), (4, 5), (7, 8, 9)])
def test_every_query_reads_the_noun_the_token_before_it_or_rows_that_predict_the_answer(name, tokens):
    groups = rows_of(name, Noun(tokens, {}, answer=ANSWER))
    assert groups
    assert all(groups)
    of_noun, of_answer = {tokens[0] - 1, *tokens}, {token - 1 for token in ANSWER.tokens}
    rows = {row for group in groups for row in group}
    assert rows <= of_noun | of_answer
    assert (rows <= of_noun, rows <= of_answer) == ("answer" not in name, name.startswith("answer"))


@pytest.mark.parametrize("name", [name for name in CHOICES["query"] if name.startswith("answer")])
def test_an_answer_that_is_not_known_is_no_answer_without_rows(name):
    assert rows_of(name, Noun((4,), {}, answer=AnswerTokens())) == ()
    with pytest.raises(ValueError, match=r"noun at tokens \[4\] does not say where its answer is.*set Noun.answer"):
        rows_of(name, Noun((4,), {}))


@pytest.mark.parametrize("heads", CHOICES["heads"])
@pytest.mark.parametrize("domain", CHOICES["domain"])
def test_every_domain_reads_a_document_alike_alone_and_in_a_batch(domain, heads):
    """Whatever the padding and the neighbours: the same map; padded columns exactly 0; attention is a share."""
    chosen, objective = scenes.samples(), PAPER.model_copy(update={"domain": domain, "heads": heads})
    inputs = scenes.attention_inputs()
    together, a_SNRK = scenes.read(chosen, objective, *inputs)
    assert together.probe.valid_NK.sum(1).tolist() == [24, 12, 12]
    assert a_SNRK.min() >= 0
    assert a_SNRK.max() <= 1
    for n, sample in enumerate([chosen[0], chosen[1], chosen[3]]):
        alone, alone_SNRK = scenes.read([sample], objective, *inputs)
        R, K = alone_SNRK.shape[2:]
        torch.testing.assert_close(a_SNRK[:, n : n + 1, :R, :K], alone_SNRK, rtol=1e-5, atol=1e-8)
        assert a_SNRK[:, n, :, K:].abs().sum() == 0
        assert alone.probe.valid_NK.all()


# ---- Resizing and what a patch is compared with, by hand, through the Dice loss: 1 − (2·Σpm + 1) / (Σp + Σm + 1).
def dice(p, m):
    p, m = np.asarray(p), np.asarray(m)
    return 1 - (2 * (p * m).sum() + 1) / (p.sum() + m.sum() + 1)


def one_patch(track, cells=(0.2, 0.6), frames_per_patch=2, **changes):
    """The mask loss of a 1 × 2 map under a noun's masks."""
    sample = scenes.Sample(0, 0, 4, [0, 1], (1, 1, 2), [((3,), track)])
    objective = Objective(layers=(0,), mask_loss="dice", **changes)
    total, count = mask_loss(scenes.plan([sample], objective), torch.tensor(cells).reshape(1, 1, 1, 2), objective)
    return total.item(), count


def test_resize_by_hand():
    # Four pixels over two cells, their centres at -1/4, 1/4, 3/4 and 5/4 of the way between the cells' own.
    pixels = [0.2, 0.75 * 0.2 + 0.25 * 0.6, 0.25 * 0.2 + 0.75 * 0.6, 0.6]
    mask = np.array([[0, 1, 1, 1]])
    assert one_patch({0: mask}, resize="map-to-mask") == (pytest.approx(dice(pixels, [0, 1, 1, 1])), 1)
    assert one_patch({0: mask}, resize="mask-to-grid") == (pytest.approx(dice([0.2, 0.6], [0.5, 1])), 1)
    # Three columns: a cell covers one and a half.
    assert one_patch({0: mask[:, :3]}, resize="mask-to-grid")[0] == pytest.approx(dice([0.2, 0.6], [1 / 3, 1]))
    # Two annotators' sizes in one patch: the first frame's counts.
    both = one_patch({0: mask, 1: np.array([[1, 0]])}, resize="map-to-mask")
    assert both == (pytest.approx(dice(pixels, [0.5, 1, 0.5, 0.5])), 1)


def test_patch_masks_by_hand():
    first, second = np.array([[1, 0]]), np.array([[1, 1]])
    cells = [0.2, 0.6]
    for track, both, last in (
        ({0: first, 1: second}, (dice(cells, [1, 0.5]), 1), (dice(cells, [1, 1]), 1)),
        ({1: second}, (dice(cells, [1, 1]), 1), (dice(cells, [1, 1]), 1)),
        ({0: first}, (dice(cells, [1, 0]), 1), (0.0, 0)),  # frame 0 is a frame like any other
        ({}, (0.0, 0), (0.0, 0)),
    ):
        assert one_patch(track, patch_masks="both") == pytest.approx(both)
        assert one_patch(track, patch_masks="second") == pytest.approx(last)


# ---- Schedules, by hand: four steps of a mask weight of 2.
SCHEDULE = {
    "constant": [2, 2, 2, 2],
    "linear-up": [0.5, 1, 1.5, 2],
    "linear-down": [1.5, 1, 0.5, 0],
    "cosine-down": [1 + math.cos(math.pi / 4), 1, 1 - math.cos(math.pi / 4), 0],
}


@pytest.mark.parametrize("name", SCHEDULE)
def test_schedule_by_hand(nano, name):
    recipe = nano.override(
        {"objective.mask_schedule": name, "objective.mask_weight": 2, "optim": Optim(steps=4, warmup_steps=1)}
    )
    assert [mask_weight(recipe.objective, (step + 1) / 4) for step in range(4)] == pytest.approx(
        SCHEDULE[name], abs=1e-12
    )


@pytest.mark.parametrize("name", CHOICES["mask_schedule"])
def test_every_schedule_is_a_weight_at_every_step(name):
    factor = registry.load("swim.supervision.schedule", name)
    values = [factor((step + 1) / 50) for step in range(50)]
    assert all(math.isfinite(value) and value >= 0 for value in values)
    assert max(values) > 0.9


# ---- Gradients of the whole chain, from queries and keys to the mask loss.
@pytest.mark.parametrize(("field", "value"), [("query", "noun"), ("chosen_heads", (1, 2)), ("layers", (1,)), *OPTIONS])
def test_gradient_is_what_finite_differences_say(monkeypatch, field, value):
    """fp32, as it runs, against central differences of the same chain in float64.

    Tolerances: a step of 1e-6 truncates at (1e-6)² of the third derivative, which min-max and the logarithm of a small
    p make as large as 1e6, and rounds at 1e-16 / 1e-6: 1e-5 of the gradient's norm. fp32 has 24 bits, lost twice over
    in sums of products of a hundred terms: 1e-4 of the norm.
    """
    objective = PAPER.model_copy(update={field: value})
    chosen, (queries, keys) = scenes.samples(), scenes.attention_inputs()
    leaves = [*queries, *keys]
    probed = [t for layer in objective.layers for t in (queries[layer], keys[layer])]
    total, count = scenes.supervised(chosen, objective, queries, keys)
    assert count > 0
    single = torch.autograd.grad(total, probed)
    # The chain's only cast, that of queries and keys, made to keep all digits.
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    exact = [t.detach().double().requires_grad_() for t in leaves]

    def value_at(step, direction):
        moved = [t.detach() + step * d for t, d in zip(exact, direction, strict=True)]
        return scenes.supervised(chosen, objective, moved[: len(queries)], moved[len(queries) :])[0].item()

    total, _ = scenes.supervised(chosen, objective, exact[: len(queries)], exact[len(queries) :])
    double = torch.autograd.grad(total, exact, allow_unused=True)
    found = [g for layer in objective.layers for g in (double[layer], double[len(queries) + layer])]
    for a, b in zip(single, found, strict=True):
        assert b.norm() > 0
        assert (a - b).norm() < 1e-4 * b.norm()
    random = torch.Generator().manual_seed(1)
    norm = math.sqrt(sum(float(g.norm()) ** 2 for g in found))
    for which in (slice(0, len(queries)), slice(len(queries), None), slice(None)):  # queries, keys, both
        direction = [torch.zeros_like(t) for t in exact]
        for d in direction[which]:
            d.copy_(torch.randn(d.shape, generator=random, dtype=torch.float64))
        slope = (value_at(1e-6, direction) - value_at(-1e-6, direction)) / 2e-6
        wanted = sum(float((g * d).sum()) for g, d in zip(double, direction, strict=True) if g is not None)
        assert abs(slope - wanted) < 1e-5 * norm


# ---- Training.
def multi_token(clip):
    """The same clip with nouns of several tokens: of one token, `noun`, `noun-first` and `noun-mean` are the same."""

    def longer(turn):
        said = {side: getattr(turn, side).replace("<ins>", "<ins>a fine ") for side in ("human", "gpt")}
        by = len("a fine ")
        slots = [slot.model_copy(update={"start": slot.start + by, "end": slot.end + by}) for slot in turn.slots]
        return turn.model_copy(update={**said, "slots": tuple(slots)})

    return replace(clip, turns=tuple(longer(turn) for turn in clip.turns))


@pytest.fixture(scope="module")
def spoken(clips):
    return [multi_token(clip) for clip in clips[:4]]


@pytest.fixture(scope="module")
def trained_paper():
    return {}


def curve(recipe, clips):
    found = {}
    for point in train(recipe, clips).curve:
        found.setdefault(point.name, []).append(point.value)
    return found


@pytest.mark.parametrize(("field", "value"), [("layers", "single:0.5"), ("chosen_heads", (1, 2)), *OPTIONS])
def test_every_option_trains_and_is_felt(nano, spoken, trained_paper, field, value):
    nano = nano.override({"optim.batch": 2})
    if not trained_paper:
        trained_paper.update(curve(nano, spoken))
    found = curve(nano.override({f"objective.{field}": value}), spoken)
    for values in found.values():
        assert len(values) == nano.optim.steps
        assert all(math.isfinite(v) for v in values)
    # The first step sees the same weights and text; the objective is felt at once (a schedule, at some step), and then
    # in the weights.
    assert found["text_loss"][0] == pytest.approx(trained_paper["text_loss"][0], rel=1e-6)
    felt, when = ("loss", slice(None)) if field == "mask_schedule" else ("mask_loss", slice(1))
    assert found[felt][when] != pytest.approx(trained_paper[felt][when], rel=1e-6)
    assert found["text_loss"][2] != trained_paper["text_loss"][2]
    assert min(found["grad_norm"]) > 0
