"""Every Python that we support reads our sources, and names a trial alike: its syntax trees differ, our text of them
does not. Interpreters are those of this machine; they need no packages for it."""

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from swimlab.identity import source_hash

REPO = Path(__file__).parents[3]
VERSIONS = ("3.11", "3.12", "3.13")
PROGRAM = """
import json, runpy, sys
from pathlib import Path
read = runpy.run_path(sys.argv[1])
paths = [path for folder in sys.argv[3:] for path in sorted(Path(sys.argv[2], folder).rglob("*.py"))]
print(json.dumps({str(path): read["source_hash"](path.read_text("utf-8"), path.name) for path in paths}))
"""


@cache
def hashes(interpreter: str) -> dict[str, str]:
    arguments = [source_hash.__file__, str(REPO), "swim", "platform", "experiments"]
    line = [interpreter, "-I", "-c", PROGRAM, *arguments]
    result = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def interpreter_of(version: str) -> str | None:
    """A working interpreter of this version: on the path, or of pyenv."""
    installed = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions").glob(f"{version}.*/bin/python3")
    for candidate in (shutil.which(f"python{version}"), *map(str, installed)):
        if candidate and subprocess.run([candidate, "--version"], capture_output=True, check=False).returncode == 0:
            return candidate
    return None


@pytest.mark.parametrize("version", VERSIONS)
def test_sources_have_one_hash_under_every_python(version: str) -> None:
    if (interpreter := interpreter_of(version)) is None:
        pytest.skip(f"no Python {version} on this machine")
    assert hashes(interpreter) == hashes(sys.executable)
