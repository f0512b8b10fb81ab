"""How a metric grows with the data (Fig. 4): a curve through all seeds' points, with intervals valid from 3 seeds.

    log     y = a + b · ln(n / N)         N is the largest n, so a is the value there
    power   y = a − b · (n / N)^−c        b > 0, c > 0: saturates at a, b short of it at N

A seed is one replicate of the whole curve (its points share weights and order), so intervals are Student's t over
seeds, n_seeds − 1 degrees of freedom: each seed moves the parameters by its own residuals (the delta method; exact for
log). On planted curves the pointwise band covered 95 % at 3, 5 and 8 seeds, either form; a percentile bootstrap over
seeds covered 74, 85 and 88 % (500 curves each).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from swimlab.stats.intervals import ALPHA, Interval, interval

Form = Literal["log", "power"]
Floats = NDArray[np.float64]

GRID = 60
# Below, a power law is a logarithm to three digits over about a decade of n, as is usually measured; above,
# only one point is off the plateau.
LEAST_C, MOST_C = 0.05, 8.0


@dataclass(frozen=True)
class Scaling:
    """A fitted curve. `parameters`: name → estimate with its 95 % interval over seeds; `n`, `curve`, `low`, `high`: the
    curve and its pointwise band from the smallest n to the largest; `miss`: the largest distance of a mean over seeds
    from the curve; `seeds`: those that have every n; other seeds are not used. `low` and `high` are empty for a
    single seed. `bends` is None with fewer than two seeds or four n."""

    form: Form
    parameters: Mapping[str, Interval]
    n: tuple[float, ...]
    curve: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    seeds: tuple[int, ...]
    miss: float
    bends: bool | None
    sentence: str


def fit(points: Mapping[float, Mapping[int, float]], form: Form | None = None, alpha: float = ALPHA) -> Scaling:
    """`points`: amount of data → seed → metric. `form` None: the power law where the seeds show that the curve bends
    (the t interval of their quadratic terms in ln n excludes 0) and it can be fitted, else the logarithm.

    Raises ValueError for fewer than three n (four for a power law), an n that is not positive, a value that is not
    finite, or no seed that has every n.
    """
    x, y_SN, seeds = _matrix(points)
    bends = _bends(x, y_SN, alpha)
    theta = None
    if form == "power" or (form is None and bends):
        theta = _power_law(x, y_SN.mean(0))
        if theta is None and form == "power":
            raise ValueError(f"no saturating power law fits: c is not inside {LEAST_C:g}…{MOST_C:g}; use form='log'")
    fitted_form: Form = "log" if theta is None else "power"
    if theta is None:
        theta = np.linalg.lstsq(_log_design(x), y_SN.mean(0), rcond=None)[0]
    grid = np.geomspace(x[0], 1.0, GRID)
    curve, slopes = _curve(fitted_form, theta, grid), _slopes(fitted_form, theta, grid)
    # One Gauss-Newton step from the common curve to each seed's own.
    steps_SP = (y_SN - _curve(fitted_form, theta, x)) @ np.linalg.pinv(_slopes(fitted_form, theta, x)).T
    names = ("a", "b") if fitted_form == "log" else ("a", "b", "c")
    parameters = {
        name: _centred(interval((theta[i] + steps_SP[:, i]).tolist(), alpha), float(theta[i]))
        for i, name in enumerate(names)
    }
    half = _half_width(steps_SP @ slopes.T, alpha)
    largest = float(max(points))
    miss = float(np.abs(y_SN.mean(0) - _curve(fitted_form, theta, x)).max())
    return Scaling(
        form=fitted_form,
        parameters=parameters,
        n=tuple((grid * largest).tolist()),
        curve=tuple(curve.tolist()),
        low=() if half is None else tuple((curve - half).tolist()),
        high=() if half is None else tuple((curve + half).tolist()),
        seeds=seeds,
        miss=miss,
        bends=bends,
        sentence=_sentence(fitted_form, parameters, miss, len(seeds), largest),
    )


def _matrix(points: Mapping[float, Mapping[int, float]]) -> tuple[Floats, Floats, tuple[int, ...]]:
    """n over the largest n (ascending), values (seeds, n), and the seeds that have every n."""
    amounts = sorted(points)
    if len(amounts) < 3:
        raise ValueError(f"a curve needs at least three amounts of data, got {amounts}")
    if not all(math.isfinite(n) and n > 0 for n in amounts):
        raise ValueError(f"amounts of data must be positive numbers, got {amounts}")
    seeds = tuple(sorted(set.intersection(*(set(points[n]) for n in amounts))))
    if not seeds:
        raise ValueError(f"no seed has a value at every amount of data {amounts}")
    values = np.array([[points[n][seed] for n in amounts] for seed in seeds], float)
    if not np.isfinite(values).all():
        raise ValueError("a curve needs finite values")
    return np.array(amounts, float) / amounts[-1], values, seeds


def _log_design(x: Floats) -> Floats:
    return np.stack([np.ones_like(x), np.log(x)], axis=-1)


def _bends(x: Floats, y_SN: Floats, alpha: float) -> bool | None:
    """Whether the seeds agree that the curve bends. Exact for normal seeds: each has its own quadratic term in ln n."""
    if len(y_SN) < 2 or len(x) < 4:
        return None
    design = np.stack([np.ones_like(x), np.log(x), np.log(x) ** 2], axis=-1)
    quadratic = interval(np.linalg.lstsq(design, y_SN.T, rcond=None)[0][2].tolist(), alpha)
    return quadratic.high is not None and quadratic.high < 0


def _power_law(x: Floats, y: Floats) -> Floats | None:
    """(a, b, c) by least squares: a and b are linear once c is given. None when c is at a bound or the curve falls."""
    if len(x) < 4:
        raise ValueError(f"a power law has three parameters: it needs at least four amounts of data, got {len(x)}")

    def linear(c: float) -> tuple[Floats, float]:
        design = np.stack([np.ones_like(x), -(x**-c)], axis=-1)
        coefficients: Floats = np.linalg.lstsq(design, y, rcond=None)[0].astype(np.float64)
        return coefficients, float(np.sum((design @ coefficients - y) ** 2))

    # A scan first: the error may have a valley at either end.
    scan = np.geomspace(LEAST_C, MOST_C, 40)
    best = int(np.argmin([linear(c)[1] for c in scan]))
    if best in (0, len(scan) - 1):
        return None
    # 0.3 s to import, and most pages fit no trend.
    from scipy import optimize

    minimum = optimize.minimize_scalar(
        lambda c: linear(c)[1], bounds=(scan[best - 1], scan[best + 1]), method="bounded", options={"xatol": 1e-9}
    )
    (a, b), c = linear(minimum.x)[0], float(minimum.x)
    return np.array([a, b, c]) if b > 0 else None


def _curve(form: Form, theta: Floats, x: Floats) -> Floats:
    values: Floats = theta[0] + theta[1] * np.log(x) if form == "log" else theta[0] - theta[1] * x ** -theta[2]
    return values


def _slopes(form: Form, theta: Floats, x: Floats) -> Floats:
    """Derivatives by the parameters (points, parameters)."""
    if form == "log":
        return _log_design(x)
    decay = x ** -theta[2]
    return np.stack([np.ones_like(x), -decay, theta[1] * decay * np.log(x)], axis=-1)


def _half_width(moves_SN: Floats, alpha: float) -> Floats | None:
    count = len(moves_SN)
    if count < 2:
        return None
    critical = special.stdtrit(count - 1, 1 - alpha / 2)
    half: Floats = critical * moves_SN.std(0, ddof=1) / math.sqrt(count)
    return half


def _centred(estimate: Interval, value: float) -> Interval:
    """The interval around the estimate itself: the seeds' steps average to 0 up to rounding."""
    if estimate.low is None or estimate.high is None:
        return Interval(estimate.n, value)
    half = (estimate.high - estimate.low) / 2
    return Interval(estimate.n, value, estimate.sd, value - half, value + half)


def _sentence(form: Form, parameters: Mapping[str, Interval], miss: float, seeds: int, largest: float) -> str:
    def formatted(estimate: Interval, factor: float = 1.0) -> str:
        value = f"{estimate.mean * factor:.3g}"
        if estimate.low is None or estimate.high is None:
            return f"{value} (one seed: no interval)"
        return f"{value} [{estimate.low * factor:.3g}, {estimate.high * factor:.3g}]"

    within = f"the curve misses no mean by more than {miss:.2g}"
    over = f"over {seeds} seed{'s' * (seeds != 1)}"
    if form == "log":
        slope = parameters["b"]
        doubling = f"Twice the data adds {formatted(slope, math.log(2))} {over}"
        open_ = slope.low is None or slope.high is None or slope.low <= 0 <= slope.high
        return f"{doubling}{'; whether it helps is open' if open_ else ''}; {within}."
    top, decay = parameters["a"], parameters["c"]
    gap = parameters["b"].mean
    return (
        f"More data saturates at {formatted(top)} (exponent {formatted(decay)}) {over}; at n = {largest:g} the "
        f"curve is {gap:.3g} short of that; {within}."
    )
