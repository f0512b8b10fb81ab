"""Drawing a clip of the embedded data set: attributes first, then feasible paths, then pixels.

Dimensions: N objects, T = 4 frames, H × W = 64 × 64 pixels, C = RGB; S × S is the canvas of one object.
A clip depends on (seed, split, index) alone, not on a global generator, the order of drawing or the process.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from swim.data.synthetic.vocabulary import MOTIONS, NOUNS, PATTERNS, SIZES, VALUES
from swim.recipe import ShapesWorld

FRAMES, SIDE_PX = 4, 64
# The position of a split is part of the seed of its clips: a new one is added behind the others.
Split = Literal["train", "held_out", "validation"]

# Outlines of equal area, so that the outline does not reveal the size: corners (0: a disc) → circumradius.
_OUTLINES = {n: math.sqrt(math.pi / (n / 2 * math.sin(2 * math.pi / n))) for n in (3, 4, 6)} | {0: 1.0}
_STRIPE_PX = 2  # one dark and one light band in each 4 px patch of the tiny vision tower
_SPEED_PX = (4, 6)  # per frame, both included: 12-18 px over a clip, one and a half to two visual tokens
_TRIES, _RELAXING_RESTARTS, _RESTARTS = 20, 10, 400


@dataclass(frozen=True)
class Difficulty:
    """One setting of the drawing. Lengths are fractions of the frame's side, colours run over 0-255."""

    radius: tuple[float, float]  # of a small and of a large object: the ratio decides how easy the size is to see
    grey: tuple[float, float]  # share of mid-grey in a colour: the noun is its colour, so this makes it harder to see
    jitter: float  # uniform, ± on each channel of an object: makes the colours of nouns less distinct
    noise: float  # standard deviation, per pixel, channel and frame
    hidden: tuple[float, float]  # share of an object others may cover; rises to the second while there is no room
    dark: float  # brightness of the dark bands: how easy the pattern is to see
    twins: bool = False  # two objects share a noun, told apart by their size or by their pattern


DIFFICULTIES: Mapping[str, Difficulty] = {
    # Everything is easy to see, so that a failure is one of the mechanism: for the smoke test and the control.
    "easy": Difficulty(radius=(0.10, 0.18), grey=(0, 0), jitter=10, noise=4, hidden=(0.2, 0.6), dark=0.35),
    # Finding the noun is the difficulty, so that fusions and losses differ in where they look.
    "hard-look": Difficulty(radius=(0.07, 0.12), grey=(0.5, 0.8), jitter=20, noise=18, hidden=(0.5, 0.6), dark=0.35),
    # The attribute decides which object is meant, so it is drawn clearly; the colour alone is not enough.
    "hard-twins": Difficulty((0.07, 0.155), grey=(0, 0), jitter=10, noise=4, hidden=(0.2, 0.6), dark=0.12, twins=True),
}


@dataclass(frozen=True)
class DrawnObject:
    """The attributes of one object. `revealed` names the attribute that its question must contain, "" for none."""

    noun: str
    size: str
    pattern: str
    motion: str
    revealed: str = ""


@dataclass(frozen=True)
class DrawnClip:
    """A drawn clip. `objects` are in drawing order: later ones cover earlier ones. `order` is the order of the
    sentences, `asked` the order of the properties that prompts "ask" ask about (empty for others)."""

    frames_THWC: NDArray[np.uint8]
    masks_NTHW: NDArray[np.uint8]  # 1 where the object is visible
    objects: tuple[DrawnObject, ...]
    order: tuple[int, ...]
    asked: tuple[str, ...] = ()


