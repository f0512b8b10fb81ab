"""A Ray head of our own, as a user starts one: token authentication, loopback ports, its own home and temp folder."""

import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

REPO = Path(__file__).resolve().parents[2]
START_S = 240.0  # patience, on a machine that other work may fill
# What Ray runs for itself. Ray Data's two actors are detached: they serve every job and stay with the cluster.
RAYS_OWN = ("ray::IDLE", "ray::DashboardAgent", "ray::RuntimeEnvAgent", "ray::_StatsActor", "ray::_AutoscalingCoord")
# No test may wait for ever on a hung job; two minutes were seen for the longest one on a loaded machine.
COMMAND_S = 1200.0


@dataclass(frozen=True)
class Head:
    """A running head and the shell of the user who started it: `env` knows the dashboard and the token file's home."""

    process: subprocess.Popen[bytes]
    cwd: Path
    env: dict[str, str]
    dashboard: str
    gcs: str

    @property
    def home(self) -> Path:
        return Path(self.env["HOME"])

    def shell(self, command: str, cwd: Path | None = None) -> str:
        """Run a command line as typed. Returns its output; fails the test, showing the output, when it fails."""
        code, output = self.attempt(command, cwd)
        assert code == 0, output
        return output

    def attempt(self, command: str, cwd: Path | None = None) -> tuple[int, str]:
        done = subprocess.run(
            command,
            shell=True,
            cwd=cwd or self.cwd,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=COMMAND_S,
        )
        return done.returncode, done.stdout

    def get(self, path: str, token: str | None) -> tuple[int, Any]:
        """(status, parsed body) of the dashboard's REST API."""
        request = urllib.request.Request(self.dashboard + path)
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as refused:
            return refused.code, None

    def token(self) -> str:
        return (self.home / ".ray" / "auth_token").read_text()

    def left_over(self) -> list[str]:
        """Titles of processes below this head that are neither the cluster's own nor idle; empty when jobs are gone.

        Waits for processes that are on their way out."""
        deadline = time.monotonic() + START_S
        while True:
            found = []
            for process in psutil.Process(self.process.pid).children(recursive=True):
                try:
                    title = " ".join(process.cmdline())
                except psutil.NoSuchProcess:
                    continue
                if (title.startswith("ray::") or "experiments/" in title) and not title.startswith(RAYS_OWN):
                    found.append(title)
            if not found or time.monotonic() > deadline:
                return found
            time.sleep(0.5)


@contextmanager
def ray_head(cwd: Path, bin_dir: Path, token: str, start: str, **variables: str) -> Iterator[Head]:
    """A head in `cwd` with `bin_dir` active, by the printed lines `token` and `start`, to which are added ports of our
    own, loopback, two CPUs, and --block, so that it is ended by its process id."""
    with tempfile.TemporaryDirectory(prefix="sw", ignore_cleanup_errors=True) as short:  # sockets: 107 characters
        home = Path(short) / "home"
        home.mkdir()
        gcs, dashboard, agent, client = _free_ports(4)
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "SWIMLAB_", "PYTHON"))}
        env = clean | {
            "HOME": str(home),
            "PATH": f"{bin_dir}{os.pathsep}{clean['PATH']}",
            "VIRTUAL_ENV": str(bin_dir.parent),
            "RAY_AUTH_MODE": "token",
            "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}",
            "NO_PROXY": "127.0.0.1",
            **variables,
        }
        subprocess.run(token, shell=True, env=env, check=True, capture_output=True)
        command = (
            f"{start.removesuffix(' --block')} --block --node-ip-address 127.0.0.1 --port {gcs} "
            f"--dashboard-port {dashboard} --dashboard-agent-listen-port {agent} "
            f"--ray-client-server-port {client} --temp-dir {short}/r "
            f"--num-cpus 2 --num-gpus 0 --object-store-memory 200000000 --disable-usage-stats"
        )
        with ExitStack() as stack:
            log = stack.enter_context(open(Path(short) / "start.log", "wb"))
            process = subprocess.Popen(
                command.split(), cwd=cwd, env=env, stdout=log, stderr=log, start_new_session=True
            )
            stack.callback(end_family, process)
            head = Head(process, cwd, env, f"http://127.0.0.1:{dashboard}", f"127.0.0.1:{gcs}")
            _wait(head, Path(short) / "start.log")
            yield head


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _wait(head: Head, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and head.process.poll() is None:
        try:
            if head.get("/api/jobs/", head.token())[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.5)
    raise RuntimeError(f"the head did not start:\n{log.read_text()}")


def end_family(process: subprocess.Popen[bytes]) -> None:
    """Kill the head and its own family, and nothing else (asked to go, a head that ran jobs takes 30 s)."""
    try:
        head = psutil.Process(process.pid)
        family = [head, *head.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for one in family:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait(30)
    psutil.wait_procs(family, timeout=30)


def clean_copy(to: Path) -> Path:
    """The repository as a colleague would get it: what git tracks and what it does not ignore."""
    names = subprocess.run(
        ["git", "-C", str(REPO), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        check=True,
    ).stdout
    for name in filter(None, names.decode().split("\0")):
        if (REPO / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPO / name, to / name)
    return to


def venv_without_swimlab(to: Path) -> Path:
    """An environment with every dependency and without our package; returns its bin folder.

    A `.pth` line adds a folder to the path without reading that folder's own `.pth` files, so the editable install
    stays behind."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(to)], check=True)
    packages = next(to.glob("lib/python3*/site-packages"))
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    ray = to / "bin" / "ray"
    ray.write_text(f"#!{to}/bin/python\nimport sys\nfrom ray.scripts.scripts import main\nsys.exit(main())\n")
    ray.chmod(0o755)
    return to / "bin"
