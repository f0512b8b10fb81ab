"""The process that decodes: `python -m swim.data.video.decoder_child MEMORY_BYTES`, used by `.decoder`.

Requests arrive on stdin; each is answered on stdout, and one answer before the first request reports the start. A
message is four bytes, the length of the JSON that follows. After the answer to "clip" the pixels follow, as many as
both sides compute from the answer and the request.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import struct
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

LENGTH = struct.Struct(">I")
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Reports that it is ready, then answers requests until stdin ends."""
    requests, answers = _isolate(int(sys.argv[1]))
    try:
        # Imported after the limits are set and stdout is redirected, because libraries may print.
        import swim.data.video.decode  # noqa: F401

        ready: dict[str, Any] = {"ready": True}
    except Exception as error:
        ready = {"fault": f"{type(error).__name__}: {error}", "storage": True}
    _send(answers, ready)
    with _VideoCache() as videos:
        while len(head := requests.read(LENGTH.size)) == LENGTH.size:
            request = json.loads(requests.read(LENGTH.unpack(head)[0]))
            _send(answers, *_answer(request, videos))


def _send(answers: BinaryIO, header: dict[str, Any], pixels: Any = b"") -> None:
    message = json.dumps(header).encode()
    answers.write(LENGTH.pack(len(message)) + message)
    answers.write(pixels)
    answers.flush()


def _isolate(memory_bytes: int) -> tuple[BinaryIO, BinaryIO]:
    """Limits this process's memory, ends it with its parent, and redirects stdin and stdout away from libraries."""
    parent = os.getppid()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = memory_bytes if hard == resource.RLIM_INFINITY else min(memory_bytes, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which closes our stdin
    if sys.platform == "linux":
        # A hanging decoder would not notice the end of stdin. The signal is also sent when the thread that started this
        # process ends, so that thread exists as long as the parent.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit("the parent is gone")
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    return requests, answers


class _VideoCache:
    """The last requested video: neighbouring rows often name the same one, and from S3 it has to be downloaded."""

    def __init__(self) -> None:
        self._name: tuple[str, str] | None = None
        self._open = ExitStack()

    def __enter__(self) -> _VideoCache:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @contextmanager
    def path(self, root: str, video: str, scratch: str) -> Iterator[Path]:
        from swim.data.video.media import local_video

        if "://" not in root:
            with local_video(root, video) as path:
                yield path
            return
        if self._name != (root, video):
            self._open.close()
            self._name = None
            self._path = self._open.enter_context(local_video(root, video, Path(scratch)))
            self._name = (root, video)
        yield self._path


def _answer(request: dict[str, Any], videos: _VideoCache) -> tuple[dict[str, Any], Any]:
    """The answer's header, and its pixels."""
    from swim.data.types import DataError

    try:
        return _decode(request, videos)
    except MemoryError:
        return {"memory": True}, b""
    except DataError as error:
        return {"error": {"reason": error.reason, "field": error.field, "hint": error.hint}}, b""
    except Exception as error:
        return {"fault": f"{type(error).__name__}: {error}", "storage": isinstance(error, OSError)}, b""


def _decode(request: dict[str, Any], videos: _VideoCache) -> tuple[dict[str, Any], Any]:
    from swim.data.video.decode import decode_frames, probe
    from swim.data.video.frame_choice import FrameNeeds, plan_frames
    from swim.recipe import FramePolicy

    with videos.path(request["root"], request["video"], request["scratch"]) as path:
        policy = FramePolicy.model_validate(request["policy"])
        info = probe(path, policy.decoder)
        if request["do"] == "probe":
            return {"info": asdict(info)}, b""
        sizes = tuple((h, w) for h, w in request["mask_sizes"])
        needs = FrameNeeds(tuple(request["frames"]), sizes, request["numbering"])
        indices, size = plan_frames(info, needs, policy)
        frames_THWC, _ = decode_frames(path, indices, size, policy.decoder)
        return {"info": asdict(info)}, frames_THWC.data.cast("B")


if __name__ == "__main__":
    main()
