"""One process that runs many Python commands: it keeps Ray, its workers and every import.

`python FILE …` and `swimlab …` of the folder are clients of it, a socket away, so that bash, make, variables and flags
are those of a user and only starting up is saved: a Ray and two workers of its own cost each command 15 s on two cores.
"""

import contextlib
import io
import os
import runpy
import sys
import traceback
from multiprocessing.connection import Listener
from pathlib import Path

CLIENT = """#!{python} -IS
import os, sys
from multiprocessing.connection import Client
with Client({address!r}, "AF_UNIX") as driver:
    driver.send(({program}, sys.argv[1:], os.getcwd(), dict(os.environ)))
    code, output = driver.recv()
sys.stdout.write(output)
sys.exit(code)
"""
# What a file cannot be asked: it goes to the interpreter itself.
PYTHON = """#!/bin/sh
case "$1" in -*) exec {python} "$@" ;; esac
exec {client} "$@"
"""


def run(program: str, argv: list[str], cwd: str, env: dict[str, str]) -> tuple[int, str]:
    """(exit code, everything printed) of one command."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    path, output = list(sys.path), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            if program == "swimlab":
                from swimlab.__main__ import main

                main(argv)
            else:
                sys.argv = argv
                sys.path.insert(0, str(Path(argv[0]).parent.absolute()))
                runpy.run_path(argv[0], run_name="__main__")
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        except BaseException:
            traceback.print_exc()
            code = 1
        finally:
            sys.path[:] = path
    return code, output.getvalue()


def main(address: str) -> None:
    """Serves until it is killed: Ray takes 4 s to go by itself, and nothing here is kept."""
    sys.path.append(str(Path(__file__).parents[1]))
    import forked_workers  # of the tests, whose folder is no place for this process to find modules before

    with forked_workers.command(f"{address}-workers") as workers, Listener(address, "AF_UNIX") as listener:
        forked_workers.start_ray(workers)
        while True:
            with listener.accept() as client:
                client.send(run(*client.recv()))


if __name__ == "__main__":
    main(sys.argv[1])