def draw(config: ShapesWorld, split: Split, index: int) -> DrawnClip:
    """Draws clip `index` of a split. Every object is visible in every frame.

    Raises ValueError for an unknown split, for prompts that do not fit the difficulty, and when the objects do not fit.
    """
    if split not in get_args(Split):
        raise ValueError(f"split is {split!r}: choose one of {get_args(Split)}")
    difficulty = DIFFICULTIES[config.difficulty]
    if (config.prompts == "attribute") != difficulty.twins or (difficulty.twins and config.objects < 2):
        raise ValueError(
            f"prompts {config.prompts!r}, difficulty {config.difficulty!r} and {config.objects} object(s) do not go "
            "together: prompts 'attribute' and difficulty 'hard-twins' need each other, and at least 2 objects"
        )
    asks = config.prompts == "ask"
    if asks and (config.objects not in (1, 2, 4) or config.turns > len(VALUES)):
        raise ValueError(
            f"prompts 'ask' with {config.objects} objects and {config.turns} turns: data.objects must be 1, 2 or 4 (of "
            "several half have each size and pattern, and no motion repeats), data.turns at most "
            f"{len(VALUES)} (of two questions about one property the first half answers the second)"
        )
    seed = np.random.SeedSequence([config.seed, get_args(Split).index(split), index])
    rng = np.random.Generator(np.random.PCG64(seed))
    objects = _draw_objects(rng, config.objects, twins=difficulty.twins, balanced=asks)
    order = tuple(int(i) for i in rng.permutation(config.objects))
    asked = tuple(list(VALUES)[i] for i in rng.permutation(len(VALUES))) if asks else ()
    stencils = [_stencil(rng, difficulty.radius[SIZES.index(obj.size)] * SIDE_PX) for obj in objects]
    corners_NT2, owner_THW = _place(rng, difficulty, stencils, [obj.motion for obj in objects], config)
    return DrawnClip(
        frames_THWC=_paint(rng, difficulty, objects, stencils, corners_NT2),
        masks_NTHW=(owner_THW == np.arange(len(objects))[:, None, None, None]).astype(np.uint8),
        objects=objects,
        order=order,
        asked=asked,
    )


@cache
def calibration_frames(n: int) -> NDArray[np.uint8]:
    """[n, 4, 64, 64, 3], read-only: easy clips of a seed of their own, to standardise a random vision tower without any
    file. Kept, since a process that runs trials builds a model for each."""
    config = ShapesWorld(seed=2**31)
    frames_NTHWC = np.stack([draw(config, "train", index).frames_THWC for index in range(n)])
    frames_NTHWC.setflags(write=False)
    return frames_NTHWC


def _draw_objects(rng: np.random.Generator, n: int, *, twins: bool, balanced: bool) -> tuple[DrawnObject, ...]:
    """Attributes, independent and uniform, motions included: paths are drawn to suit the motion. `balanced`: of
    several, half have each size and pattern, and no motion repeats."""
    nouns = [list(NOUNS)[i] for i in rng.permutation(len(NOUNS))[:n]]
    if balanced:
        sizes, patterns = (rng.permutation((np.arange(n) + rng.integers(2)) % 2) for _ in range(2))
        motions = rng.permutation(len(MOTIONS))[:n]
    else:
        sizes, patterns = rng.integers(2, size=n), rng.integers(2, size=n)
        motions = rng.integers(len(MOTIONS), size=n)
    revealed = [""] * n
    if twins:
        first, second = (int(i) for i in rng.permutation(n)[:2])
        attribute, values = (("size", sizes), ("pattern", patterns))[rng.integers(2)]
        nouns[second], values[second] = nouns[first], 1 - values[first]
        revealed[first] = revealed[second] = attribute
    return tuple(
        DrawnObject(nouns[i], SIZES[sizes[i]], PATTERNS[patterns[i]], list(MOTIONS)[motions[i]], revealed[i])
        for i in range(n)
    )


def _stencil(rng: np.random.Generator, radius_px: float) -> NDArray[np.bool_]:
    """[S, S]: a disc or a regular polygon, turned at random, of area π · radius²."""
    corners = int(rng.choice(list(_OUTLINES)))
    turn = rng.uniform(0, 2 * math.pi)
    reach_px = radius_px * _OUTLINES[corners]
    half = math.ceil(reach_px)
    y_S1, x_1S = np.ogrid[-half : half + 1, -half : half + 1]
    if not corners:
        return np.asarray(x_1S**2 + y_S1**2 <= reach_px**2)
    sector = 2 * math.pi / corners
    angle_SS = (np.arctan2(y_S1, x_1S) + turn) % sector - sector / 2
    return np.asarray(np.hypot(x_1S, y_S1) * np.cos(angle_SS) <= reach_px * math.cos(sector / 2))


