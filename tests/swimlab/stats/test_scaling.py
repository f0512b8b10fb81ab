import math

import numpy as np
import pytest

from swimlab.stats import scaling_law

N = (0.1, 0.25, 0.5, 0.75, 1.0)
CURVES = 200


def log(n):
    return 0.6 + 0.1 * np.log(n)


def power(n):
    return 0.7 - 0.1 * n**-0.5


def points(truth, noise, seeds, seed, amounts=N):
    """A seed shifts its whole curve and adds noise of its own to every point, both of SD noise/√2."""
    rng = np.random.default_rng(seed)
    x = np.array(amounts)
    y = truth(x) + noise / math.sqrt(2) * (rng.normal(size=(seeds, 1)) + rng.normal(size=(seeds, len(x))))
    return {n: {s: float(y[s, j]) for s in range(seeds)} for j, n in enumerate(amounts)}


@pytest.mark.parametrize(("truth", "form", "noise"), [(log, "log", 0.02), (power, "power", 0.01)])
@pytest.mark.parametrize("seeds", [3, 8])
def test_the_band_covers_a_planted_curve_as_often_as_it_says(truth, form, noise, seeds):
    covered = np.zeros(scaling_law.GRID)
    for seed in range(CURVES):
        found = scaling_law.fit(points(truth, noise, seeds, seed), form)
        planted = truth(np.array(found.n))
        covered += (np.array(found.low) <= planted) & (planted <= np.array(found.high))
    # Pointwise; three standard errors of 95 % over 200 curves.
    slack = 3 * math.sqrt(0.95 * 0.05 / CURVES)
    assert covered.min() / CURVES >= 0.95 - slack
    assert covered.mean() / CURVES <= 0.95 + slack


def test_without_noise_the_parameters_are_the_planted_ones():
    found = scaling_law.fit(points(log, 0.0, 3, 0), "log")
    assert [found.parameters[name].mean for name in "ab"] == pytest.approx([0.6, 0.1])
    assert found.miss == pytest.approx(0, abs=1e-12)
    # In units of the largest n, whatever those are.
    amounts = [1000 * n for n in N]
    found = scaling_law.fit(points(lambda n: power(n / 1000), 0.0, 3, 0, amounts), "power")
    assert [found.parameters[name].mean for name in "abc"] == pytest.approx([0.7, 0.1, 0.5], abs=1e-6)
    assert (found.n[0], found.n[-1]) == pytest.approx((100, 1000))
    assert found.curve[-1] == pytest.approx(0.6)


def test_a_logarithm_is_judged_by_each_seeds_own_line():
    seen = points(log, 0.05, 3, 1)
    found = scaling_law.fit(seen, "log")
    slopes = [np.polyfit(np.log(N), [seen[n][s] for n in N], 1)[0] for s in range(3)]
    half = 4.30265 * np.std(slopes, ddof=1) / math.sqrt(3)
    slope = found.parameters["b"]
    assert (slope.mean, slope.low, slope.high) == pytest.approx(
        (np.mean(slopes), np.mean(slopes) - half, np.mean(slopes) + half), rel=1e-5
    )


def test_the_form_follows_what_the_seeds_show():
    assert scaling_law.fit(points(power, 0.001, 3, 0)).form == "power"
    straight = scaling_law.fit(points(log, 0.02, 3, 0))
    assert (straight.form, straight.bends) == ("log", False)
    # Three amounts of data cannot show a bend.
    three = scaling_law.fit(points(power, 0.001, 3, 0, N[::2]))
    assert (three.form, three.bends) == ("log", None)


def test_the_sentence_says_what_is_open():
    sure = scaling_law.fit(points(log, 0.005, 3, 0), "log").sentence
    assert sure.startswith("Twice the data adds 0.06")
    assert "over 3 seeds" in sure
    assert "open" not in sure
    assert "whether it helps is open" in scaling_law.fit(points(log, 0.5, 3, 0), "log").sentence
    alone = scaling_law.fit(points(log, 0.01, 1, 0))
    assert (alone.low, alone.high, alone.bends) == ((), (), None)
    assert "one seed: no interval" in alone.sentence
    assert "saturates at 0.7" in scaling_law.fit(points(power, 0.001, 3, 0), "power").sentence


def test_a_seed_without_every_amount_is_left_out_and_said_to_be():
    seen = points(log, 0.02, 4, 0)
    del seen[0.5][2]
    found = scaling_law.fit(seen, "log")
    assert found.seeds == (0, 1, 3)
    whole = {n: {s: v for s, v in by_seed.items() if s != 2} for n, by_seed in seen.items()}
    assert found == scaling_law.fit(whole, "log")


@pytest.mark.parametrize(
    ("given", "form", "message"),
    [
        ({0.5: {0: 1.0}, 1.0: {0: 1.0}}, None, "at least three amounts"),
        ({n: {0: 1.0} for n in (0, 1, 2)}, None, "positive"),
        ({n: {0: math.nan} for n in (1, 2, 3)}, None, "finite"),
        ({1: {0: 1.0}, 2: {1: 1.0}, 3: {0: 1.0}}, None, "no seed has a value at every amount"),
        ({n: {0: n} for n in (1, 2, 3)}, "power", "at least four"),
        (points(lambda n: 1 - log(n), 0.0, 2, 0), "power", "no saturating power law fits"),
    ],
)
def test_what_no_curve_goes_through_is_refused(given, form, message):
    with pytest.raises(ValueError, match=message):
        scaling_law.fit(given, form)
