"""Which clips a recipe trains on and is evaluated on. Values only, as all of `swim.recipe`."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from swim import registry
from swim.frozen import Frozen

Format = Annotated[str, AfterValidator(registry.known("swim.data.formats"))]
Numbering = Literal["position", "number"]
VideoDecoder = Literal["pyav", "decord"]


class FramePolicy(Frozen):
    """Which frames a clip keeps and at what size (paper, section 4.1: up to 32 frames, annotated ones forced in).

    `cell_px` is the side of one visual token in pixels of the resized frame (patch × merge: 28 for Qwen2.5-VL).
    `numbering`: the frame that a key of an annotation means in a folder of pictures, for rows that do not say it
    themselves in `frames`: the picture at this position, counted from 0 (also if None), or the one with this number in
    its name.
    `decoder`: the library that reads video files. "decord" is for whoever needs its pixels: it is slower, holds an
    FFmpeg of 2020 with known vulnerabilities (not for videos of strangers), and rows whose videos it would read wrongly
    are refused.
    """

    max_frames: int = Field(32, ge=2, multiple_of=2)
    min_pixels: int = Field(100_352, gt=0)
    max_pixels: int = Field(602_112, gt=0)
    cell_px: int = Field(28, gt=0)
    numbering: Numbering | None = None
    decoder: VideoDecoder = "pyav"


class ShapesWorld(Frozen):
    """The embedded data set: moving shapes drawn to mp4, masks as COCO RLE, rows as NL-Refer JSON.

    Of a clip's `objects` a referring conversation asks about at most `turns`, in random order. With prompts "ask" it
    wants one word in each turn, for another property of another object; half of the objects are small, half are
    striped, and all move differently, so that without a look at the one asked about half of the sizes and patterns are
    right, and 1 motion in `objects`. `fraction` of the training clips is used: nested subsets, chosen by a hash of each
    clip's key, out of one and the same data set. `validation` clips, as many as `held_out` if None, are what searches,
    tuning and pruning choose by. They are no part of what is trained or reported, and are drawn where something is
    chosen.
    """

    kind: Literal["shapes_world"] = "shapes_world"
    prompts: Literal["caption", "list", "refer", "attribute", "ask"] = "refer"
    difficulty: Literal["easy", "hard-look", "hard-twins"] = "easy"
    objects: int = Field(3, ge=1, le=6)
    turns: int = Field(3, ge=1)
    clips: int = Field(2000, ge=1)
    held_out: int = Field(250, ge=1)
    validation: int | None = Field(None, ge=1)
    fraction: float = Field(1.0, gt=0, le=1)
    seed: int = 0
    frames: FramePolicy = FramePolicy(max_frames=4, min_pixels=64, max_pixels=64 * 64, cell_px=8)


class Source(Frozen):
    """How the rows of one annotation file are trained on; `file` is its name, without its folder.

    An epoch reads each row `weight` times (0.25: another quarter of the rows in each of four epochs). `loss` "text"
    leaves the masks of its rows out of training.
    """

    file: str
    weight: float = Field(1.0, ge=1e-3, le=1e3)
    loss: Literal["mask", "text"] = "mask"


class NLReferFiles(Frozen):
    """A user's own annotations: .json arrays, .jsonl or .parquet; `videos` is the folder that the rows' video paths are
    relative to. Both may be local or on s3://.

    `sources` says of some of the `annotations` how they are trained on; of others each row is read once an epoch, with
    its masks. `formats` are the kinds of rows the data may consist of (entries of `swim.data.formats`); another kind is
    set aside. Without `held_out_annotations` the evaluation scores the training rows, and every report says so.
    Searches, tuning and pruning choose by the rows of `validation_annotations`, and are refused without: such rows are
    neither trained on nor reported. `fraction` is as in ShapesWorld. Rows with `placeholders` (`<region>`) are refused,
    or kept to be asked about.
    """

    kind: Literal["nl_refer"] = "nl_refer"
    annotations: tuple[str, ...]
    videos: str
    held_out_annotations: tuple[str, ...] = ()
    validation_annotations: tuple[str, ...] = ()
    formats: tuple[Format, ...] = ("nl-refer", "llava-video")
    fraction: float = Field(1.0, gt=0, le=1)
    frames: FramePolicy = FramePolicy()
    sources: tuple[Source, ...] = ()
    placeholders: Literal["refuse", "keep"] = "refuse"

    @model_validator(mode="after")
    def _sources_are_annotations(self) -> Self:
        files = [PurePosixPath(file).name for file in self.annotations]
        for i, source in enumerate(self.sources):
            if source.file not in files:
                raise ValueError(f"sources[{i}].file {source.file!r} is none of the annotations, {', '.join(files)}")
            if source.file in [other.file for other in self.sources[:i]]:
                raise ValueError(f"sources[{i}].file {source.file!r} is there twice: say all of a file in one entry")
        return self

    @model_validator(mode="after")
    def _validation_is_apart(self) -> Self:
        if shared := set(self.validation_annotations) & {*self.annotations, *self.held_out_annotations}:
            raise ValueError(
                f"validation_annotations names {sorted(shared)[0]!r}, which is trained on or reported: what is chosen "
                "must be chosen on other rows"
            )
        return self


DataConfig = Annotated[ShapesWorld | NLReferFiles, Field(discriminator="kind")]
