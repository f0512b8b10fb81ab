"""Runs experiment files in the process of the tests: a process of its own imports torch for 5 s."""

import contextlib
import io
import runpy
import sys
from pathlib import Path

import pytest


def run(file: Path, *argv: str, cwd: Path) -> tuple[int, str]:
    """(exit code, everything printed) of `python FILE ARGV` in the folder `cwd`."""
    output = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        patch.chdir(cwd)
        patch.syspath_prepend(file.parent)
        patch.setattr(sys, "argv", [file.name, *argv])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(file), run_name="__main__")
    return int(ended.value.code or 0), output.getvalue()
