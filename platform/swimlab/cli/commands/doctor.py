"""`swimlab doctor`: its flags, its screen and its exit codes."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, CliPositionalArg
from rich.console import Console

from swim import recipes
from swim.data_config import FramePolicy, NLReferFiles, VideoDecoder
from swim.recipe import HubModel
from swimlab.base.screen import say
from swimlab.cli.command_line import exit_with
from swimlab.cli.store_command import HELP
from swimlab.data.context_limit import ContextLimit
from swimlab.data.doctor.row_checks import InspectionConfig
from swimlab.experiment.run_settings import DEFAULT_CACHE, CacheFolder

_NOT_A_NAME = re.compile(r"[^A-Za-z0-9_=@+-]+")
MAX_NAME_CHARS = 60


class Doctor(BaseSettings):
    """Reports what is in annotation files and videos: rows by kind, what is broken and where, masks, tags, visual
    tokens, and what decoding would cost. Exits with 1 when too many rows are broken or a file cannot be read to its
    end."""

    model_config = HELP

    annotations: CliPositionalArg[list[str]] = Field(
        min_length=1, description=".json arrays, .jsonl or .parquet; local or s3://bucket/key; folders of .parquet"
    )
    videos: str | None = Field(None, description="what the rows' video paths are relative to: a folder or s3:// prefix")
    recipe: str | None = Field(None, description="recipe whose frames, formats and model count; default: the paper's")
    max_frames: int | None = Field(None, ge=2, multiple_of=2, description="frames of a clip, instead of the recipe's")
    max_pixels: int | None = Field(None, ge=1, description="pixels of a frame at most, instead of the recipe's")
    frames: Literal["position", "number"] | None = Field(
        None, description="what annotation keys mean in folders of pictures: a position from 0, or the number in a name"
    )
    decoder: VideoDecoder | None = Field(
        None, description="what reads video files, instead of the recipe's. See swim/data/README.md before decord"
    )
    decode: int = Field(16, ge=0, description="rows to decode, to estimate what all of them cost")
    store: str = Field("swimlab-store", description="where the report goes: a folder or s3://bucket/prefix")
    name: str | None = Field(None, description="the report's name; default: that of the annotation files")
    concurrency: int | None = Field(None, ge=1, description="parts of files at a time; default: one a CPU")
    max_quarantined_share: float = Field(0.5, ge=0, le=1, description="exit with 1 when more rows are broken")
    cache: CacheFolder = Field(DEFAULT_CACHE, validate_default=True, description="scratch folder of this machine")

    @field_validator("annotations")
    @classmethod
    def _named_once(cls, annotations: list[str]) -> list[str]:
        stems: dict[str, str] = {}
        for file in annotations:
            if not file.isprintable():
                raise ValueError(f"{file!r}: a name with control characters or of no valid Unicode; rename the file")
            first = stems.setdefault(PurePosixPath(file).stem, file)
            if first is not file:
                raise ValueError(f"{first} and {file} would give rows the same keys: rename one, or examine it alone")
        return annotations

    @property
    def report_name(self) -> str:
        """The report's name, reduced to characters that every store accepts."""
        stems = "+".join(PurePosixPath(file).stem for file in self.annotations)
        return (_NOT_A_NAME.sub("-", self.name or stems).strip("-") or "unnamed")[:MAX_NAME_CHARS]

    def inspection_and_recipe_name(self) -> tuple[InspectionConfig, str]:
        """The configuration of the inspection, and the recipe's name for the report.

        Raises:
            ValueError: for a recipe that does not exist.
        """
        recipe = recipes.named(self.recipe) if self.recipe else None
        data = recipe.data if recipe else NLReferFiles(annotations=(), videos="")
        changed = {
            "max_frames": self.max_frames,
            "max_pixels": self.max_pixels,
            "numbering": self.frames,
            "decoder": self.decoder,
        }
        frames = data.frames.model_dump() | {name: value for name, value in changed.items() if value is not None}
        formats = data.formats if isinstance(data, NLReferFiles) else ("nl-refer",)
        inspection = InspectionConfig(
            annotations=tuple(_absolute(file) for file in self.annotations),
            videos=_absolute(self.videos) if self.videos else None,
            frames=FramePolicy.model_validate(frames),
            formats=formats,
            decode=self.decode,
            context=ContextLimit.on_this_machine(recipe.model if recipe else HubModel()),
        )
        return inspection, self.recipe or "the paper"

    def cli_cmd(self) -> None:
        """Examines and exits: with 0, 1 (see the class) or 130 on Ctrl-C."""
        exit_with(lambda console: examine(self, console), log_width=120, stopped="stopped; no report was written")


def _absolute(place: str) -> str:
    # Ray's workers may run in another folder, where a relative path means another file.
    return place if "://" in place else str(Path(place).absolute())


def examine(flags: Doctor, console: Console) -> int:
    """Examines the files, prints the summary and writes the report.

    Returns:
        The exit code.

    Raises:
        StoreError, ValueError, OSError: for flags, files or a store that cannot be used.
    """
    # Ray, SciPy and matplotlib take seconds to import, and --help or a mistyped flag needs none of them.
    import ray

    from swimlab.data.doctor import examination, findings
    from swimlab.execution import cluster
    from swimlab.execution.progress import SweepProgress
    from swimlab.report import doctor_page, doctor_text, doctor_words
    from swimlab.store.sweep_store import reachable_store

    inspection, recipe = flags.inspection_and_recipe_name()
    if inspection.videos and "://" not in inspection.videos and not Path(inspection.videos).is_dir():
        raise ValueError(f"no folder {inspection.videos}: --videos is what the rows' video paths are relative to")
    name = flags.report_name
    store = reachable_store(flags.store)
    cluster.check_durable(store.uri)
    store.check_writable()
    with cluster.ray_session(), SweepProgress(console) as progress:
        cpus = max(1, int(ray.cluster_resources().get("CPU", 1)))
        cpus = min(cpus, flags.concurrency or cpus)
        folder = doctor_page.folder_of(name)
        outcome = examination.run(inspection, store, folder, flags.cache, cpus, progress.stage)
    result = findings.findings(inspection, outcome, name=name, recipe=recipe)
    failed = findings.failed(result, flags.max_quarantined_share)
    uri = doctor_page.write_report(result, store, failed=failed, scenes=outcome.scenes)
    console.print(doctor_text.terminal(result, failed=failed))
    say(console, f"report {uri}")
    say(console, f"$ {doctor_words.command(result, store.uri)}")
    return 1 if failed else 0
