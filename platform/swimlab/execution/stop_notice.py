"""Notice to trials that they are about to end, so that they save the step they are at.

The driver gives it on its first Ctrl-C or SIGTERM (of a batch system, `docker stop`, Kubernetes), waits for its trials
to save, and ends as it would have at once. Ray Train gives it to a group of workers before a machine of theirs is taken
away. The driver's notice and its trials' answers are keys in Ray's key-value store, which a trial reads once a second.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any
from uuid import uuid4

import ray.train
import torch
from ray.experimental import internal_kv
from ray.tune import Callback
from rich.console import Console

from swim import parallel
from swimlab.base.screen import say

# The longest notice that a cloud gives of a spot machine's end. A batch system that gives less kills before.
NOTICE_S = 120.0
LISTEN_EVERY_S = 1.0
_TRAINING, _SAVED = b"training", b"saved"


def _key(session: str, name: str) -> bytes:
    return f"swimlab/{session}/{name}".encode()


class StopNotice:
    """Receives the notice, on every rank of a trial; a context of its training. `session`: of the driver, which waits
    for this trial; None where none does. `grouped`: in a worker group of Ray Train."""

    def __init__(self, session: str | None, trial_id: str, device: torch.device, *, grouped: bool) -> None:
        self._rank, _ = parallel.ranks()
        self._session, self._trial_id, self._device, self._grouped = session, trial_id, device, grouped
        self._listened_s = time.monotonic()
        self._given = False

    def __enter__(self) -> StopNotice:
        self._tell(_TRAINING)
        return self

    def __exit__(self, *_: object) -> None:
        self._tell(None)

    def given(self, due: bool) -> tuple[bool, bool]:
        """(Is there a notice, for the first time? Is a save due, as rank 0 has it?) All ranks call after each step, and
        get the same answer."""
        now_s = time.monotonic()
        listens = self._rank == 0 and not self._given and now_s - self._listened_s >= LISTEN_EVERY_S
        told = listens and self._session and internal_kv._internal_kv_exists(_key(self._session, "stop"))
        listens, told, due = map(bool, parallel.from_rank_0((listens, bool(told), due), self._device))
        if listens:
            self._listened_s = now_s
            told = told or (self._grouped and ray.train.get_preemption_info() is not None)
        self._given = self._given or told
        return told, due

    def saved(self) -> None:
        """What the notice asked for is done."""
        self._tell(_SAVED)

    def _tell(self, state: bytes | None) -> None:
        if self._session and self._rank == 0:
            key = _key(self._session, f"trial/{self._trial_id}")
            if state:
                internal_kv._internal_kv_put(key, state)
            else:
                internal_kv._internal_kv_del(key)


class Stopping(Callback):  # type: ignore[misc]  # Ray ships no types
    """Tune's callback, in the driver: the first signal gives the trials notice; once they have saved, or on the second
    signal, the driver ends as it would have at once."""

    def __init__(self, console: Console) -> None:
        self.session = uuid4().hex
        self._console = console
        self._signal: tuple[int, Any] | None = None
        self._until_s: float | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks beside its own state and runs the original

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Inside the block the first signal is a notice."""
        if threading.current_thread() is not threading.main_thread():
            yield  # signals reach the main thread only
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def first(number: int, _: FrameType | None) -> None:
            self._signal = number, before[signal.Signals(number)]
            restore()

        def restore() -> None:
            for number, handler in before.items():
                signal.signal(number, handler)

        for number, handler in before.items():
            if callable(handler):  # else the signal is ignored, or ends the process without a word
                signal.signal(number, first)
        try:
            yield
        finally:
            restore()
            if self._until_s is not None:
                internal_kv._internal_kv_del(_key(self.session, ""), del_by_prefix=True)

    def on_step_end(self, iteration: int, trials: list[Any], **_: Any) -> None:
        """Tune: once round its loop. Raises what the signal would have raised."""
        if self._signal is None:
            return
        number, handler = self._signal
        if self._until_s is None:
            self._until_s = time.monotonic() + NOTICE_S
            internal_kv._internal_kv_put(_key(self.session, "stop"), b"1")
            say(self._console, "stopping: trials save the step they are at; once more to stop at once")
        keys = internal_kv._internal_kv_list(_key(self.session, "trial/"))
        if time.monotonic() < self._until_s and any(internal_kv._internal_kv_get(key) == _TRAINING for key in keys):
            return
        self._signal = None
        handler(number, None)
