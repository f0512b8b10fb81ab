"""Runtime: where and how an experiment runs. Flags and SWIMLAB_* variables; never part of a trial's identity."""

import json
import os
import shlex
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator
from pydantic_settings import CliImplicitFlag, CliPositionalArg, NoDecode, SettingsConfigDict

from swim.worlds import Replicate
from swimlab.base.printable import complain
from swimlab.experiment import cards
from swimlab.experiment.benchmark_settings import BenchmarkSettings


class FlagError(ValueError):
    """A flag whose value does not fit. Commands exit with 2 and print its message."""


DEFAULT_CACHE = Path("~/.cache/swimlab")


def usable_cache(folder: Path) -> Path:
    """The folder itself. Where the default one cannot be made, as in containers with a read-only home, another of this
    user's below the temporary folder, and a line that says so."""
    if folder != DEFAULT_CACHE:
        return folder.expanduser()
    try:
        home = folder.expanduser()  # RuntimeError: the user has no home
        home.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=home).close()  # whatever the mode bits say
        return home
    except (OSError, RuntimeError) as error:
        other = Path(tempfile.gettempdir()) / f"swimlab-cache-{os.getuid()}"
        complain(f"{folder} cannot be used ({error}): using {other}; to choose, set SWIMLAB_CACHE (or --cache)")
        return other


CacheFolder = Annotated[Path, AfterValidator(usable_cache)]


def _assignments(given: Any) -> Any:
    """Several texts in one: a JSON array, as `command_line.parse` writes it, or words as a shell would read them, as in
    SWIMLAB_SET."""
    if not isinstance(given, str):
        return given
    return json.loads(given) if given.lstrip().startswith("[") else shlex.split(given)


Assignments = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_assignments)]


class Settings(BenchmarkSettings):
    """Run an experiment, or show its plan, a one-minute smoke of it, or the report of what is in the store."""

    model_config = SettingsConfigDict(
        env_prefix="SWIMLAB_", cli_kebab_case=True, extra="forbid", frozen=True, cli_hide_none_type=True
    )

    command: CliPositionalArg[Literal["run", "plan", "smoke", "report"]] = Field(
        "run", description="run: what is missing, then the table; plan, smoke, report"
    )
    recipe: str | None = Field(None, description="a named recipe, or a .json or .toml file with one")
    set: Assignments = Field(
        (), description="changes of the recipe, PATH=VALUE …: objective.fusion=max optim.lr=1e-5 (`swimlab recipe`)"
    )
    seeds: int | None = Field(None, ge=1, description="how many seeds, from 0; default: those of the experiment")
    replicate: Replicate | None = Field(
        None,
        description="what a seed is: world (data, weights, base and order of its own) or order (of batches, on one "
        "base; cheaper, and says nothing of another base); default: that of the experiment",
    )
    looks: int | None = Field(
        None, ge=1, description="stop after so many of the looks that a table declares; default: go on to the last"
    )
    store: str = Field("swimlab-store", description="sweep store: a folder or s3://bucket/prefix")
    workers: int = Field(
        0, ge=0, description="processes a trial trains on; 0: inside the trial's own process (one machine, one device)"
    )
    shard: CliImplicitFlag[bool] = Field(
        False,
        description="each worker holds a share of the model, not a copy (FSDP2): for models too large for one GPU",
    )
    concurrency: int | None = Field(None, ge=1, description="trials at a time; default: as many as the cluster fits")
    micro_batch: int | None = Field(
        None, ge=1, description="conversations a forward pass; default: all of a rank's, one of a hub model's"
    )
    gpu: bool | None = Field(None, description="one GPU a worker; default: when the cluster has any")
    card: str = Field(cards.DEFAULT, description="GPU that plan reckons with for hub models: H200, A100, RTX 4090, …")
    usd_per_hour: float | None = Field(None, ge=0, description="its price; default: about what clouds ask")
    clips: Literal["store", "stream"] = Field(
        "store",
        description="store: decode the data set once, for every trial; stream: decode while training, keep nothing",
    )
    decode_cpus: int = Field(
        0, ge=0, validate_default=True, description="CPUs a trial decodes on beside its workers, with --clips stream"
    )
    features: bool | None = Field(
        None,
        description="store what the frozen vision tower makes of the clips, once for all trials; default: of tiny "
        "models, for that of a hub model is as large as the clips",
    )
    checkpoint_minutes: float = Field(
        10.0,
        gt=0,
        description="at the latest so many minutes after one save of a trial that trains the next is due; sooner where "
        "saving takes less than a twentieth of the time; what is interrupted resumes from the last",
    )
    resume_on_other_workers: CliImplicitFlag[bool] = Field(
        False,
        description="resume also what another number of workers saved: such a trial compares with no other (MIXED)",
    )
    max_clips_gb: float = Field(200.0, gt=0, description="refuse to store more than this of decoded clips")
    max_quarantined_share: float = Field(0.5, ge=0, le=1, description="refuse a data set with more unusable rows")
    keep_checkpoints: Literal["all", "bases"] = Field(
        "all", description="trained weights that go into the store: of all trials, or of those that others start from"
    )
    cache: CacheFolder = Field(DEFAULT_CACHE, validate_default=True, description="scratch folder of this machine")

    @field_validator("card")
    @classmethod
    def _known(cls, card: str) -> str:
        return cards.named(card).name

    @field_validator("decode_cpus")
    @classmethod
    def _reserved(cls, cpus: int, info: ValidationInfo) -> int:
        streams = info.data.get("clips") == "stream"
        if streams and not cpus:
            raise ValueError("--clips stream decodes while training: reserve CPUs for it, at least one a worker")
        if streams and cpus < info.data.get("workers", 0):
            raise ValueError(f"{cpus} for {info.data['workers']} workers: each needs one of its own")
        if streams and not info.data.get("workers", 1):
            # Ray Data inside a trial's own process waits for CPUs that such trials hold: it hangs.
            raise ValueError("--clips stream needs --workers: a trial inside one process leaves nothing to decode on")
        if cpus and not streams:
            raise ValueError("only --clips stream uses them: stored clips are decoded before any trial starts")
        return cpus

    @field_validator("shard")
    @classmethod
    def _needs_workers(cls, shard: bool, info: ValidationInfo) -> bool:
        if shard and not info.data.get("workers", 1):
            raise ValueError("a model is sharded over a trial's workers, and --workers is 0: give their number")
        return shard
