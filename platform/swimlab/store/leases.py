"""Which process owns an attempt, and whether it is alive.

There are two tests. A heartbeat object must change within a time that the observer measures with its own monotonic
clock (clocks of different machines are never compared). For a claim made on the observer's machine the process table
decides at once, without waiting for the heartbeat to expire. No test uses the time of day, so setting the clock changes
nothing.
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

from swim.recipe import Frozen
from swimlab.store.backends.patience import SHORT_S, waiting_at_most
from swimlab.store.live_progress import ProgressRecorder
from swimlab.store.sealed_json import sealed, unsealed

_log = logging.getLogger(__name__)


class Owner(Frozen):
    """The process behind a claim. `realm` is one boot of one kernel and one pid namespace: two containers that share a
    host name do not see each other's processes, so neither can tell whether the other's are alive. `started_ticks`:
    when it started, in the kernel's ticks since the boot; None where the system does not tell. `started_s`: the same by
    the time of day, in older claims; it moves when the clock is set, and is ignored."""

    host: str
    realm: str
    pid: int
    started_ticks: int | None = None
    started_s: float | None = None

    @classmethod
    def current(cls) -> "Owner":
        """This process."""
        pid = os.getpid()
        status = _process_status(pid)
        return cls(
            host=socket.gethostname(), realm=_realm(), pid=pid, started_ticks=None if status is None else status[1]
        )

    def has_exited(self, observer: "Owner") -> bool:
        """True when the observer can see that this process has ended; False when it is alive or not visible."""
        if not self.realm or (self.host, self.realm) != (observer.host, observer.realm) or self.started_ticks is None:
            return False
        if (status := _process_status(self.pid)) is None:
            return not _exists(self.pid)
        state, started_ticks = status
        return started_ticks != self.started_ticks or state in ("Z", "X")


def _process_status(pid: int) -> tuple[str, int] | None:
    """State and start time of a process in ticks; None where /proc does not show it."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The second field is the program's name in brackets, which may contain brackets and spaces.
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[19])  # fields 3 and 22 of proc(5)


def _exists(pid: int) -> bool:
    """Whether there is such a process; /proc may be mounted so that it hides those of other users."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _realm() -> str:
    """Boot id and the namespaces of pids and of start times; empty where the kernel does not provide them, so that only
    heartbeats decide."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return "/".join((boot, os.readlink("/proc/self/ns/pid"), os.readlink("/proc/self/ns/time")))
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
            with waiting_at_most(SHORT_S):
                self._beat(released=True)

    def _beat(self, *, released: bool) -> None:
        self._count += 1
        beat: dict[str, Any] = {"nonce": self._nonce, "count": self._count, "released": released}
        beat["at"] = datetime.now(UTC).isoformat(timespec="seconds")
        if (progress := self._latest.progress) is not None:
            beat["progress"] = progress.model_dump()
        self._write(sealed(beat))

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            try:
                with waiting_at_most(0.0):  # a beat that waits would be old when it is written
                    self._beat(released=False)
            except Exception as error:
                # The trial goes on: an outage of the store shorter than `dead_after_s` does no harm.
                _log.warning("heartbeat not written, trying again in %.0f s: %s", self._interval_s, error)


def released(beat: bytes | None) -> bool:
    """Whether the owner released the attempt with its last beat. A damaged beat says no."""
    try:
        content = json.loads(beat or b"{}")
        return isinstance(content, dict) and unsealed(content, required=False).get("released") is True
    except ValueError:
        return False


class HeartbeatObserver:
    """Remembers when each heartbeat last changed. A heartbeat that was not observed before counts as alive."""

    def __init__(self, dead_after_s: float, clock: Callable[[], float]) -> None:
        self.dead_after_s, self._clock = dead_after_s, clock
        self._seen: dict[str, tuple[bytes | None, float]] = {}

    def is_dead(self, key: str, beat: bytes | None, unreachable_s: float) -> bool:
        """True once the beat under `key` (None: not written yet) did not change for `dead_after_s`, while the store
        answered. `unreachable_s`: when it last did not: then the owner could not write its beats either."""
        now_s = self._clock()
        last, since_s = self._seen.get(key, (None, now_s))
        if key not in self._seen or last != beat:
            self._seen[key] = (beat, now_s)
            return False
        return now_s - max(since_s, unreachable_s) >= self.dead_after_s
