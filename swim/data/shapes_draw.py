"""Drawing a clip of the embedded data set: attributes first, then feasible paths, then pixels.

Dimensions: N objects, T = 4 frames, H × W = 64 × 64 pixels, C = RGB; S × S is an object's own little canvas.
A clip depends on (seed, split, index) and nothing else: no global generator, no order, no process.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from swim.data.shapes_words import MOTIONS, NOUNS, PATTERNS, SIZES
from swim.recipe import ShapesWorld

FRAMES, SIDE_PX = 4, 64
Split = Literal["train", "held_out"]

# Equal areas whatever the outline, so that it tells nothing about the size: corners (0: a disc) → circumradius.
_OUTLINES = {n: math.sqrt(math.pi / (n / 2 * math.sin(2 * math.pi / n))) for n in (3, 4, 6)} | {0: 1.0}
_STRIPE_PX = 2  # one dark and one light band in each 4 px patch of the tiny vision tower
_SPEED_PX = (4, 6)  # per frame, both included: 12-18 px over a clip, one and a half to two visual tokens
_TRIES, _RELAXING_RESTARTS, _RESTARTS = 20, 10, 400


@dataclass(frozen=True)
class Difficulty:
    """One setting of the drawing. Lengths are fractions of the frame's side, colours run over 0-255."""

    radius: tuple[float, float]  # of a small and of a large object: the ratio decides how legible the size is
    grey: tuple[float, float]  # how far a colour is pulled to mid-grey: the noun is its colour, so this hides the noun
    jitter: float  # uniform, ± on each channel of an object: blurs the border between the nouns
    noise: float  # standard deviation, per pixel, channel and frame: no single pixel can be trusted
    hidden: tuple[float, float]  # share of an object others may cover; rises to the second while there is no room
    dark: float  # brightness of the dark bands: how legible the pattern is
    twins: bool = False  # two objects share a noun, told apart by their size or by their pattern


DIFFICULTIES: Mapping[str, Difficulty] = {
    # Everything legible, so that a failure is the mechanism's: for the smoke and the control.
    "easy": Difficulty(radius=(0.10, 0.18), grey=(0, 0), jitter=10, noise=4, hidden=(0.2, 0.6), dark=0.35),
    # Finding the noun is the difficulty, so that fusions and losses differ in where they look.
    "hard-look": Difficulty(radius=(0.07, 0.12), grey=(0.5, 0.8), jitter=20, noise=18, hidden=(0.5, 0.6), dark=0.35),
    # The attribute must be read to know which one is meant, so it is drawn boldly; the colour alone does not do.
    "hard-twins": Difficulty((0.07, 0.155), grey=(0, 0), jitter=10, noise=4, hidden=(0.2, 0.6), dark=0.12, twins=True),
}


@dataclass(frozen=True)
class Thing:
    """What is said about one object; `told` names the attribute its question must give away ("" for none)."""

    noun: str
    size: str
    pattern: str
    motion: str
    told: str = ""


@dataclass(frozen=True)
class Scene:
    """A drawn clip. Objects stand in drawing order: later ones cover earlier ones. `order` is for the sentences."""

    frames_THWC: NDArray[np.uint8]
    masks_NTHW: NDArray[np.uint8]  # 1 where the object is visible
    objects: tuple[Thing, ...]
    order: tuple[int, ...]


def draw(config: ShapesWorld, split: Split, index: int) -> Scene:
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
    seed = np.random.SeedSequence([config.seed, get_args(Split).index(split), index])
    rng = np.random.Generator(np.random.PCG64(seed))
    things = _things(rng, config.objects, difficulty.twins)
    order = tuple(int(i) for i in rng.permutation(config.objects))
    stencils = [_stencil(rng, difficulty.radius[SIZES.index(thing.size)] * SIDE_PX) for thing in things]
    corners_NT2, owner_THW = _place(rng, difficulty, stencils, [thing.motion for thing in things], config)
    return Scene(
        frames_THWC=_paint(rng, difficulty, things, stencils, corners_NT2),
        masks_NTHW=(owner_THW == np.arange(len(things))[:, None, None, None]).astype(np.uint8),
        objects=things,
        order=order,
    )


def calibration_frames(n: int) -> NDArray[np.uint8]:
    """[n, 4, 64, 64, 3]: easy clips of a seed of their own, to standardise a random vision tower without any file."""
    config = ShapesWorld(seed=2**31)
    return np.stack([draw(config, "train", index).frames_THWC for index in range(n)])


def _things(rng: np.random.Generator, n: int, twins: bool) -> tuple[Thing, ...]:
    """Attributes, independent and uniform, motions included: a path has to suit its motion, never the reverse."""
    nouns = [list(NOUNS)[i] for i in rng.permutation(len(NOUNS))[:n]]
    sizes, patterns = rng.integers(2, size=n), rng.integers(2, size=n)
    motions = rng.integers(len(MOTIONS), size=n)
    told = [""] * n
    if twins:
        first, second = (int(i) for i in rng.permutation(n)[:2])
        attribute, values = (("size", sizes), ("pattern", patterns))[rng.integers(2)]
        nouns[second], values[second] = nouns[first], 1 - values[first]
        told[first] = told[second] = attribute
    return tuple(
        Thing(nouns[i], SIZES[sizes[i]], PATTERNS[patterns[i]], list(MOTIONS)[motions[i]], told[i]) for i in range(n)
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
    """Paths by rejection: the canvases' top left corners (row, column) per frame, and who is seen at each pixel.

    Attributes are never redrawn, so rejection biases where objects are, not what is said about them.
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
                seen_TN = np.stack([np.bincount(frame.ravel() + 1, minlength=n + 1)[1:] for frame in trial_THW])
                if (seen_TN >= (1 - hidden) * area_N)[:, : i + 1].all():
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
    things: Sequence[Thing],
    stencils: Sequence[NDArray[np.bool_]],
    corners_NT2: NDArray[np.int64],
) -> NDArray[np.uint8]:
    frames_THWC = np.full((FRAMES, SIDE_PX, SIDE_PX, 3), rng.uniform(40, 80))
    for thing, stencil, corners_T2 in zip(things, stencils, corners_NT2, strict=True):
        colour_C = np.array(NOUNS[thing.noun], dtype=np.float64)
        colour_C += rng.uniform(*difficulty.grey) * (128 - colour_C)
        colour_C += rng.uniform(-difficulty.jitter, difficulty.jitter, size=3)
        canvas_SSC = np.broadcast_to(colour_C, (*stencil.shape, 3)).copy()
        if thing.pattern == "striped":
            bands_S = np.arange(len(stencil)) // _STRIPE_PX % 2 == 1
            canvas_SSC[bands_S] *= difficulty.dark
        for frame_HWC, (y, x) in zip(frames_THWC, corners_T2, strict=True):
            frame_HWC[y : y + len(stencil), x : x + len(stencil)][stencil] = canvas_SSC[stencil]
    frames_THWC += rng.normal(0, difficulty.noise, frames_THWC.shape)
    return np.asarray(np.clip(np.rint(frames_THWC), 0, 255), dtype=np.uint8)
