"""What planning asks of the disk does not grow with the number of trials."""

import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fault_kit import experiment
from fault_table import fault

import nano
from swimlab import Arm

ARMS = tuple(Arm(f"weight {i}", {"objective.mask_weight": 1.0 + i}) for i in range(4))
CALLS = {os.stat: "stat", os.lstat: "stat", os.open: "open", open: "open"}


@pytest.fixture
def counted() -> Callable[[Callable[[], None]], Counter[str]]:
    """Runs something: how often it asked the system about a file, or for one."""

    def run(action: Callable[[], None]) -> Counter[str]:
        calls: Counter[str] = Counter()

        def count(_: Any, event: str, called: Any) -> None:
            if event == "c_call" and getattr(called, "__module__", "") in ("posix", "io", "_io") and called in CALLS:
                calls[CALLS[called]] += 1

        before = sys.getprofile()
        sys.setprofile(count)
        try:
            action()
        finally:
            sys.setprofile(before)
        return calls

    return run


@fault(
    "a table of hundreds of trials is planned",
    "2,000 stat calls a trial: minutes before the first line",
    "right",
    "F18",
)
def test_more_seeds_ask_nothing_more_of_the_disk(
    tmp_path: Path, counted: Callable[[Callable[[], None]], Counter[str]]
) -> None:
    def plan(seeds: int) -> None:
        code, printed = experiment(tmp_path, nano.ablation(seeds=tuple(range(seeds)), arms=ARMS), "plan")
        assert code == 0, printed

    plan(2)  # what is read once in a process: sources, templates, the cache
    few, many = counted(lambda: plan(2)), counted(lambda: plan(22))
    assert sum((many - few).values()) < 20, (few, many)  # for 80 more trials
