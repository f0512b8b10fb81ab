"""One recipe on your own NL-Refer annotations and videos: what is unusable and why, then attention overlays."""

from pathlib import Path

from pydantic import Field

from swim import recipes
from swimlab import Ablation, Arm, Metric, cli
from swimlab.settings import Settings

TRAIN = Ablation(
    name="train",
    question="Where does each noun of my own data look after training?",
    arms=[Arm("swim", preset="paper")],
    seeds=(0,),
    metrics=[
        Metric("attention.ap", primary=True),
        Metric("attention.pointing"),
        Metric("attention.mass"),
        Metric("answer.token_accuracy"),
    ],
    recipe="tiny-files",
)


class TrainSettings(Settings):
    """Train on your own data. `--recipe qwen2.5-vl-7b` for the paper's model; default: the tiny one."""

    annotations: str = Field(description="NL-Refer annotations: a .json array or .jsonl")
    videos: str | None = Field(None, description="folder of the video paths; default: the annotations' own folder")
    held_out: str | None = Field(None, description="annotations to score; default: the training rows, and it says so")


if __name__ == "__main__":
    settings = cli.settings(TrainSettings)
    own = {
        "data.annotations": (settings.annotations,),
        "data.videos": settings.videos or str(Path(settings.annotations).absolute().parent),
        "data.held_out_annotations": (settings.held_out,) if settings.held_out else (),
    }
    cli.run(TRAIN, settings, lambda: recipes.named(settings.recipe or TRAIN.recipe).override(own))
