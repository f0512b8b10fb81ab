"""Decoding in a child process, which may hang, crash or run out of memory without ending this process.

Videos may be hostile, and decoders are large C programs. The child gets a path and a plan. Its answer is checked before
it is used: JSON of a known shape, and exactly as many bytes as the sizes of the frames. Nothing that it sends is
executed.
"""

from __future__ import annotations

import atexit
import json
import math
import os
import shlex
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from swim.data.annotations.samples import locate
from swim.data.limits import MAX_SIDE_PX
from swim.data.types import Clip, DataError, MachineError, ReferSample
from swim.data.video.child_process import KILLED, ChildDiedError, ChildProcess, DeadlineError
from swim.data.video.decoder_child import LENGTH
from swim.data.video.frame_choice import (
    MAX_FRAMES,
    MAX_PIXELS,
    FrameNeeds,
    VideoInfo,
    at_positions,
    build_clip,
    frame_needs,
    plan_frames,
    video_error,
)
from swim.data.video.numbering import NumberRun
from swim.recipe import FramePolicy

DEADLINE_S = 300.0
# Address space, because it can be limited. Decoding 720p takes 0.4 GB of it (0.2 GB of memory).
MEMORY_BYTES = 2 * 2**30
_MAX_ANSWER_BYTES = 2**18  # the numbers in the names of pictures may take most of it
_MAX_TEXT_CHARS = 2000

_START_S = 60.0  # its imports take half a second, on a busy disk much longer

# A late child that computed for this share of the deadline has a video that takes long; any other one was kept waiting.
_BUSY_SHARE = 0.8
_DEATH_WAIT_S = 2.0
_MACHINE_HINT = "this machine had too little memory or time: try again when it has more, else write the video again"

Decoded = TypeVar("Decoded")
DecodedVideo = tuple[VideoInfo, list[int], NDArray[np.uint8]]


