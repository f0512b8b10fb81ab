"""Waits out what waiting can mend: an outage of the store's server, throttling, credentials that are renewed.

A command that somebody looks at gives up after seconds. A driver and its trials wait for as long as a trial's heartbeat
would, which tries again for ever: an outage of minutes costs them minutes, and no trial.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TypeVar

Result = TypeVar("Result")

LONG_S = 3600.0  # of drivers and trials
SHORT_S = 10.0  # of commands that somebody looks at, and of a driver's first contact with its store
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 15.0
LINE_EVERY_S = 60.0
_log = logging.getLogger(__name__)
_most_s: ContextVar[float] = ContextVar("most_s", default=float("inf"))


@contextmanager
def waiting_at_most(limit_s: float) -> Iterator[None]:
    """Bounds the waits of this thread's calls, for one that repeats them by itself, as a heartbeat does."""
    token = _most_s.set(limit_s)
    try:
        yield
    finally:
        _most_s.reset(token)


@dataclass
class Patience:
    """How long one call may wait, `limit_s`, and what the log calls the store. `sleep` and `clock` are replaced in
    tests. `unreachable_s`: when a call last failed in a way that waiting mends, by that clock; -inf for never."""

    subject: str
    limit_s: float
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    unreachable_s: float = field(default=float("-inf"), init=False)

    def call(self, send: Callable[[], Result], awaited: Callable[[Exception], str | None]) -> Result:
        """What `send` returns; it is called again while its errors pass. `awaited`: an error → what is waited for, or
        None for one that waiting cannot mend, which is raised at once; the others when the limit is reached."""
        limit_s, began_s, line_s, wait_s = min(self.limit_s, _most_s.get()), self.clock(), float("-inf"), FIRST_WAIT_S
        while True:
            try:
                result = send()
            except Exception as error:
                if (why := awaited(error)) is None:
                    raise
                self.unreachable_s = self.clock()
                waited_s = self.unreachable_s - began_s
                if waited_s + wait_s > limit_s:
                    raise
                if self.clock() - line_s >= LINE_EVERY_S:
                    line_s = self.clock()
                    _log.warning(
                        "%s: waiting for %s, %.0f s so far, giving up after %.0f s",
                        self.subject,
                        why,
                        waited_s,
                        limit_s,
                    )
                # Many trials wait for one server: it must not be asked by all of them at once.
                self.sleep(wait_s * random.uniform(0.5, 1.0))
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)
            else:
                if line_s > float("-inf"):
                    self.unreachable_s = self.clock()
                    _log.warning("%s: answers again after %.0f s", self.subject, self.unreachable_s - began_s)
                return result
