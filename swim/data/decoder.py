"""Decoding in a process of its own, which may hang, crash or run out of memory without harm to anybody else.

Videos come from strangers, and decoders are large C programs. The child gets a path and a plan; what it sends back is
checked before it is believed: JSON of a known shape, and exactly as many bytes as the frames' sizes say. Nothing that
it sends is ever executed.
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
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swim.data.decoder_child import LENGTH
from swim.data.decoder_process import DiedError, LateError, Process
from swim.data.frames import MAX_FRAMES, MAX_PIXELS, Needs, VideoInfo, build_clip, needs, plan, video_error
from swim.data.limits import MAX_SIDE_PX
from swim.data.samples import locate
from swim.data.types import Clip, DataError, ReferSample
from swim.recipe import FramePolicy

DEADLINE_S = 300.0
# Of address space, which is what can be limited. Decoding 720p takes 0.4 GB of it (0.2 GB of memory).
MEMORY_BYTES = 2 * 2**30
_MAX_ANSWER_BYTES = 2**16
_MAX_TEXT_CHARS = 2000

_START_S = 60.0  # it imports for half a second; a busy disk may make that many

Answer = tuple[VideoInfo, list[int], NDArray[np.uint8]]


class Decoder:
    """Decodes rows' videos under `root`, a folder or s3://bucket/prefix, in one child process.

    The child starts at first use, and again after a death. A request that takes longer than `deadline_s` seconds, or
    whose child needs more than `memory_bytes` of address space or dies twice, is a DataError. Videos on S3 are fetched
    into `scratch`. Threads may share a decoder; a process that was forked off starts a child of its own.
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
        """How many children have died, or were killed for what they did."""
        own = (sys.executable, "-P", "-m", "swim.data.decoder_child", str(memory_bytes))
        self._command = tuple(command) or own
        self._scratch, self._folder = scratch, ""
        self._child: Process | None = None
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
        """Ends the child. The next request would start another one."""
        with self._lock:
            self._end()

    def probe(self, video: str) -> VideoInfo:
        """What `video` shows. Raises DataError (field "video") for the row; OSError for what is not its fault: S3 that
        cannot be reached, a child that cannot start."""
        return self._ask({"do": "probe", "video": video}, None)[0]

    def clip(self, sample: ReferSample) -> Clip:
        """What `swim.data.video.decode_sample` gives. Raises DataError as that does, and OSError as `probe`."""
        asked = needs(sample)
        request = {"do": "clip", "video": sample.video, "policy": self.policy.model_dump(), **asdict(asked)}
        try:
            info, indices, frames_THWC = self._ask(request, asked)
        except DataError as error:
            raise locate(error, file=sample.file, row=sample.row, key=sample.key) from error
        return build_clip(sample, indices, frames_THWC, info.fps)

    def _ask(self, request: dict[str, Any], asked: Needs | None) -> Answer:
        with self._lock:
            try:
                return self._ask_once(request, asked)
            except (DiedError, ChildProcessError):
                pass  # somebody else may have killed the child: that must not cost a row
            try:
                return self._ask_once(request, asked)
            except DiedError as error:
                hint = "the file is damaged, or made to do harm: remove the row, or write the video again"
                raise video_error(f"the decoder died twice ({error})", hint) from error

    def _ask_once(self, request: dict[str, Any], asked: Needs | None) -> Answer:
        child = self._started()
        end = time.monotonic() + self.deadline_s
        message = json.dumps({"root": self.root, "scratch": self._folder, **request}).encode()
        indices, frames_THWC = list[int](), np.zeros((0, 0, 0, 3), np.uint8)
        try:
            child.write(LENGTH.pack(len(message)) + message, end)
            answer = _checked(_answer(child, end))
            if isinstance(answer, VideoInfo) and asked is not None:
                # Computed on this side too: no number that the child sends says how much is read.
                indices, (height, width) = plan(answer, asked, self.policy)
                frames_THWC = np.empty((len(indices), height, width, 3), np.uint8)
                child.read_into(frames_THWC.data.cast("B"), end)
        except LateError as error:
            self._end(died=True)
            hint = "the file is damaged, or too much for this machine: cut the video, or give it more time"
            raise video_error(f"decoding took longer than {self.deadline_s:g} s", hint) from error
        except DiedError as error:
            raise DiedError(self._end(died=True) or str(error)) from error
        except BaseException:  # half an answer may be left in the pipe: the next request must not find it
            self._end(died=True)
            raise
        if isinstance(answer, VideoInfo):
            return answer, indices, frames_THWC
        if isinstance(answer, MemoryError):
            self._end(died=True)  # what it still holds would be missing for the next video
            reason = f"decoding needs more than {self.memory_bytes / 2**30:.3g} GiB"
            raise video_error(reason, "scale the video down, or mend its header")
        raise answer

    def _started(self) -> Process:
        if self._owner != os.getpid():
            if self._child:
                self._child.forget()
            self._child, self._folder, self._owner = None, "", os.getpid()
        if self._child and not self._child.alive():
            self._end(died=True)
        if self._child is None:
            if "://" in self.root:
                self._folder = tempfile.mkdtemp(prefix="swim-decoder-", dir=self._scratch)
            self._child = _starter().submit(Process, self._command).result()
            self._wait_until_ready(self._child)
        return self._child

    def _wait_until_ready(self, child: Process) -> None:
        """Raises ChildProcessError: a child that cannot start says nothing about any row."""
        try:
            answer = _answer(child, time.monotonic() + max(self.deadline_s, _START_S))
        except (DiedError, LateError) as error:
            cause = self._end(died=True) or str(error) or "no answer"
            raise ChildProcessError(f"the decoder does not start ({cause}): {shlex.join(self._command)}") from error
        except BaseException:
            self._end(died=True)
            raise
        if answer != {"ready": True}:
            self._end(died=True)
            hint = "is it installed, and are its memory_bytes enough?"
            raise ChildProcessError(f"the decoder does not start ({answer!r:.500}): {hint}")

    def _end(self, died: bool = False) -> str:
        """Ends the child and removes what it fetched. What it had died of by itself, or an empty string."""
        if self._child is None or self._owner != os.getpid():
            return ""
        cause = self._child.end()
        self._child = None
        self.deaths += died
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
        return cause


