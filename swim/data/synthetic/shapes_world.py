"""The embedded data set on disk: mp4 files and NL-Refer rows, in the form of a user's own data.

Dimensions: N objects, T frames, H × W pixels, C = RGB. Nothing here imports torch, so that workers start fast.
"""

import io
import os
from collections.abc import Iterable, Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from swim.data.synthetic import vocabulary as words
from swim.data.synthetic.drawing import (
    DIFFICULTIES,
    Difficulty,
    DrawnClip,
    DrawnObject,
    Split,
    calibration_frames,
    draw,
)
from swim.evaluation.answer_ceiling import commonest
from swim.recipe import ShapesWorld

__all__ = [
    "DIFFICULTIES",
    "Difficulty",
    "DrawnClip",
    "DrawnObject",
    "Split",
    "calibration_frames",
    "draw",
    "encode_mp4",
    "row",
    "write",
]

_FPS = 4


def row(config: ShapesWorld, split: Split, index: int) -> tuple[dict[str, Any], NDArray[np.uint8]]:
    """The NL-Refer row of a clip, its `video` relative to the folder given to `write`, and its frames [4, 64, 64, 3].

    `slots` beside a gpt `value` index its tag-stripped text. Raises ValueError as `draw` does, and for prompts
    'caption' with more than one object.
    """
    if config.prompts == "caption" and config.objects != 1:
        raise ValueError(f"prompts 'caption' describe one object, data.objects is {config.objects}: set it to 1")
    scene = draw(config, split, index)
    ordered = [(i, scene.objects[i]) for i in scene.order]
    result: dict[str, Any] = {
        "id": f"{split}_{index:06d}",
        "index": f"videorefer_detailed_caption_{split}_{index:06d}",
        "video": f"videos/{split}_{index:06d}.mp4",
        "height": scene.frames_THWC.shape[1],
        "width": scene.frames_THWC.shape[2],
    }
    if config.prompts in ("caption", "list"):
        question = words.ASK_CAPTION if config.prompts == "caption" else words.ASK_LIST
        sentences = words.listing([(obj.noun, obj.size, obj.pattern, obj.motion) for _, obj in ordered])
        result["conversations"] = _turn(question, sentences)
    else:
        # Over all objects, asked about or not: the best guess without knowing which object is meant.
        guess = {name: commonest([getattr(t, name) for t in scene.objects]) for name in words.VALUES}
        tracks = _tracks(scene.masks_NTHW)
        if config.prompts == "ask":
            asked = [(name, *pair) for name, pair in zip(scene.asked, cycle(ordered), strict=False)][: config.turns]
            result["conversations"] = [
                entry for name, _, obj in asked for entry in _ask(name, obj, guess, contested=len(ordered) > 1)
            ]
            result["annotation"] = [tracks[i] for _, i, _ in asked]
        else:
            ordered = ordered[: config.turns]
            result["conversations"] = [entry for _, obj in ordered for entry in _refer(obj, guess)]
            # A tag in the question and one in the answer: each object has its masks twice, in reading order.
            result["annotation"] = [tracks[i] for i, _ in ordered for _ in range(2)]
    result["conversations"][0]["value"] = "<video>\n" + result["conversations"][0]["value"]
    return result, scene.frames_THWC


def write(config: ShapesWorld, split: Split, indices: Iterable[int], folder: Path) -> list[dict[str, Any]]:
    """Writes folder/videos/<split>_<index>.mp4 for each index and returns the rows. Raises as `row` does."""
    (folder / "videos").mkdir(parents=True, exist_ok=True)
    rows = []
    for index in indices:
        entry, frames_THWC = row(config, split, index)
        path = folder / entry["video"]
        # A retried task may write at the same time as the one it replaces: readers must see a complete file.
        partial = path.with_suffix(f".{os.getpid()}.partial")
        partial.write_bytes(encode_mp4(frames_THWC))
        partial.replace(path)
        rows.append(entry)
    return rows


def encode_mp4(frames_THWC: NDArray[np.uint8]) -> bytes:
    """Key frames only, MPEG-4 part 2 at its best quantiser, 4:2:0: equal frames decode to equal pixels."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=_FPS, options={"qmin": "1", "qmax": "1", "g": "1", "bf": "0"})
        stream.height, stream.width = frames_THWC.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 20_000_000
        stream.codec_context.thread_count = 1
        for frame_HWC in frames_THWC:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()


def _refer(obj: DrawnObject, guess: Mapping[str, str]) -> list[dict[str, Any]]:
    question = words.question(obj.noun, getattr(obj, obj.revealed) if obj.revealed else "")
    text, slots = words.answer(obj.noun, obj.size, obj.pattern, obj.motion, revealed=obj.revealed)
    return _turn(question, (text, tuple(slot.model_copy(update={"commonest": guess[slot.name]}) for slot in slots)))


def _ask(name: str, obj: DrawnObject, guess: Mapping[str, str], *, contested: bool) -> list[dict[str, Any]]:
    text, (slot,) = words.value_answer(name, getattr(obj, name))
    known = slot.model_copy(update={"commonest": guess[name], "contested": contested})
    return _turn(words.value_question(name, obj.noun), (text, (known,)))


def _turn(question: str, answer: words.SlottedText) -> list[dict[str, Any]]:
    text, slots = answer
    return [
        {"from": "human", "value": question},
        {"from": "gpt", "value": text, "slots": [slot.model_dump(exclude_none=True) for slot in slots]},
    ]


def _tracks(masks_NTHW: NDArray[np.uint8]) -> list[dict[str, Any]]:
    """Per object: frame index → segmentation, for the frames in which it is visible."""
    n, frames, height, width = masks_NTHW.shape
    flat_HWM = np.asfortranarray(masks_NTHW.reshape(n * frames, height, width).transpose(1, 2, 0))
    codes = [{"size": code["size"], "counts": code["counts"].decode("ascii")} for code in coco.encode(flat_HWM)]
    return [
        {str(t): {"segmentation": codes[i * frames + t]} for t in range(frames) if masks_NTHW[i, t].any()}
        for i in range(n)
    ]
