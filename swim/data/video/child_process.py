"""A child process on two pipes: reads and writes have a deadline, and its exit status is reported as text."""

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

import psutil

import swim

# Linux allows this without privileges; with the default of 64 KiB one clip takes 900 context switches.
_PIPE_BYTES = 2**20
_F_SETPIPE_SZ = 1031
KILLED = "signal SIGKILL"
_EXIT_WAIT_S = 5.0  # a killed process may be stuck in the kernel: the longest wait for its exit
# One thread: the caller runs one decoder per core. Arenas and thread pools would only use address space.
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}


class ChildDiedError(Exception):
    """The child has exited, or sent an invalid answer."""


class DeadlineError(Exception):
    """The deadline has passed."""


class ChildProcess:
    """A started child. `deadline` of each transfer is a time of `time.monotonic`."""

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

    def is_running(self) -> bool:
        """Whether the process has not exited yet."""
        return self._child.poll() is None

    def write(self, message: bytes, deadline: float) -> None:
        """Sends the whole message. Raises DeadlineError or ChildDiedError."""
        unsent = memoryview(message)
        while len(unsent):
            _wait(self._in, select.POLLOUT, deadline)
            try:
                unsent = unsent[os.write(self._in, unsent) :]
            except BlockingIOError:
                continue
            except BrokenPipeError as error:
                raise ChildDiedError("it closed its pipe") from error

    def read(self, size: int, deadline: float) -> bytes:
        """Exactly `size` bytes. Raises DeadlineError or ChildDiedError."""
        buffer = bytearray(size)
        self.read_into(memoryview(buffer), deadline)
        return bytes(buffer)

    def read_into(self, buffer: memoryview, deadline: float) -> None:
        """Fills `buffer`. Raises DeadlineError or ChildDiedError."""
        while len(buffer):
            _wait(self._out, select.POLLIN, deadline)
            try:
                received = os.readv(self._out, [buffer])
            except BlockingIOError:
                continue
            if not received:
                raise ChildDiedError("it closed its pipe")
            buffer = buffer[received:]

    def cpu_s(self) -> float:
        """Seconds of CPU that it has used."""
        try:
            times = psutil.Process(self.pid).cpu_times()
        except psutil.Error:
            return 0.0
        return float(times.user + times.system)

    def kill(self, wait_s: float = 0.2) -> str:
        """Ends the process. Returns its signal or exit code if it had failed by itself, else an empty string. `wait_s`:
        for its exit, since an exiting process closes its pipes first, and returns much memory before it has exited."""
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(wait_s if self._child.poll() is None else 0)
        status = self._child.poll()
        self._child.kill()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                pipe.close()
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(_EXIT_WAIT_S)
        if not status:
            return ""
        return f"signal {signal.Signals(-status).name}" if status < 0 else f"exit code {status}"

    def abandon(self) -> None:
        """For a forked process, whose parent owns this child: closes the inherited pipes only."""
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                pipe.close()
        self._child.returncode = 0  # this process must not wait for it


def _wait(pipe: int, event: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(pipe, event)
    left_s = deadline - time.monotonic()
    if left_s <= 0 or not poll.poll(left_s * 1000):
        raise DeadlineError