class Decoder:
    """Decodes rows' videos under `root`, a folder or s3://bucket/prefix, in one child process.

    The child starts at first use, and again after it has died. A request that takes longer than `deadline_s` seconds,
    or whose child needs more than `memory_bytes` of address space or dies twice, is a DataError; a MachineError where
    the child was killed, or waited for most of that time. Videos on S3 are fetched into `scratch`. Threads may share a
    decoder; a forked process starts a child of its own.
    """

    def __init__(
        self,
        root: str,
        policy: FramePolicy,
        deadline_s: float = DEADLINE_S,
        memory_bytes: int = MEMORY_BYTES,
        scratch: Path | None = None,
        command: Sequence[str] = (),
    ) -> None:
        self.root, self.policy, self.deadline_s, self.memory_bytes = root, policy, deadline_s, memory_bytes
        self.deaths = 0
        """The number of children that died, or were killed after an error."""
        default_command = (sys.executable, "-P", "-m", "swim.data.video.decoder_child", str(memory_bytes))
        self._command = tuple(command) or default_command
        self._scratch, self._folder = scratch, ""
        self._child: ChildProcess | None = None
        self._owner = os.getpid()
        self._lock = threading.Lock()

    def __enter__(self) -> Decoder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The child's process id, None where there is none."""
        return self._child.pid if self._child else None

    def close(self) -> None:
        """Ends the child. The next request starts another one."""
        with self._lock:
            self._end()

    def probe(self, video: str) -> VideoInfo:
        """The frames, size and rate of `video`. Raises DataError (field "video") for an unusable video; OSError for
        failures that are not the row's: S3 cannot be reached, the child cannot start."""
        return self._request({"do": "probe", "video": video, "policy": self.policy.model_dump()}, None)[0]

    def clip(self, sample: ReferSample) -> Clip:
        """The clip of a row, as from `swim.data.video.decode.decode_sample`. Raises DataError as that, OSError as
        `probe`."""
        needs = frame_needs(sample)
        request = {"do": "clip", "video": sample.video, "policy": self.policy.model_dump(), **asdict(needs)}
        try:
            info, indices, frames_THWC = self._request(request, needs)
        except DataError as error:
            raise locate(error, file=sample.file, row=sample.row, key=sample.key) from error
        return build_clip(at_positions(sample, info, self.policy), indices, frames_THWC, info.fps)

    def _request(self, request: dict[str, Any], needs: FrameNeeds | None) -> DecodedVideo:
        with self._lock:
            try:
                return self._request_once(request, needs)
            except (ChildDiedError, ChildProcessError):
                pass  # another process may have killed the child: that must not reject a row
            try:
                return self._request_once(request, needs)
            except ChildDiedError as error:
                if str(error) == KILLED:  # by the kernel: its memory is bounded, the machine had less
                    raise MachineError("the decoder was killed twice", field="video", hint=_MACHINE_HINT) from error
                hint = "the file is damaged, or hostile: remove the row, or write the video again"
                raise video_error(f"the decoder died twice ({error})", hint) from error

    def _request_once(self, request: dict[str, Any], needs: FrameNeeds | None) -> DecodedVideo:
        child = self._running_child()
        deadline = time.monotonic() + self.deadline_s
        message = json.dumps({"root": self.root, "scratch": self._folder, **request}).encode()
        indices, frames_THWC = list[int](), np.zeros((0, 0, 0, 3), np.uint8)
        try:
            child.write(LENGTH.pack(len(message)) + message, deadline)
            answer = _parse_answer(_read_answer(child, deadline))
            if isinstance(answer, VideoInfo) and needs is not None:
                # Computed here as well: no number from the child decides how many bytes are read.
                indices, (height, width) = plan_frames(answer, needs, self.policy)
                frames_THWC = np.empty((len(indices), height, width, 3), np.uint8)
                child.read_into(frames_THWC.data.cast("B"), deadline)
        except DeadlineError as error:
            cpu_s = child.cpu_s()
            self._end(died=True)
            if cpu_s < _BUSY_SHARE * self.deadline_s:
                reason = f"decoding took longer than {self.deadline_s:g} s, of which it computed {cpu_s:.2g} s"
                raise MachineError(reason, field="video", hint=_MACHINE_HINT) from error
            hint = "the file is damaged, or too much for this machine: cut the video, or give it more time"
            raise video_error(f"decoding took longer than {self.deadline_s:g} s", hint) from error
        except ChildDiedError as error:
            raise ChildDiedError(self._end(died=True, wait_s=_DEATH_WAIT_S) or str(error)) from error
        except BaseException:  # half an answer may be left in the pipe: the next request must not read it
            self._end(died=True)
            raise
        if isinstance(answer, VideoInfo):
            return answer, indices, frames_THWC
        if isinstance(answer, MemoryError):
            self._end(died=True)  # what it still holds would be missing for the next video
            reason = f"decoding needs more than {self.memory_bytes / 2**30:.3g} GiB"
            raise video_error(reason, "scale the video down, or correct its header")
        raise answer

    def _running_child(self) -> ChildProcess:
        if self._owner != os.getpid():
            if self._child:
                self._child.abandon()
            self._child, self._folder, self._owner = None, "", os.getpid()
        if self._child and not self._child.is_running():
            self._end(died=True)
        if self._child is None:
            if "://" in self.root:
                self._folder = tempfile.mkdtemp(prefix="swim-decoder-", dir=self._scratch)
            self._child = _child_starter().submit(ChildProcess, self._command).result()
            self._wait_until_ready(self._child)
        return self._child

    def _wait_until_ready(self, child: ChildProcess) -> None:
        """Raises ChildProcessError: a child that cannot start is no error of a row."""
        try:
            answer = _read_answer(child, time.monotonic() + max(self.deadline_s, _START_S))
        except (ChildDiedError, DeadlineError) as error:
            cause = self._end(died=True) or str(error) or "no answer"
            raise ChildProcessError(f"the decoder does not start ({cause}): {shlex.join(self._command)}") from error
        except BaseException:
            self._end(died=True)
            raise
        if answer != {"ready": True}:
            self._end(died=True)
            hint = "is it installed, and is memory_bytes large enough?"
            raise ChildProcessError(f"the decoder does not start ({answer!r:.500}): {hint}")

    def _end(self, died: bool = False, wait_s: float = 0.2) -> str:
        """Ends the child and removes its temporary files. Returns its signal or exit code if it had died by itself."""
        if self._child is None or self._owner != os.getpid():
            return ""
        cause = self._child.kill(wait_s)
        self._child = None
        self.deaths += died
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
        return cause


PATIENCE_S = (5.0, 60.0)


