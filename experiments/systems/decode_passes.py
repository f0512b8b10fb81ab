"""The readers that are compared. Each gets the same frames of the same videos in the same order and hands them on clip
after clip; nobody looks at the pixels.

Dimensions: T frames, H × W pixels, C = 3 (RGB).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import decord
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from decode_data import Data, FrameRequest

# What starts with every pass (0.3 s for Ray Data) is little in a trial, which reads thousands of clips.
WARM_TIMES = 2

# A pass: scheme, processes, how often each clip is read, and what reads them and yields the number of frames of each.
Pass = tuple[str, int, int, Callable[[], Iterable[int]]]


def _decord(data: Data, processes: int) -> Iterator[Pass]:
    yield "decord", 1, 1, lambda: (len(by_decord(request)) for request in data.frame_requests())


def _decord_scaled(data: Data, processes: int) -> Iterator[Pass]:
    yield "decord-scaled", 1, 1, lambda: (len(by_decord(request, scaled=True)) for request in data.frame_requests())


def _decord_resized(data: Data, processes: int) -> Iterator[Pass]:
    yield "decord+resize", 1, 1, lambda: (len(resized(request)) for request in data.frame_requests())


def by_decord(request: FrameRequest, scaled: bool = False) -> NDArray[np.uint8]:
    """The frames (T, H, W, 3) as large as the video has them; `scaled`: as large as they are wanted, by decord itself,
    which then converts no whole frame to RGB."""
    size = {"height": request.size[0], "width": request.size[1]} if scaled else {}
    frames_THWC: NDArray[np.uint8] = (
        decord.VideoReader(request.path, num_threads=1, **size).get_batch(request.indices).asnumpy()
    )
    return frames_THWC


def resized(request: FrameRequest) -> NDArray[np.uint8]:
    """The frames (T, H, W, 3) as large as they are wanted, resized as most trainers do it."""
    frames_THWC = by_decord(request)
    if frames_THWC.shape[1:3] == request.size:
        return frames_THWC
    size = request.size[::-1]
    return np.stack([np.asarray(Image.fromarray(f).resize(size, Image.Resampling.BICUBIC)) for f in frames_THWC])


class _Dataset:
    """For torch's DataLoader: clip i, decoded and resized, as a tensor (which travels through shared memory)."""

    def __init__(self, requests: list[FrameRequest]) -> None:
        self._requests = requests

    def __len__(self) -> int:
        return len(self._requests)

    def __getitem__(self, i: int) -> Any:
        import torch

        return torch.from_numpy(resized(self._requests[i]))


def _dataloader(data: Data, processes: int) -> Iterator[Pass]:
    """The warm pass finds its workers running, as ours does."""
    from torch.utils.data import DataLoader

    loader = DataLoader(
        _Dataset(data.frame_requests()), batch_size=None, num_workers=processes, persistent_workers=True
    )

    def read(times: int) -> Iterator[int]:
        return (len(frames_THWC) for _ in range(times) for frames_THWC in loader)

    yield "dataloader-cold", processes, 1, lambda: read(1)
    yield "dataloader", processes, WARM_TIMES, lambda: read(WARM_TIMES)


def _own_pipeline(data: Data, processes: int) -> Iterator[Pass]:
    """What a trial gets that decodes as it goes: first with all that has to start, then again."""
    from swimlab.data.streamed_clips import StreamedClips

    store, prepared = data.prepared(stored=False)
    clips = StreamedClips(store, prepared, "train", data.files, cpus=processes)

    def read(times: int) -> Iterator[int]:
        start_ray(processes)
        order = [*range(len(clips.keys))] * times
        return (len(clip.frames_THWC) for clip in clips.read(order))

    yield "ours-cold", processes, 1, lambda: read(1)
    yield "ours-warm", processes, WARM_TIMES, lambda: read(WARM_TIMES)


def _prepare(data: Data, processes: int) -> Iterator[Pass]:
    """What the first trial of a data set waits for: Ray's start, decoding, Parquet in the store."""
    from swimlab.data.preparation import prepare
    from swimlab.store.sweep_store import SweepStore

    with tempfile.TemporaryDirectory(dir=data.folder, ignore_cleanup_errors=True) as scratch:

        def read() -> Iterator[int]:
            start_ray(processes)
            prepare(data.files, "measured", SweepStore(f"{scratch}/store"), Path(scratch))
            return (len(request.indices) for request in data.frame_requests())

        yield "prepare", processes, 1, read


def _cached(data: Data, processes: int) -> Iterator[Pass]:
    """What every later trial does: the stored clips, read for the first time by a fresh process."""
    from swimlab.data.prepared_clips import StoredClips

    store, prepared = data.prepared(stored=True)

    def read() -> Iterator[int]:
        clips = StoredClips(store, prepared, "train")
        return (len(clip.frames_THWC) for clip in clips.read(range(len(clips.keys))))

    yield "cached", 1, 1, read


PASSES: dict[str, Callable[[Data, int], Iterator[Pass]]] = {
    "decord": _decord,
    "decord-scaled": _decord_scaled,
    "decord+resize": _decord_resized,
    "dataloader": _dataloader,
    "ours": _own_pipeline,
    "prepare": _prepare,
    "cached": _cached,
}


def start_ray(processes: int, **options: Any) -> None:
    """A Ray of our own on so many CPUs, unless this process has one."""
    import ray

    if not ray.is_initialized():
        ray.init(
            address="local",
            num_cpus=processes,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="error",
            **options,
        )
