"""Limits on requests to a language model: prices, one budget for all workers, a rate limit for each."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from pydantic import Field

from swim.recipe import Frozen
from swimlab.llm.answer_cache import CompletionUsage


class Prices(Frozen):
    """Prices of a million tokens, in any currency."""

    prompt: float = Field(0.0, ge=0)
    completion: float = Field(0.0, ge=0)

    def cost(self, usage: CompletionUsage) -> float:
        """The cost of an answer. Tokens that the server did not count are taken as 0."""
        return ((usage.prompt_tokens or 0) * self.prompt + (usage.completion_tokens or 0) * self.completion) / 1e6


class Spending(Protocol):
    """A budget that reserves the cost of a request before it is sent and settles it once the answer is stored, so that
    concurrent requests cannot exceed the limit."""

    def reserve(self, cost: float) -> str | None:
        """Reserve `cost`, the most that a request can cost. "" when it may be sent; None when that depends on the cost
        of requests in flight, so try again later; else the reason why no request may be sent any more."""

    def settle(self, reserved: float, cost: float) -> None:
        """Replace a reservation by the actual cost of the request."""


class Budget:
    """A budget for the threads of one process; behind a Ray actor, for those of many. `limit` None: no limit."""

    def __init__(self, limit: float | None = None) -> None:
        self._limit, self._lock = limit, threading.Lock()
        self._reserved = self._spent = 0.0
        self._under_way = 0
        self._stopped = ""

    def reserve(self, cost: float) -> str | None:
        with self._lock:
            if not self._stopped and self._limit is not None:
                if self._spent + cost > self._limit:
                    self._stopped = (
                        f"{self._spent:.4f} are spent, the next request may cost {cost:.4f}, and --max-cost is "
                        f"{self._limit:g}"
                    )
                elif self._spent + self._reserved + cost > self._limit:
                    return None
            if not self._stopped:
                self._reserved += cost
                self._under_way += 1
            return self._stopped

    def settle(self, reserved: float, cost: float) -> None:
        with self._lock:
            self._reserved -= reserved
            self._spent += cost
            self._under_way -= 1

    def stop(self, reason: str) -> None:
        """Refuse all further requests."""
        with self._lock:
            self._stopped = self._stopped or reason

    def spent_and_pending(self) -> tuple[float, int]:
        """(spent so far, requests under way)."""
        with self._lock:
            return self._spent, self._under_way


class RateLimiter:
    """A rate limit for the threads of one process: each request waits for its turn, and then for as long as it takes a
    budget of requests and tokens a minute to grow by what it needs. No burst: servers count over windows of their own.

    `share` is this process's part of the limits. Limits are per minute; None: no limit.
    """

    def __init__(
        self,
        requests: float | None = None,
        tokens: float | None = None,
        share: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._request_s = 60 / (requests * share) if requests else 0.0
        self._token_s = 60 / (tokens * share) if tokens else 0.0
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()
        self._free_s = clock()

    def wait(self, tokens: int) -> None:
        """Returns when a request of so many tokens may leave."""
        with self._lock:
            start_s = max(self._free_s, self._clock())
            self._free_s = start_s + max(self._request_s, tokens * self._token_s)
        if (left_s := start_s - self._clock()) > 0:
            self._sleep(left_s)
