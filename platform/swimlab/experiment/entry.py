"""`TABLE.main()`, with which experiment files ended before `swimlab.main(TABLE)` replaced it.

The command line stands above this package, so it cannot be imported here: `swimlab` installs it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Protocol


class CommandLine(Protocol):
    """`swimlab.main`."""

    def __call__(self, *tables: Any, argv: Sequence[str] | None = None) -> None: ...


_installed: list[CommandLine] = []


def install(main: CommandLine) -> None:
    """Sets the command line that `run` calls."""
    _installed[:] = [main]


def run(*tables: Any, argv: Sequence[str] | None = None) -> None:
    """Prints what replaces this spelling, then calls the command line for these tables."""
    print("TABLE.main() still works; new files end with swimlab.main(TABLE)", file=sys.stderr)
    (main,) = _installed
    main(*tables, argv=argv)