def patiently(request: Callable[[], Decoded]) -> Decoded:
    """What a request of a decoder returns, for callers that cannot leave a row for later: after a MachineError it is
    made again, some time later each time. Raises OSError where the last one fails so too: it is no error of the row."""
    for wait_s in (*PATIENCE_S, None):
        try:
            return request()
        except MachineError as error:
            if wait_s is None:
                raise OSError(str(error)) from error
            time.sleep(wait_s)
    raise AssertionError("the last try returns or raises")


_child_starters: dict[int, ThreadPoolExecutor] = {}


def _child_starter() -> ThreadPoolExecutor:
    """The thread that starts children, one for the life of this process: a child is killed when the thread that started
    it ends, and Ray Data runs each task in a thread of its own."""
    return _child_starters.setdefault(os.getpid(), ThreadPoolExecutor(1, thread_name_prefix="decoder-starter"))


def _read_answer(child: ChildProcess, deadline: float) -> Any:
    (size,) = LENGTH.unpack(child.read(LENGTH.size, deadline))
    if size > _MAX_ANSWER_BYTES:
        raise ChildDiedError(f"it announced an answer of {size} bytes")
    try:
        return json.loads(child.read(size, deadline))
    except (ValueError, RecursionError) as error:
        raise ChildDiedError("its answer is not readable") from error


def _parse_answer(answer: Any) -> VideoInfo | Exception:
    """The information about the video, or the error that the child reports. Raises ChildDiedError for anything else."""
    try:
        match answer:
            case {"info": dict(fields)}:
                info = VideoInfo(**fields)
                if info.numbers is not None:
                    info = replace(info, numbers=tuple((first, step, count) for first, step, count in info.numbers))
                if _is_plausible(info):
                    return info
            case {"error": {"reason": str(reason), "field": str(field), "hint": str(hint)}}:
                return DataError(reason[:_MAX_TEXT_CHARS], field=field[:_MAX_TEXT_CHARS], hint=hint[:_MAX_TEXT_CHARS])
            case {"memory": True}:
                return MemoryError()
            case {"fault": str(text), "storage": bool(storage)}:
                return (OSError if storage else RuntimeError)(text[:_MAX_TEXT_CHARS])
    except (TypeError, ValueError):  # fields of other names or kinds
        pass
    raise ChildDiedError("its answer is not readable")


def _is_plausible(info: VideoInfo) -> bool:
    counts = (info.frames, info.height, info.width)
    if any(type(count) is not int or count < 1 for count in counts) or type(info.fps) is not float:
        return False
    if info.numbers and not _are_runs(info.numbers, info.frames):
        return False
    small = info.frames <= MAX_FRAMES and max(counts[1:]) <= MAX_SIDE_PX and info.height * info.width <= MAX_PIXELS
    return small and math.isfinite(info.fps) and info.fps > 0 and type(info.seekable) is bool


def _are_runs(numbers: tuple[NumberRun, ...], frames: int) -> bool:
    """Whether these are ascending numbers for all frames."""
    if any(type(value) is not int for run in numbers for value in run):
        return False
    if any(first < 0 or step < 1 or count < 1 for first, step, count in numbers):
        return False
    ends = [first + step * (count - 1) for first, step, count in numbers]
    ascending = all(end < first for end, (first, _, _) in zip(ends, numbers[1:], strict=False))
    return ascending and sum(count for _, _, count in numbers) == frames


_shared: tuple[tuple[object, ...], Decoder] | None = None
_shared_lock = threading.Lock()


def shared_decoder(
    root: str,
    policy: FramePolicy,
    deadline_s: float = DEADLINE_S,
    memory_bytes: int = MEMORY_BYTES,
    scratch: Path | None = None,
) -> Decoder:
    """This process's decoder: one child for all tasks that run here one after another, a new one when arguments
    change."""
    global _shared
    key = (os.getpid(), root, policy, deadline_s, memory_bytes, scratch)
    with _shared_lock:
        if _shared is None or _shared[0] != key:
            if _shared is not None:
                _shared[1].close()
            _shared = (key, Decoder(root, policy, deadline_s, memory_bytes, scratch))
        return _shared[1]


@atexit.register
def _close_shared() -> None:
    if _shared is not None:
        _shared[1].close()
