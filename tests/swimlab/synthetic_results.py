"""An ablation whose trials were never trained: records with planted numbers, committed to a real local store."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from swim import recipes
from swim.outputs import FilmFrame, MetricPoint, Overlay
from swimlab.experiment.ablation import Ablation
from swimlab.experiment.results import ArmResult, Results
from swimlab.store.arrow_tables import film_table, metrics_table, overlays_table, to_parquet
from swimlab.store.evaluation_records import TrialResult
from swimlab.store.records import Cost, Provenance, TrialRecord
from swimlab.store.sweep_store import SweepStore

NUMERICS: dict[str, str | int] = {
    "torch": "2.13.0",
    "transformers": "5.23.0",
    "device": "cpu",
    "dtype": "float32",
    "world_size": 1,
    "cpu_capability": "AVX512",
}
START = "5eed" * 16


def curve(steps: int, floor: float, seed: int) -> list[MetricPoint]:
    noise = np.random.default_rng(seed)
    points = []
    for step in range(1, steps + 1):
        fade = float(np.exp(-step / (steps / 4)))
        points.append(MetricPoint(step=step, name="train.text_loss", value=1.2 + 2 * fade + 0.06 * noise.normal()))
        points.append(MetricPoint(step=step, name="train.mask_loss", value=floor + fade + 0.03 * noise.normal()))
        points.append(MetricPoint(step=step, name="train.lr", value=2e-3 * min(step / 20, 1) * (1 - step / steps)))
    return points


def overlay(noun: str, sharpness: float, seed: int, index: int) -> Overlay:
    """A disc on a gradient, 64×64 px over 8×8 cells and two patches; the map is a bump plus noise."""
    rng = np.random.default_rng(1000 + index)
    centre = rng.uniform(18, 46, 2)
    y, x = np.mgrid[:64, :64]
    mask_HW = (np.hypot(y - centre[0], x - centre[1]) < 10).astype(np.uint8)
    colour = rng.integers(60, 240, 3)
    background = np.stack([70 + x, 90 + y / 2, 120 + 0 * x], -1) + rng.normal(0, 12, (64, 64, 3))
    frame_HWC = np.where(mask_HW[..., None], colour, background.clip(0, 255)).astype(np.uint8)
    cy, cx = np.mgrid[:8, :8] * 8 + 4
    noise = np.random.default_rng(seed).random((8, 8))
    bump = np.exp(-((cy - centre[0]) ** 2 + (cx - centre[1]) ** 2) / 160) * sharpness + noise * (1 - sharpness) * 0.8
    map_THW = np.stack([bump, bump]).astype(np.float32)
    map_THW /= map_THW.sum()
    return Overlay(
        key=f"clip_{index:04d}",
        tag=0,
        noun=noun,
        question=f"Describe the {noun}.",
        grid=(2, 8, 8),
        frame_size=(64, 64),
        frames=np.stack([frame_HWC] * 2).tobytes(),
        masks=np.stack([mask_HW] * 2).tobytes(),
        map=map_THW.tobytes(),
        annotated=(True, False),
    )


def film_frames(nouns: tuple[str, ...], sharpness: float, seed: int, steps: tuple[int, ...]) -> list[FilmFrame]:
    """Maps that grow from noise to what `overlay` has."""
    frames = []
    for step in steps:
        for i, noun in enumerate(nouns):
            now = overlay(noun, sharpness * step / steps[-1], seed, i)
            frames.append(FilmFrame(step=step, key=now.key, tag=now.tag, noun=now.noun, grid=now.grid, map=now.map))
    return frames


def committed(
    ablation: Ablation,
    folder: Path | str,
    metrics: Callable[[str, int], Mapping[str, float]],
    *,
    nouns: tuple[str, ...] = ("lemon", "plum"),
    failures: Mapping[tuple[str, int], str] = {},
    missing: frozenset[tuple[str, int]] = frozenset(),
    numerics: Callable[[str, int], dict[str, str | int]] = lambda arm, seed: NUMERICS,
    start_weights: Callable[[str, int], str | None] = lambda arm, seed: START,
    quarantine: Mapping[str, int] = {},
    recipe_name: str | None = None,
    steps: int = 40,
    filmed: tuple[int, ...] = (),
    same: Mapping[str, str] = {},
    seedless: tuple[str, ...] = (),
) -> Results:
    """Results of every planned trial, but for those that failed or are missing. `filmed`: steps with maps, none without
    a film; no curves without `steps`, no maps without `nouns`; `same`: arm → the arm above it whose trials it is;
    `seedless`: arms that are one trial under every seed."""
    store = SweepStore(str(folder))
    recipe = recipes.named(ablation.recipe)
    if recipe_name:
        recipe = recipe.model_copy(update={"name": recipe_name})
    trials = []
    for planned in ablation.plan(recipe):
        arm, seed = planned.arm, planned.seed
        run = f"{same.get(arm, arm)}/{0 if arm in seedless else seed}"
        trial_id = hashlib.sha256(run.encode()).hexdigest()[:32]
        record = store.record(trial_id)
        if record is None and (arm, seed) not in failures and (arm, seed) not in missing:
            attempt = store.claim(trial_id)
            assert attempt is not None
            values = dict(metrics(arm, seed))
            sharpness = min(0.98, max(0.05, next(iter(values.values()))))
            if steps:
                attempt.put("metrics.parquet", to_parquet(metrics_table(curve(steps, 1 - sharpness, seed))))
            maps = [overlay(noun, sharpness, seed * 31 + i, i) for i, noun in enumerate(nouns)]
            if maps:
                attempt.put("overlays.parquet", to_parquet(overlays_table(maps)))
            if filmed:
                frames = film_frames(nouns, sharpness, seed * 31, filmed)
                attempt.put("film.parquet", to_parquet(film_table(frames)))
            record = TrialRecord(
                trial_id=trial_id,
                attempt=attempt.number,
                nonce=attempt.nonce,
                recipe=planned.recipe.model_dump(mode="json"),
                recipe_name=recipe.name,
                seed=seed,
                init_trial_id="b" * 32,
                start_weights=start_weights(arm, seed),
                code_fingerprint="c0de" * 8,
                data_fingerprint="da7a" * 8,
                metrics=values,
                files=attempt.files,
                cost=Cost(
                    wall_s=46.0 + seed,
                    cpu_s=41.5,
                    train_s=38.0,
                    eval_s=5.0,
                    peak_rss_bytes=900_000_000,
                    tokens_per_s=12_000.0 + 100 * seed,
                    mfu=0.37,
                ),
                provenance=Provenance(
                    git_sha="0123abc",
                    git_dirty=False,
                    versions={"python": "3.11.9", "torch": "2.13.0", "ray": "2.60.0"},
                    host="laptop",
                    numerics=numerics(arm, seed),
                    started_at="2026-01-05T10:00:00+00:00",
                    finished_at="2026-01-05T10:00:46+00:00",
                ),
            )
            assert store.commit(attempt, record)
        result = TrialResult.of(record, ()) if record else None
        trials.append(ArmResult(arm, seed, trial_id, result, failures.get((arm, seed))))
    return Results(ablation, recipe, tuple(trials), store, dict(quarantine), wall_s=431.0)
