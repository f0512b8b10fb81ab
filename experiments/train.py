"""One recipe on your own annotations and videos: what is unusable and why, then attention overlays."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from swim import recipes
from swimlab import Ablation, Arm, Metric
from swimlab.cli import experiment_file
from swimlab.experiment.run_settings import Settings

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

    annotations: tuple[str, ...] = Field(description="files with your rows: .json arrays, .jsonl, .parquet; or s3://…")
    videos: str | None = Field(None, description="folder of the video paths; default: the annotations' own folder")
    held_out: tuple[str, ...] = Field(
        (), description="annotations to score; default: the recipe's, or the training rows"
    )
    formats: tuple[str, ...] = Field((), description="kinds of rows; default: the recipe's, often nl-refer,llava-video")
    frames: Literal["position", "number"] | None = Field(
        None, description="what annotation keys mean in folders of pictures: a position from 0, or the number in a name"
    )
    decoder: Literal["pyav", "decord"] | None = Field(None, description="what reads videos; see swim/data/README.md")
    fraction: float | None = Field(None, gt=0, le=1, description="share of the rows to train on; default: the recipe's")


def changes(settings: TrainSettings) -> dict[str, Any]:
    """What the command line changes in the recipe; flags that are not given leave it as it is."""
    first = settings.annotations[0]
    beside = first.rpartition("/")[0] if "://" in first else str(Path(first).absolute().parent)
    given = {"held_out_annotations": settings.held_out, "fraction": settings.fraction, "formats": settings.formats}
    given |= {"frames.numbering": settings.frames, "frames.decoder": settings.decoder}
    given |= {"annotations": settings.annotations, "videos": settings.videos or beside}
    return {f"data.{path}": value for path, value in given.items() if value}


if __name__ == "__main__":
    settings = experiment_file.settings(TrainSettings)
    experiment_file.run(
        [TRAIN], settings, lambda: recipes.named(settings.recipe or TRAIN.recipe).override(changes(settings))
    )