def _place(
    rng: np.random.Generator,
    difficulty: Difficulty,
    stencils: Sequence[NDArray[np.bool_]],
    motions: Sequence[str],
    config: ShapesWorld,
) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """Paths by rejection: the canvases' top left corners (row, column) per frame, and the number of the
    visible object at each pixel (-1 for none).

    Attributes are not redrawn, so rejection biases the positions of objects, not their attributes.
    """
    n = len(stencils)
    area_N = np.array([stencil.sum() for stencil in stencils])
    for restart in range(_RESTARTS):
        hidden = np.interp(restart, (0, _RELAXING_RESTARTS), difficulty.hidden)
        corners_NT2 = np.zeros((n, FRAMES, 2), dtype=np.int64)
        owner_THW = np.full((FRAMES, SIDE_PX, SIDE_PX), -1, dtype=np.int8)
        for i, stencil in enumerate(stencils):
            for _ in range(_TRIES):
                corners_NT2[i] = _path(rng, MOTIONS[motions[i]], len(stencil))
                trial_THW = owner_THW.copy()
                for frame_HW, (y, x) in zip(trial_THW, corners_NT2[i], strict=True):
                    frame_HW[y : y + len(stencil), x : x + len(stencil)][stencil] = i
                visible_TN = np.stack([np.bincount(frame.ravel() + 1, minlength=n + 1)[1:] for frame in trial_THW])
                if (visible_TN >= (1 - hidden) * area_N)[:, : i + 1].all():
                    owner_THW = trial_THW
                    break
            else:
                break
        else:
            return corners_NT2, owner_THW
    raise ValueError(
        f"{n} objects do not fit a {SIDE_PX} px frame at difficulty {config.difficulty!r} (seed {config.seed}): "
        "lower data.objects"
    )


def _path(rng: np.random.Generator, step: tuple[int, int], side: int) -> NDArray[np.int64]:
    """[T, 2]: whole pixels at constant speed, the canvas inside the frame from the first frame to the last."""
    step_2 = np.array(step) * rng.integers(_SPEED_PX[0], _SPEED_PX[1] + 1)
    total_2 = step_2 * (FRAMES - 1)
    start_2 = rng.integers(-np.minimum(0, total_2), SIDE_PX - side - np.maximum(0, total_2) + 1)
    return np.asarray(start_2 + np.arange(FRAMES)[:, None] * step_2)


def _paint(
    rng: np.random.Generator,
    difficulty: Difficulty,
    objects: Sequence[DrawnObject],
    stencils: Sequence[NDArray[np.bool_]],
    corners_NT2: NDArray[np.int64],
) -> NDArray[np.uint8]:
    frames_THWC = np.full((FRAMES, SIDE_PX, SIDE_PX, 3), rng.uniform(40, 80))
    for obj, stencil, corners_T2 in zip(objects, stencils, corners_NT2, strict=True):
        colour_C = np.array(NOUNS[obj.noun], dtype=np.float64)
        colour_C += rng.uniform(*difficulty.grey) * (128 - colour_C)
        colour_C += rng.uniform(-difficulty.jitter, difficulty.jitter, size=3)
        canvas_SSC = np.broadcast_to(colour_C, (*stencil.shape, 3)).copy()
        if obj.pattern == "striped":
            bands_S = np.arange(len(stencil)) // _STRIPE_PX % 2 == 1
            canvas_SSC[bands_S] *= difficulty.dark
        for frame_HWC, (y, x) in zip(frames_THWC, corners_T2, strict=True):
            frame_HWC[y : y + len(stencil), x : x + len(stencil)][stencil] = canvas_SSC[stencil]
    frames_THWC += rng.normal(0, difficulty.noise, frames_THWC.shape)
    return np.asarray(np.clip(np.rint(frames_THWC), 0, 255), dtype=np.uint8)
