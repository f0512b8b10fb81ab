"""Workers of the shared Ray, forked from a process that has imported torch, transformers and `swim`.

A worker process of a sweep spends 10 s of CPU on imports before its first step, and `make test` starts several dozen of
them. Ray takes a command that stands in for Python (`py_executable`): ours asks the one process of this file to fork,
and the child then runs Ray's own script, with the arguments, environment, folder and output files that Ray gave.

Ray itself is imported by each child: its settings come from the environment that the raylet gives. Ray jobs, drivers
that are killed and the slow tests of the README's commands have workers that Ray starts itself.
"""

import json
import os
import runpy
import select
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

PRELOADED = ("pandas", "swim.evaluation.evaluate", "swimlab.data.decode_part", "swimlab.execution.step_checkpoints")
READY = b"ready\n"


@contextmanager
def command(address: str, modules: Sequence[str] = PRELOADED) -> Iterator[str]:
    """What stands in for Python in `runtime_env={"py_executable": …}`, while the block runs. `address`: of a socket to
    be made; `modules`: what is imported before."""
    # It ends with its stdin, so also where this process is killed.
    with subprocess.Popen(
        [sys.executable, "-P", __file__, "serve", address, *modules], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == READY
        yield shlex.join([sys.executable, "-I", "-S", __file__, "ask", address])


def start_ray(workers: str) -> None:
    """A Ray of two CPUs. `workers`: the command that starts them."""
    import ray  # not where a worker is asked for

    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=200 * 2**20,
        log_to_driver=False,
        runtime_env={"py_executable": workers},
    )


def ask(address: str, arguments: list[str]) -> int:
    """In place of a worker: has one forked, and ends as it ends."""
    asked = json.dumps({"arguments": arguments, "environment": dict(os.environ), "folder": os.getcwd()}).encode()
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(address)
        socket.send_fds(server, [len(asked).to_bytes(8, "big")], [0, 1, 2])
        server.sendall(asked)
        return int(server.makefile().read() or 1)


def serve(address: str, modules: Sequence[str]) -> None:
    """Forks for whoever asks, until stdin is closed."""
    for module in modules:
        import_module(module)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children of this process
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        os.write(1, READY)
        while sys.stdin not in select.select([server, sys.stdin], [], [])[0]:
            client, _ = server.accept()
            if os.fork() == 0:
                server.close()
                _wait_for_worker(client)
            client.close()


def _wait_for_worker(client: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    size, files, _, _ = socket.recv_fds(client, 8, 3)
    asked = json.loads(client.makefile().read(int.from_bytes(size, "big")))
    if (worker := os.fork()) == 0:
        client.close()
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        os.environ.clear()
        os.environ.update(asked["environment"])
        os.chdir(asked["folder"])
        _run(asked["arguments"])
    for file in (0, 1, *files):
        os.close(file)
    _, status = os.waitpid(worker, 0)
    client.sendall(str(abs(os.waitstatus_to_exitcode(status))).encode())
    os._exit(0)


def _run(arguments: list[str]) -> None:
    """As `python SCRIPT …`; ends this process."""
    sys.argv = arguments
    sys.path.insert(0, str(Path(arguments[0]).parent))
    runpy.run_path(arguments[0], run_name="__main__")
    sys.exit()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2], sys.argv[3:])
    else:
        sys.exit(ask(sys.argv[2], sys.argv[3:]))
