"""Exported checkpoints of every family: stock classes load them, and answer as `swimlab ask` does."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from family_checkpoints import CELL_PX, checkpoint
from store_kit import plausible_record, record_of
from transformers import AutoModelForImageTextToText, AutoTokenizer

import nano
from swim.data.encode import collate
from swim.data.synthetic import shapes_world
from swim.evaluation.generate import Prompt, encode_prompt
from swim.outputs import Answer
from swim.recipe import FramePolicy, ShapesWorld
from swimlab.checkpoints import export
from swimlab.checkpoints.asking import answer, clip_of
from swimlab.checkpoints.load import load
from swimlab.checkpoints.processor_files import frame_policy, processor_of
from swimlab.store.sweep_store import SweepStore

QUESTION = "Describe the lemon."
CHAT = [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": QUESTION}]}]
TOKENS = 8
TIE = 1e-4
# LLaVA's processor shrinks 64 px to 10 in whole numbers, we in fp32: three levels of 255 apart. Others do not resize.
PIXELS = {"llava_onevision": 0.025}
CPU = torch.device("cpu")
# Of SmolVLM frames are squares of its tower's side: on a CPU its processor interpolates otherwise than we do.
SIDES = {"smolvlm": 12}
PYTHON = Path(__file__).parents[3] / ".venv-lmms" / "bin" / "python"


@dataclass
class Asked:
    """A trial, its exported folder, and what the trial answers."""

    store: SweepStore
    folder: Path
    video: str
    answered: Answer
    inputs: dict[str, torch.Tensor]

    def agrees(self, said: list[int]) -> bool:
        """Whether stock classes said the same, until the answer ended; weights of tests name no token that ends one. A
        token that leads by less than rounding may be another."""
        ours, leads = list(self.answered.token_ids), self.answered.leads
        first = next((i for i, (a, b) in enumerate(zip(ours, said, strict=False)) if a != b), None)
        return first is None or leads[first] < TIE


def asked(name: str, folder: Path) -> Asked:
    """A trial of a family with fresh weights, exported; the weights are spread out, so that answers differ."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        spec = checkpoint(name, folder / "base")
    model = AutoModelForImageTextToText.from_pretrained(folder / "base")
    with torch.no_grad():
        model.lm_head.weight.normal_(generator=torch.Generator().manual_seed(1))
    model.save_pretrained(folder / "base")
    side = SIDES.get(name, 64)
    frames = FramePolicy(max_frames=4, min_pixels=64, max_pixels=side**2, cell_px=spec.cell_px)
    recipe = nano.recipe(base=False, **{"model": spec, "data.frames": frames, "objective.layers": (0, 1)})
    store = SweepStore(str(folder / "store"))
    attempt = store.claim(name)
    assert attempt is not None
    attempt.put_dir(folder / "base", "checkpoint")
    record = record_of(attempt, plausible_record, recipe=recipe.model_dump(mode="json"))
    assert store.commit(attempt, record)
    export.write_checkpoint(store, record, folder / "out", "merged", "card")
    (row,) = shapes_world.write(ShapesWorld(clips=1, held_out=1), "held_out", range(1), folder)
    video = str(folder / row["video"])
    with load(name, store.uri, CPU) as model:
        clip = clip_of(video, QUESTION, model.recipe.data.frames)
        np.save(folder / "frames.npy", clip.frames_THWC)
        (folder / "clip.json").write_text(json.dumps({"fps": clip.fps, "frames_indices": list(clip.frame_indices)}))
        inputs = collate([encode_prompt(model.trained.encoder, Prompt(clip, QUESTION))[0]], 0).inputs
        said = answer(model, clip, QUESTION, TOKENS)
    return Asked(store, folder / "out", video, said, inputs)


@pytest.mark.parametrize("name", [name for name in CELL_PX if name != "qwen2_5_vl"])  # test_export.py has that one
def test_an_exported_family_answers_as_its_trial(name: str, tmp_path: Path) -> None:
    trial = asked(name, tmp_path)
    assert len(set(trial.answered.token_ids)) > 2
    with load(str(trial.folder), "none", CPU) as model:
        recipe, family = model.recipe, model.trained.encoder.family
        assert recipe.data.frames == frame_policy(trial.folder, CELL_PX[name])
        clip = clip_of(trial.video, QUESTION, recipe.data.frames)
        assert answer(model, clip, QUESTION, TOKENS) == trial.answered
    tokenizer = AutoTokenizer.from_pretrained(trial.folder)
    text = tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
    shown = "".join(family.video(clip.size_THW, clip.seconds_T))
    whole = text.replace(processor_of(name).VIDEO, shown)
    assert tokenizer(whole, add_special_tokens=False)["input_ids"] == trial.inputs["input_ids"][0].tolist()
    stock = AutoModelForImageTextToText.from_pretrained(trial.folder)
    said = stock.generate(**trial.inputs, do_sample=False, max_new_tokens=TOKENS)
    assert trial.agrees(said[0, trial.inputs["input_ids"].shape[1] :].tolist())


STOCK = """
import json, sys
import numpy as np, torch
from transformers import AutoModelForImageTextToText, AutoProcessor
chat, tokens = json.loads(sys.argv[1]), int(sys.argv[2])
for folder in sys.argv[3:]:
    processor = AutoProcessor.from_pretrained(folder + "/out")
    processor.save_pretrained(folder + "/saved")
    frames, about = np.load(folder + "/frames.npy"), json.load(open(folder + "/clip.json"))
    text = processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    about["total_num_frames"] = len(frames)
    made = processor(text=[text], videos=[frames], video_metadata=[about], return_tensors="pt")
    model = AutoModelForImageTextToText.from_pretrained(folder + "/out")
    said = model.generate(**made, do_sample=False, max_new_tokens=tokens)[0, made["input_ids"].shape[1]:].tolist()
    pixels = made["pixel_values_videos" if "pixel_values_videos" in made else "pixel_values"]
    torch.save({"ids": made["input_ids"], "pixels": pixels, "said": said}, folder + "/stock.pt")
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not PYTHON.exists(),
    reason="stock processors need torchvision, which is in lmms-eval's environment: `make lmms-env`",
)
def test_stock_processors_make_the_same_inputs_and_the_same_files(tmp_path: Path) -> None:
    trials = {name: asked(name, tmp_path / name) for name in CELL_PX}
    folders = [str(tmp_path / name) for name in trials]
    command = [str(PYTHON), "-I", "-c", STOCK, json.dumps(CHAT), str(TOKENS), *folders]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    for name, trial in trials.items():
        ours, theirs = (
            json.loads((tmp_path / name / d / "processor_config.json").read_text()) for d in ("out", "saved")
        )
        assert ours == theirs, name
        stock = torch.load(tmp_path / name / "stock.pt")
        assert stock["ids"].tolist() == trial.inputs["input_ids"].tolist(), name
        pixels = trial.inputs["pixel_values_videos" if "pixel_values_videos" in trial.inputs else "pixel_values"]
        assert stock["pixels"].shape == pixels.shape, name
        assert (stock["pixels"] - pixels).abs().max() < PIXELS.get(name, 1e-5), name
        assert trial.agrees(stock["said"]), name
