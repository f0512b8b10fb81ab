"""Does the whole way work on a real checkpoint?  20 clips, 20 steps, the attention and the answers before and after.

    python experiments/systems/real_check.py                        # SmolVLM-500M from the hub, embedded clips
    python experiments/systems/real_check.py --model FOLDER --annotations rows.json --videos FOLDER --out checked

The default needs a network, and downloads 1 GB because you run it. Loads the weights, trains adapters (`--full`: all
weights of the text tower) and writes one page, OUT/index.html, and the numbers, OUT/real_check.json. Scores are of the
clips that were trained on: they show that training reaches the attention, not that it generalises.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

import real_check_page
from real_check_page import Look, Report
from swim import models
from swim.data.annotations.samples import parse_row, require_marked
from swim.data.family import family_of
from swim.data.rows.read import read_rows
from swim.data.synthetic import shapes_world
from swim.data.types import Clip, DataError
from swim.data.video.decode import decode_sample
from swim.evaluation.attention_config import AttentionConfig
from swim.evaluation.evaluate import evaluate
from swim.evaluation.generate import Decoding, Prompt, generate
from swim.models.vision import prepare_vision
from swim.recipe import FramePolicy, HubModel, Lora, NLReferFiles, Objective, Optim, Readout, Recipe, ShapesWorld
from swim.supervision.objective import stock
from swim.train import Host, Moment, Trained, encoder_for, train
from swimlab.execution.speed import SpeedMeter

MODEL = "HuggingFaceTB/SmolVLM2-500M-Video-Instruct"
CLIPS, STEPS, BATCH = 20, 20, 2
PICTURES, ANSWERS, ANSWER_TOKENS = 6, 6, 64
FRAMES, SIDE = 8, 448  # of a clip; pixels


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=MODEL, help="a folder, or a model of the hub, which is downloaded")
    parser.add_argument("--annotations", help="rows in any format that swim reads; default: embedded clips are drawn")
    parser.add_argument("--videos", help="folder of the rows' videos; default: the annotations' own")
    parser.add_argument("--clips", type=int, default=CLIPS, help="how many: the first usable rows")
    parser.add_argument("--steps", type=int, default=STEPS, help="optimiser steps")
    parser.add_argument("--batch", type=int, default=BATCH, help="conversations a step")
    parser.add_argument("--side", type=int, default=SIDE, help="most pixels of a frame are its square, least a quarter")
    parser.add_argument("--lr", type=float, default=1e-4, help="learning rate")
    parser.add_argument("--full", action="store_true", help="train all weights of the text tower, not adapters")
    parser.add_argument("--out", type=Path, default=Path("real-check"), help="folder of the page and the numbers")
    chosen = parser.parse_args(argv)
    for name in ("clips", "steps", "batch", "side"):
        if getattr(chosen, name) < 1:
            parser.error(f"--{name} {getattr(chosen, name)}: give 1 or more")
    return chosen


def recipe_of(chosen: argparse.Namespace, annotations: str, videos: str) -> Recipe:
    """The recipe of the check: adapters on the text tower, the paper's objective."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(chosen.model)
    layers, cell_px = config.get_text_config().num_hidden_layers, family_of(config).cell_px
    on_gpu = torch.cuda.is_available()
    frames = FramePolicy(max_frames=FRAMES, min_pixels=chosen.side**2 // 4, max_pixels=chosen.side**2, cell_px=cell_px)
    supervised = f"even:{min(6, layers)}"
    return Recipe(
        name="real-check",
        model=HubModel(
            path=chosen.model,
            family=config.model_type.replace("_", "-"),
            dtype="bfloat16" if on_gpu else "float32",
            layers=layers,
            cell_px=cell_px,
            lora=None if chosen.full else Lora(),
        ),
        data=NLReferFiles(annotations=(annotations,), videos=videos, frames=frames),
        objective=Objective(layers=supervised),
        optim=Optim(steps=chosen.steps, batch=chosen.batch, lr=chosen.lr, warmup_steps=min(2, chosen.steps - 1)),
        evaluation={"attention": AttentionConfig(readout=Readout(layers=supervised), overlays=PICTURES)},
    )


def draw_rows(many: int, folder: Path) -> str:
    """Draws embedded clips, of hard objects, and their rows; returns the annotation file."""
    world = ShapesWorld(clips=many, held_out=1, difficulty="hard-look")
    file = folder / "rows.json"
    file.write_text(json.dumps(shapes_world.write(world, "train", range(many), folder)))
    return str(file)


def load_clips(data: NLReferFiles, many: int) -> tuple[list[Clip], list[DataError]]:
    """The first `many` usable rows as clips, and why others before them are not usable."""
    clips: list[Clip] = []
    errors: list[DataError] = []
    for file in data.annotations:
        for number, raw in read_rows(file):
            if len(clips) == many:
                return clips, errors
            try:
                sample = require_marked(parse_row(raw, file=file, row=number))
                clips.append(decode_sample(sample, data.videos, data.frames))
            except DataError as error:
                errors.append(error)
    return clips, errors


def look_at(recipe: Recipe, trained: Trained, clips: Sequence[Clip]) -> Look:
    """Scores, maps and answers of a model."""
    evaluated = evaluate(recipe, trained, clips, micro_batch=1)
    prompts = [Prompt(clip, clip.turns[0].human) for clip in clips[:ANSWERS]]
    answers = generate(recipe, trained, prompts, Decoding(max_new_tokens=ANSWER_TOKENS), batch_size=1)
    return Look(evaluated.metrics, evaluated.overlays, answers)


def untrained(recipe: Recipe, device: torch.device) -> Trained:
    """The checkpoint as it is, read as training reads it."""
    model, tokenizer = models.build(recipe.model)
    prepare_vision(stock(model), device)
    return Trained(model.to(device).eval(), tokenizer, encoder_for(recipe, model, tokenizer), [])


def check(chosen: argparse.Namespace, scratch: Path) -> Report:
    """The whole way. Raises SystemExit where no row is usable."""
    annotations = chosen.annotations or draw_rows(chosen.clips, scratch)
    recipe = recipe_of(chosen, annotations, chosen.videos or str(Path(annotations).absolute().parent))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    assert isinstance(recipe.data, NLReferFiles)
    clips, left_out = load_clips(recipe.data, chosen.clips)
    if not clips:
        raise SystemExit(f"no row of {annotations} is usable: {left_out[0] if left_out else 'it has none'}")
    before = look_at(recipe, untrained(recipe, device), clips)
    meter = SpeedMeter(device, world=1)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)

    def on_step(step: int, values: dict[str, float], now: Moment) -> None:
        meter.step(now, 0.0)
        print(f"step {step} of {recipe.optim.total_steps}: loss {values['loss']:.4f}", flush=True)

    began_s = time.monotonic()
    trained = train(recipe, clips, host=Host(device=device, on_step=on_step))
    took_s = time.monotonic() - began_s
    return Report(
        recipe=recipe,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        clips=clips,
        left_out=[str(error) for error in left_out],
        embedded=chosen.annotations is None,
        before=before,
        after=look_at(recipe, trained, clips),
        curve=trained.curve,
        train_s=took_s,
        speed=asdict(meter.speed) if meter.speed else {},
        peak_device_bytes=torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """0 where training lowered the loss, 1 where it did not, whatever attention and answers did."""
    chosen = arguments(argv)
    with TemporaryDirectory(prefix="real-check-") as scratch:
        report = check(chosen, Path(scratch))
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "index.html").write_text(real_check_page.page(report), encoding="utf-8")
    (chosen.out / "real_check.json").write_text(json.dumps(real_check_page.numbers(report), indent=1))
    print(real_check_page.summary(report))
    print(f"page {chosen.out / 'index.html'}")
    return 0 if report.learned else 1


if __name__ == "__main__":
    raise SystemExit(main())
