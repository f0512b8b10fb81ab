"""Named recipes, for `--recipe NAME`: functions that return a complete, typed config."""

import difflib
from collections.abc import Callable
from pathlib import Path

from swim import recipe_files
from swim.evaluation.attention_config import AttentionConfig
from swim.evaluation.suites.described import DescribedConfig
from swim.evaluation.suites.mediation import MediationConfig
from swim.recipe import (
    FramePolicy,
    HubModel,
    Lora,
    NLReferFiles,
    Objective,
    Optim,
    Readout,
    Recipe,
    ShapesWorld,
    SuiteConfig,
    TinyModel,
)

# Four layers: the paper's evenly spaced six of 28 become the two in the middle (shared choice of every tiny recipe).
TINY_LAYERS = (1, 2)
TEXT_ONLY = Objective(layers=TINY_LAYERS, text_weight=1.0, mask_weight=0.0)
TINY_RULER: dict[str, SuiteConfig] = {"attention": AttentionConfig(readout=Readout(layers=TINY_LAYERS))}


# Answers in the model's own words are asked of what refers to objects: not of the bases, nor of the smoke test.
DESCRIBED: dict[str, SuiteConfig] = {"described": DescribedConfig()}


def tiny_captions() -> Recipe:
    """Pretraining, first half: one object, one caption, no referring expressions."""
    return Recipe(
        name="tiny-captions",
        model=TinyModel(),
        data=ShapesWorld(prompts="caption", objects=1, clips=1500, held_out=50),
        objective=TEXT_ONLY,
        optim=Optim(steps=300),
        evaluation=TINY_RULER,
    )


def tiny_base() -> Recipe:
    """The stand-in for a pretrained MLLM: captions, then two-object lists in random order; text loss only."""
    return Recipe(
        name="tiny-base",
        model=TinyModel(),
        data=ShapesWorld(prompts="list", objects=2, clips=3000, held_out=50, seed=1),
        objective=TEXT_ONLY,
        optim=Optim(steps=500),
        evaluation=TINY_RULER,
        init=tiny_captions(),
    )


def tiny() -> Recipe:
    """SWIM on the easy embedded data: three objects, one conversation turn each. For the smoke and the control."""
    return Recipe(
        name="tiny",
        model=TinyModel(),
        data=ShapesWorld(objects=3, seed=2),
        objective=Objective(layers=TINY_LAYERS),
        optim=Optim(steps=200),
        evaluation=TINY_RULER | DESCRIBED,
        init=tiny_base(),
    )


def tiny_hard_look() -> Recipe:
    """Small, greyed, noisy, overlapping objects: headroom for comparing fusions and losses."""
    return tiny().override(
        {"name": "tiny-hard-look", "data": ShapesWorld(difficulty="hard-look", objects=6, seed=3), "optim.steps": 120}
    )


def tiny_hard_twins() -> Recipe:
    """Two objects share a noun; only the attribute distinguishes them. Its base was trained on such prompts with
    another seed."""
    twins = ShapesWorld(prompts="attribute", difficulty="hard-twins", seed=5)
    base = tiny_base().override(
        {
            "name": "tiny-twins-base",
            "data": twins.model_copy(update={"seed": 4, "held_out": 50, "clips": 3000}),
            "optim.steps": 450,
            "init": tiny_base(),
        }
    )
    return tiny().override({"name": "tiny-hard-twins", "data": twins, "optim.steps": 120, "init": base})


DEEP = TinyModel(hidden=64, layers=12, intermediate=128)
DEEP_RULER: dict[str, SuiteConfig] = {"attention": AttentionConfig(readout=Readout(layers="all"))}


