"""What decoding is measured on: generated videos, their rows, and the same decoded into a store.

Dimensions: H × W pixels, C = 3 (RGB).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from swim import recipes
from swim.data.video.frame_choice import choose_frames, smart_resize
from swim.recipe import FramePolicy, NLReferFiles, Recipe, ShapesWorld
from swimlab.data.prepared_clips import PreparedData, load_prepared
from swimlab.identity import naming
from swimlab.store.sweep_store import SweepStore

GOP, FPS = 48, 30
# Chosen so that 720p is like clips from the web: 1.2 Mbit/s (they: 0.6 to 1.2), and decoded frames that zstd packs to
# 0.67 of their size (they: 0.57 to 0.66). Of the texture: size of a blot in pixels, and its contrast.
OCTAVES = ((256, 45), (64, 25), (16, 12))
GRAIN = 2  # ± grey levels


Prepared = tuple[SweepStore, PreparedData]
Start = Callable[[], None]


@dataclass(frozen=True)
class Videos:
    """A set of generated videos of `frames` shown frames (the fewest, the most), read as `policy` says."""

    height: int
    width: int
    clips: int
    frames: tuple[int, int]
    policy: FramePolicy


SIZES = {
    "720p": Videos(720, 1280, 12, (96, 128), FramePolicy()),
    "64px": Videos(64, 64, 256, (24, 40), FramePolicy(max_frames=8, min_pixels=64, max_pixels=64 * 64, cell_px=8)),
}


@dataclass(frozen=True)
class FrameRequest:
    """What is to be decoded of a video: these frames, resized to `size` = (H, W)."""

    path: str
    indices: tuple[int, ...]
    size: tuple[int, int]


@dataclass(frozen=True)
class Data:
    """Videos of one size under `cache`, made when they are missing."""

    cache: Path
    size: str
    clips: int | None = None

    @property
    def videos(self) -> Videos:
        """What they are."""
        return replace(SIZES[self.size], clips=self.clips or SIZES[self.size].clips)

    @property
    def folder(self) -> Path:
        """Where they lie: other code draws others."""
        drawn_by = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]
        return self.cache / "decode-throughput" / f"{self.size}-{self.videos.clips}-{drawn_by}"

    @property
    def files(self) -> NLReferFiles:
        """The data set as a user would name it."""
        rows = (str(self.folder / "rows.jsonl"),)
        return NLReferFiles(annotations=rows, videos=str(self.folder), frames=self.videos.policy)

    def frame_requests(self) -> list[FrameRequest]:
        """What our pipeline will decode, for those that decode by hand."""
        videos, requests = self.videos, []
        size = smart_resize(videos.height, videos.width, videos.policy)
        for line in (self.folder / "rows.jsonl").read_text().splitlines():
            row = json.loads(line)
            indices = choose_frames(row["frames"], (), videos.policy)
            requests.append(FrameRequest(str(self.folder / row["video"]), tuple(indices), size))
        return requests

    def draw(self) -> None:
        """Write the videos, unless they are there. The rows come last: they say that all is."""
        videos, rows = self.videos, []
        if (self.folder / "rows.jsonl").exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        for number in range(videos.clips):
            rng = np.random.default_rng([videos.height, number])
            n = int(rng.integers(videos.frames[0], videos.frames[1], endpoint=True))
            _encode(self.folder / f"{number}.mp4", videos, n, rng)
            conversation = [{"from": "human", "value": "What moves?"}, {"from": "gpt", "value": "A square."}]
            rows.append({"id": str(number), "video": f"{number}.mp4", "frames": n, "conversations": conversation})
        partial = self.folder / "rows.partial"
        partial.write_text("".join(json.dumps(row) + "\n" for row in rows))
        partial.replace(self.folder / "rows.jsonl")

    def prepared(self, *, stored: bool, start: Start | None = None) -> Prepared:
        """The clips as trials find them, `stored` or only checked. See `prepared`."""
        return prepared(self.files, self.folder / "store", self.cache, stored, start)


def prepared(
    data: NLReferFiles | ShapesWorld, folder: Path, cache: Path, stored: bool, start: Start | None = None
) -> Prepared:
    """The store in `where` and the data set in it. When that is missing, `start` starts Ray to prepare it, and what
    other code has decoded is deleted; without a `start` it must be there (RuntimeError)."""
    model = recipes.tiny().model
    name = naming.clips_fingerprint(data, naming.data_fingerprint(data, cache), model)
    store = SweepStore(str(folder))
    if (clips := load_prepared(store, name, stored=stored)) is None:
        if start is None:
            raise RuntimeError(f"{folder} lacks the clips {name}: worker --scheme setup makes them")
        from swimlab.data.preparation import prepare

        for other in (folder / "clips").glob("*"):
            if other.name != name:
                shutil.rmtree(other)
        start()
        clips = prepare(data, name, store, cache, model=model, store_clips=stored)
    return store, clips


def tiny(steps: int) -> Recipe:
    """Recipe `tiny` for a few steps from fresh weights, each of its clips seen once: no clip is read for free."""
    recipe = recipes.tiny()
    data = recipe.data.model_copy(update={"clips": steps * recipe.optim.batch, "held_out": 1})
    return recipe.override({"data": data, "optim.steps": steps, "init": None})


def tiny_clips(steps: int, cache: Path, start: Start | None = None) -> Prepared:
    """Its clips, stored. See `prepared`."""
    return prepared(tiny(steps).data, cache / "decode-throughput" / f"tiny-{steps}", cache, True, start)


def texture(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """Blots of several sizes, far enough from black and white for the grain to be added without overflow."""
    total_HWC = np.full((height, width, 3), 128.0)
    for cell, contrast in OCTAVES:
        blots = rng.normal(scale=contrast, size=(height // cell + 1, width // cell + 1, 3))
        total_HWC += blots.repeat(cell, axis=0).repeat(cell, axis=1)[:height, :width]
    return np.clip(total_HWC, 16, 235).astype(np.uint8)


def _frames(videos: Videos, n: int, rng: np.random.Generator) -> Iterator[NDArray[np.uint8]]:
    """A textured square crosses a textured ground that drifts the other way, under film grain."""
    H, W = videos.height, videos.width
    side, margin = H // 3, H // 4
    ground_HWC, square_HWC = texture(rng, H + margin, W + margin), texture(rng, side, side)
    grain_HW1 = rng.integers(0, 2 * GRAIN, size=(H + 64, W + 64, 1), dtype=np.uint8)
    turns = rng.uniform(0.3, 1.0, size=4)
    for t in range(n):
        y, x, top, left = (0.5 + 0.5 * np.sin(2 * np.pi * turns * t / FPS + np.arange(4))).tolist()
        y, x = int(y * margin), int(x * margin)
        frame_HWC = ground_HWC[y : y + H, x : x + W].copy()
        top, left = int(top * (H - side)), int(left * (W - side))
        frame_HWC[top : top + side, left : left + side] = square_HWC
        y, x = rng.integers(0, 64, size=2)
        yield frame_HWC + grain_HW1[y : y + H, x : x + W]


def _encode(path: Path, videos: Videos, n: int, rng: np.random.Generator) -> None:
    options = {"crf": "24", "preset": "veryfast", "g": str(GOP), "sc_threshold": "0", "bf": "3"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = videos.width, videos.height, "yuv420p"
        for frame_HWC in _frames(videos, n, rng):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")))
        container.mux(stream.encode(None))
