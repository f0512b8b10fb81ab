"""Which process owns an attempt, and whether it is alive.

There are two tests. A heartbeat object must change within a time that the observer measures with its own monotonic
clock (clocks of different machines are never compared). For a claim made on the observer's machine the process table
decides at once, without waiting for the heartbeat to expire.
"""

import json
import logging
import os
import socket
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from swim.recipe import Frozen
from swimlab.store.live_progress import ProgressRecorder

_log = logging.getLogger(__name__)

# psutil derives the start time from the boot time, which moves a little when the clock is set.
_START_TOLERANCE_S = 2.0


class Owner(Frozen):
    """The process behind a claim. `realm` is one boot of one kernel and one pid namespace: two containers that share a
    host name do not see each other's processes, so neither can tell whether the other's are alive."""

    host: str
    realm: str
    pid: int
    started_s: float

    @classmethod
    def current(cls) -> "Owner":
        """This process."""
        pid = os.getpid()
        return cls(host=socket.gethostname(), realm=_realm(), pid=pid, started_s=psutil.Process(pid).create_time())

    def has_exited(self, observer: "Owner") -> bool:
        """True when the observer can see that this process has ended; False when it is alive or not visible."""
        if not self.realm or (self.host, self.realm) != (observer.host, observer.realm):
            return False
        try:
            process = psutil.Process(self.pid)
            return bool(
                abs(process.create_time() - self.started_s) > _START_TOLERANCE_S
                or process.status() == psutil.STATUS_ZOMBIE
            )
        except psutil.NoSuchProcess:
            return True
        except psutil.AccessDenied:
            return False


def _realm() -> str:
    """Boot id and pid namespace; empty where the kernel provides neither, so that only heartbeats decide."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


class Heartbeat:
    """Rewrites one small object every `interval_s`, from a daemon thread. `write` gets the content: the owner's nonce,
    the time (for display only) and the trial's latest progress."""

    def __init__(self, write: Callable[[bytes], None], nonce: str, interval_s: float) -> None:
        self._write, self._nonce, self._interval_s = write, nonce, interval_s
        self._count = 0
        self._latest = ProgressRecorder()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"heartbeat-{nonce[:8]}", daemon=True)

    def start(self) -> None:
        """Write the first beat, so that an error of the store reaches the caller, and start the thread."""
        self._beat(released=False)
        self._thread.start()

    def tell(self, values: Mapping[str, Any]) -> None:
        """Pass a progress report on to the next beat (see `swimlab.store.live_progress`)."""
        self._latest.tell(values)

    def stop(self, *, released: bool) -> None:
        """Stop the thread. `released`: write a last beat that frees the attempt at once."""
        self._stop.set()
        self._thread.join()
        if released:
            self._beat(released=True)

    def _beat(self, *, released: bool) -> None:
        self._count += 1
        beat: dict[str, Any] = {"nonce": self._nonce, "count": self._count, "released": released}
        beat["at"] = datetime.now(UTC).isoformat(timespec="seconds")
        if (progress := self._latest.progress) is not None:
            beat["progress"] = progress.model_dump()
        self._write(json.dumps(beat).encode())

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            try:
                self._beat(released=False)
            except Exception as error:
                # The trial goes on: an outage of the store shorter than `dead_after_s` does no harm.
                _log.warning("heartbeat not written, trying again in %.0f s: %s", self._interval_s, error)


def released(beat: bytes | None) -> bool:
    """Whether the owner released the attempt with its last beat."""
    return beat is not None and bool(json.loads(beat)["released"])


class HeartbeatObserver:
    """Remembers when each heartbeat last changed. A heartbeat that was not observed before counts as alive."""

    def __init__(self, dead_after_s: float, clock: Callable[[], float]) -> None:
        self.dead_after_s, self._clock = dead_after_s, clock
        self._seen: dict[str, tuple[bytes | None, float]] = {}

    def is_dead(self, key: str, beat: bytes | None) -> bool:
        """True once the beat under `key` (None: not written yet) did not change for `dead_after_s`."""
        now_s = self._clock()
        last, since_s = self._seen.get(key, (None, now_s))
        if key not in self._seen or last != beat:
            self._seen[key] = (beat, now_s)
            return False
        return now_s - since_s >= self.dead_after_s
