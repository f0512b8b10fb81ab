"""The budget under many threads, and the pace by a clock of its own."""

import threading

import pytest

from swimlab.llm.answer_cache import CompletionUsage
from swimlab.llm.budget import Budget, Prices, RateLimiter


def test_prices_are_of_a_million_tokens() -> None:
    prices = Prices(prompt=2.5, completion=10.0)
    assert prices.cost(CompletionUsage(prompt_tokens=1_000_000, completion_tokens=100_000)) == 3.5
    assert prices.cost(CompletionUsage()) == 0.0


def test_reservations_count_until_they_are_settled() -> None:
    ledger = Budget(10.0)
    assert ledger.reserve(6.0) == ""
    assert ledger.reserve(4.0) == ""
    assert ledger.reserve(5.0) is None  # as long as those two may cost 10, and then it may again
    ledger.settle(6.0, 1.0)
    assert ledger.spent_and_pending() == (1.0, 1)
    assert ledger.reserve(5.0) == ""
    ledger.settle(4.0, 4.0)
    ledger.settle(5.0, 4.75)
    refused = ledger.reserve(0.5)
    assert refused == "9.7500 are spent, the next request may cost 0.5000, and --max-cost is 10"
    assert ledger.reserve(0.0) == refused  # once stopped it stays so: rows must not overtake each other
    assert ledger.spent_and_pending() == (9.75, 0)


def test_a_stop_lets_nothing_leave_and_keeps_its_first_reason() -> None:
    ledger = Budget()
    assert ledger.reserve(1e9) == ""
    ledger.stop("because")
    ledger.stop("another")
    assert ledger.reserve(0.0) == "because"
    assert ledger.spent_and_pending() == (0.0, 1)


def test_no_thread_slips_past_the_limit() -> None:
    ledger = Budget(100.0)
    passed: list[int] = []

    def spend() -> None:
        for _ in range(50):
            while (refused := ledger.reserve(1.0)) is None:
                pass
            if not refused:
                passed.append(1)
                ledger.settle(1.0, 1.0)

    threads = [threading.Thread(target=spend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(passed) == 100
    assert ledger.spent_and_pending() == (100.0, 0)


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.mark.parametrize(
    ("requests", "tokens", "share", "each", "gap_s"),
    [
        (None, None, 1.0, 1000, 0.0),
        (60, None, 1.0, 1000, 1.0),
        (60, None, 0.25, 1000, 4.0),
        (None, 60_000, 1.0, 2000, 2.0),
        (60, 60_000, 1.0, 500, 1.0),
        (60, 60_000, 0.5, 2000, 4.0),
    ],
)
def test_requests_keep_their_distance(
    requests: float | None, tokens: float | None, share: float, each: int, gap_s: float
) -> None:
    clock = Clock()
    pace = RateLimiter(requests, tokens, share, clock, clock.sleep)
    left = []
    for _ in range(5):
        pace.wait(each)
        left.append(clock.now_s)
    assert left == pytest.approx([100 + i * gap_s for i in range(5)])
    clock.now_s += 1000  # time that nobody used is gone: no burst afterwards
    pace.wait(each)
    before = clock.now_s
    pace.wait(each)
    assert clock.now_s - before == pytest.approx(gap_s)