def tiny_deep() -> Recipe:
    """Twelve thin layers, so that the twelve rows of Table 3 differ; it has a base of the same shape."""
    shape = {"model": DEEP, "evaluation": DEEP_RULER, "objective.layers": "all"}
    captions = tiny_captions().override({**shape, "name": "tiny-deep-captions", "optim.steps": 150})
    base = tiny_base().override({**shape, "name": "tiny-deep-base", "optim.steps": 300, "init": captions})
    return tiny_hard_look().override(
        {
            **shape,
            "name": "tiny-deep",
            "evaluation": DEEP_RULER | DESCRIBED,
            "objective.layers": "even:6",
            "optim.steps": 60,
            "init": base,
        }
    )


ASKING = TinyModel(vocabulary="ask")


def tiny_ask() -> Recipe:
    """One word about one of four objects, of which two are small and two striped, and no two move alike: whoever does
    not look at the object asked about is right half the time, or a quarter. The answer does not repeat the noun, so
    that the answering row must read it in the question."""
    captions = tiny_captions().override({"name": "tiny-ask-captions", "model": ASKING})
    lists = tiny_base().override({"name": "tiny-ask-lists", "model": ASKING, "init": captions})
    # The questions, where nothing has to be chosen: without them 200 steps teach a little of what is asked for.
    alone = ShapesWorld(prompts="ask", objects=1, clips=1500, held_out=50, seed=7)
    base = lists.override({"name": "tiny-ask-base", "data": alone, "optim.steps": 250, "init": lists})
    return tiny().override(
        {
            "name": "tiny-ask",
            "model": ASKING,
            "data": ShapesWorld(prompts="ask", objects=4, held_out=500, seed=6),
            "optim.steps": 300,
            "evaluation": TINY_RULER
            | {"mediation": MediationConfig(), "described": DescribedConfig(answers=250, max_new_tokens=4)},
            "init": base,
        }
    )


def tiny_smoke() -> Recipe:
    """One minute end to end: few easy clips, no base."""
    return tiny().override(
        {
            "name": "tiny-smoke",
            "data": ShapesWorld(clips=400, held_out=40, seed=2),
            "optim.steps": 50,
            "evaluation": TINY_RULER,
            "init": None,
        }
    )


def tiny_files(annotations: tuple[str, ...] = ("nl_refer.json",), videos: str = ".") -> Recipe:
    """A user's own clips on a laptop: the tiny model from scratch. It shows the pipeline and the mechanism; its
    answers are not meaningful."""
    frames = FramePolicy(max_frames=8, min_pixels=64 * 64, max_pixels=128 * 128, cell_px=TinyModel().cell_px)
    return Recipe(
        name="tiny-files",
        model=TinyModel(),
        data=NLReferFiles(annotations=annotations, videos=videos, frames=frames),
        objective=Objective(layers=TINY_LAYERS),
        optim=Optim(steps=60, batch=4),
        evaluation={"attention": AttentionConfig(readout=Readout(layers=TINY_LAYERS), overlays=12)},
    )


def qwen2_5_vl_7b(annotations: tuple[str, ...] = ("nl_refer.json",), videos: str = "videos") -> Recipe:
    """The paper's own recipe (section 4.1): 32 conversations a step, LR 2e-5, one epoch: of its 235K samples 7,344
    steps."""
    return Recipe(
        name="qwen2.5-vl-7b",
        model=HubModel(),
        data=NLReferFiles(annotations=annotations, videos=videos),
        optim=Optim(epochs=1, batch=32, lr=2e-5, betas=(0.9, 0.999), warmup_steps=0, final_lr_fraction=0.0),
        evaluation={"attention": AttentionConfig(readout=Readout())},
    )


# The paper trains no adapters. They start at zero and want larger steps than whole weights; this rate is not tuned.
LORA = {"model.lora": Lora(), "optim.lr": 1e-4}


def qwen2_5_vl_7b_lora(annotations: tuple[str, ...] = ("nl_refer.json",), videos: str = "videos") -> Recipe:
    """The paper's recipe with adapters in place of the weights: a frozen weight takes 2 bytes, a trained one 16."""
    return qwen2_5_vl_7b(annotations, videos).override({"name": "qwen2.5-vl-7b-lora", **LORA})


