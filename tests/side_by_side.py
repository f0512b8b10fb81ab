"""How tests are dealt to two processes (`pytest -n 2`, pytest-xdist): in whole groups, so that what a group needs is
started once. A mark that names a group would do (`--dist loadgroup`), but xdist 3.8 writes it into node ids, and pytest
9.2 takes no change to those."""

from functools import cache
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

REPO = Path(__file__).parents[1]
SHARED_RAY = "two_cpus"
SHARED = (SHARED_RAY, "two_ranks", "trained_store")  # fixtures of a session that are dear to start


class Groups(LoadScopeScheduling):
    """A process gets the next group when it has done its own."""

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid.partition("::")[0])


@cache
def group(file: str) -> str:
    """Files with a test that names one of these fixtures go together, and those around the README's commands; any other
    goes alone, so that its module fixtures are made once."""
    if file.startswith(("tests/infra/", "tests/readme/")):
        return "commands"
    text = (REPO / file).read_text()
    return next((fixture for fixture in SHARED if fixture in text), file)


def uses_shared_ray(item: pytest.Item | None) -> bool:
    return SHARED_RAY in getattr(item, "fixturenames", ())


def order(item: pytest.Item) -> int:
    """Those with the shared Ray come first and together, then others that start Rays, then all else: so the two longest
    groups begin, one in each process, and the many small ones fill up."""
    return 0 if uses_shared_ray(item) else 1 if item.get_closest_marker("ray") else 2