_starters: dict[int, ThreadPoolExecutor] = {}


def _starter() -> ThreadPoolExecutor:
    """This process's thread that starts children and lives as long as the process: a child is killed when the thread
    that started it ends, and Ray Data runs each task in a thread of its own."""
    return _starters.setdefault(os.getpid(), ThreadPoolExecutor(1, thread_name_prefix="decoder-starter"))


def _answer(child: Process, end: float) -> Any:
    (size,) = LENGTH.unpack(child.read(LENGTH.size, end))
    if size > _MAX_ANSWER_BYTES:
        raise DiedError(f"it announced an answer of {size} bytes")
    try:
        return json.loads(child.read(size, end))
    except (ValueError, RecursionError) as error:
        raise DiedError("it sent something unreadable") from error


def _checked(answer: Any) -> VideoInfo | Exception:
    """The child's word, or the error it reports. Raises DiedError for anything but these."""
    try:
        match answer:
            case {"info": dict(fields)}:
                info = VideoInfo(**fields)
                if _possible(info):
                    return info
            case {"error": {"reason": str(reason), "field": str(field), "hint": str(hint)}}:
                return DataError(reason[:_MAX_TEXT_CHARS], field=field[:_MAX_TEXT_CHARS], hint=hint[:_MAX_TEXT_CHARS])
            case {"memory": True}:
                return MemoryError()
            case {"fault": str(text), "storage": bool(storage)}:
                return (OSError if storage else RuntimeError)(text[:_MAX_TEXT_CHARS])
    except TypeError:  # fields of other names
        pass
    raise DiedError("it sent something unreadable")


def _possible(info: VideoInfo) -> bool:
    counts = (info.frames, info.height, info.width)
    if any(type(count) is not int or count < 1 for count in counts) or type(info.fps) is not float:
        return False
    small = info.frames <= MAX_FRAMES and max(counts[1:]) <= MAX_SIDE_PX and info.height * info.width <= MAX_PIXELS
    return small and math.isfinite(info.fps) and info.fps > 0 and type(info.seekable) is bool


_shared: tuple[tuple[object, ...], Decoder] | None = None
_shared_lock = threading.Lock()


def shared_decoder(
    root: str,
    policy: FramePolicy,
    deadline_s: float = DEADLINE_S,
    memory_bytes: int = MEMORY_BYTES,
    scratch: Path | None = None,
) -> Decoder:
    """This process's decoder: one child for all tasks that run here in turn, another one when arguments change."""
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
