"""A forked worker is the process that Python itself would have started."""

import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import forked_workers
import pytest

SCRIPT = """
import os, sys
print(sys.argv[1:], os.getcwd(), os.environ["WHOSE"], "wave" in sys.modules, __name__)
print("a warning", file=sys.stderr)
exec(os.environ["THEN"])
"""


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    with forked_workers.command(str(tmp_path_factory.mktemp("s") / "socket"), ["wave"]) as command:
        yield shlex.split(command)


@pytest.mark.parametrize(
    ("then", "code"), [("", 0), ("sys.exit(7)", 7), ("os.kill(os.getpid(), 9)", 9), ("import gone", 1)]
)
def test_it_has_what_it_was_given_and_ends_as_it_ends(command: list[str], tmp_path: Path, then: str, code: int) -> None:
    script, folder = tmp_path / "worker.py", tmp_path / "here"
    script.write_text(SCRIPT)
    folder.mkdir()
    done = subprocess.run(
        [*command, script, "--a", "b c"],
        cwd=folder,
        env=os.environ | {"WHOSE": "mine", "THEN": then},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == code
    if code != 9:  # a killed process loses what it has not written yet
        assert done.stdout == f"['--a', 'b c'] {folder} mine True __main__\n"
    assert ("ModuleNotFoundError" in done.stderr) == (then == "import gone")