def qwen2_5_vl_3b_lora(annotations: tuple[str, ...] = ("nl_refer.json",), videos: str = "videos") -> Recipe:
    """Adapters on the 3B model, for one GPU of 24 GB: clips of at most 3,072 visual tokens, 8 conversations a step.
    By arithmetic (7.5 GB of weights in bf16, 0.5 GB of kept activations, a layer recomputed); not measured."""
    model = HubModel(path="Qwen/Qwen2.5-VL-3B-Instruct", layers=36, lora=Lora())
    return _smaller("qwen2.5-vl-3b-lora", model, annotations, videos)


def qwen3_vl_4b_lora(annotations: tuple[str, ...] = ("nl_refer.json",), videos: str = "videos") -> Recipe:
    """Adapters on Qwen3-VL-4B, whose visual tokens are 32 px wide (36 layers of 2560, 32 heads, by its config.json)."""
    model = HubModel(path="Qwen/Qwen3-VL-4B-Instruct", family="qwen3-vl", layers=36, cell_px=32, lora=Lora())
    return _smaller("qwen3-vl-4b-lora", model, annotations, videos)


def smolvlm_500m(annotations: tuple[str, ...] = ("nl_refer.json",), videos: str = "videos") -> Recipe:
    """All weights of SmolVLM2's language model, for a small GPU: 16 frames of 64 visual tokens each, resized by the
    model to 512 × 512 whatever their shape. Assumed of its config.json, and checked when it is loaded: 32 layers,
    patches of 16 px, 4 × 4 of them a token."""
    model = HubModel(path="HuggingFaceTB/SmolVLM2-500M-Video-Instruct", family="smolvlm", layers=32, cell_px=64)
    frames = FramePolicy(max_frames=16, min_pixels=256 * 256, max_pixels=512 * 512, cell_px=model.cell_px)
    changes = {"name": "smolvlm-500m", "model": model, "data.frames": frames, "optim.batch": 8}
    return qwen2_5_vl_7b(annotations, videos).override(changes)


def _smaller(name: str, model: HubModel, annotations: tuple[str, ...], videos: str) -> Recipe:
    """The paper's recipe on a smaller model, with its kind of adapters: 16 frames of 128 to 384 visual tokens, and
    batches that suit a data set of one's own."""
    cell = model.cell_px**2
    frames = FramePolicy(max_frames=16, min_pixels=128 * cell, max_pixels=384 * cell, cell_px=model.cell_px)
    changes = {"name": name, "model": model, "data.frames": frames, "optim.batch": 8}
    return qwen2_5_vl_7b_lora(annotations, videos).override(changes)


RECIPES: dict[str, Callable[[], Recipe]] = {
    "tiny": tiny,
    "tiny-hard-look": tiny_hard_look,
    "tiny-hard-twins": tiny_hard_twins,
    "tiny-deep": tiny_deep,
    "tiny-ask": tiny_ask,
    "tiny-smoke": tiny_smoke,
    "tiny-files": tiny_files,
    "qwen2.5-vl-7b": qwen2_5_vl_7b,
    "qwen2.5-vl-7b-lora": qwen2_5_vl_7b_lora,
    "qwen2.5-vl-3b-lora": qwen2_5_vl_3b_lora,
    "qwen3-vl-4b-lora": qwen3_vl_4b_lora,
    "smolvlm-500m": smolvlm_500m,
}


def named(name: str) -> Recipe:
    """A named recipe, or one read from a JSON or TOML file (`swim.recipe_files`). Raises ValueError naming the nearest
    name, or what is wrong in a file."""
    if recipe_files.is_file_name(name):
        return recipe_files.load(Path(name), named)
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, n=1, cutoff=0.0)[0]
        raise ValueError(
            f"no recipe {name!r}; did you mean {near!r}? (a path ending in .json or .toml is read as a recipe)"
        )
    return RECIPES[name]()
