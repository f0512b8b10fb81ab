"""`TABLE.main()`, the end of experiment files before `swimlab.main(TABLE)` replaced it.

The command line stands above this package, so this package cannot import it: `swimlab`, which knows both, hands it in.
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
    """What `run` calls from now on."""
    _installed[:] = [main]


def run(*tables: Any, argv: Sequence[str] | None = None) -> None:
    """The command line for these tables, after a line that says what replaces this spelling."""
    print("TABLE.main() still works; new files end with swimlab.main(TABLE)", file=sys.stderr)
    (main,) = _installed
    main(*tables, argv=argv)
