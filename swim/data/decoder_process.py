"""A child process on two pipes, every read and write with a deadline, and what became of it when it is gone."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import swim

_PIPE_BYTES = 2**20  # what Linux gives everybody; with its usual 64 KiB one clip means 900 changes of process
_F_SETPIPE_SZ = 1031
_LAST_WORDS_S = 5.0  # a killed process may be stuck in the kernel: it is waited for so long, and no longer
# One thread: a decoder per core is the caller's business. Arenas and pools of threads would only eat address space.
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}


class DiedError(Exception):
    """The child is gone, or speaks no sense."""


class LateError(Exception):
    """The deadline has passed."""


class Process:
    """A started child. `end` of each transfer is a time of `time.monotonic`."""

    def __init__(self, command: Sequence[str]) -> None:
        paths = [str(Path(swim.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | _ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
        self._child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            bufsize=0,
        )
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._in, self._out = self._child.stdin.fileno(), self._child.stdout.fileno()
        for pipe in (self._in, self._out):
            os.set_blocking(pipe, False)
        with suppress(OSError):  # only faster
            fcntl.fcntl(self._out, _F_SETPIPE_SZ, _PIPE_BYTES)

    @property
    def pid(self) -> int:
        return self._child.pid

    def alive(self) -> bool:
        """Whether it still runs."""
        return self._child.poll() is None

    def write(self, message: bytes, end: float) -> None:
        """Sends all of it. Raises LateError or DiedError."""
        rest = memoryview(message)
        while len(rest):
            _wait(self._in, select.POLLOUT, end)
            try:
                rest = rest[os.write(self._in, rest) :]
            except BlockingIOError:
                continue
            except BrokenPipeError as error:
                raise DiedError("it closed its pipe") from error

    def read(self, size: int, end: float) -> bytes:
        """Exactly `size` bytes. Raises LateError or DiedError."""
        buffer = bytearray(size)
        self.read_into(memoryview(buffer), end)
        return bytes(buffer)

    def read_into(self, buffer: memoryview, end: float) -> None:
        """Fills `buffer`. Raises LateError or DiedError."""
        while len(buffer):
            _wait(self._out, select.POLLIN, end)
            try:
                got = os.readv(self._out, [buffer])
            except BlockingIOError:
                continue
            if not got:
                raise DiedError("it closed its pipe")
            buffer = buffer[got:]

    def end(self) -> str:
        """Kills it, if need be. What it died of by itself, or an empty string where that says nothing."""
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(0.2 if self._child.poll() is None else 0)  # an ending process closes its pipes first
        status = self._child.poll()
        self._child.kill()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                pipe.close()
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(_LAST_WORDS_S)
        if not status:
            return ""
        return f"signal {signal.Signals(-status).name}" if status < 0 else f"exit code {status}"

    def forget(self) -> None:
        """For a forked-off process, whose parent's child this is: closes our copies of the pipes, harms nobody."""
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                pipe.close()
        self._child.returncode = 0  # not ours to wait for


def _wait(pipe: int, event: int, end: float) -> None:
    poll = select.poll()
    poll.register(pipe, event)
    left_s = end - time.monotonic()
    if left_s <= 0 or not poll.poll(left_s * 1000):
        raise LateError
