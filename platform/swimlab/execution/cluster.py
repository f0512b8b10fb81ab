"""The Ray cluster that a plan runs on: joins or starts it, checks that the plan fits, and waits until all resources
are free."""

import logging
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import grpc
import ray
from ray._common.utils import get_default_ray_temp_dir, get_ray_address_file
from ray.exceptions import AuthenticationError

# Ray returns a trial's CPUs a little after `fit()` does (seconds were measured on a loaded machine).
RELEASE_S = 10.0
# With a worker group the trial only waits for its workers: a CPU held for that is one they would wait for, for ever.
# Tune wants some resource, so it takes a sliver of what every head node has.
WAITING = {"node:__internal_head__": 0.001}
# Long enough for any network; Ray itself tries a dead address for more than ten minutes without a word.
REACH_S = 10.0
# What Ray writes before it answers: its logs, and the addresses of its processes.
ROOM_BYTES = 4 * 2**20


class PlanError(ValueError):
    """The plan cannot run on this cluster. The message says what it needs, what there is, and what to change."""


@dataclass(frozen=True)
class Slots:
    """What one trial asks for, and how many trials run at a time. `trial`: resources of the Tune trial itself;
    `worker`: of each of its Train workers (there are none in local mode, where the trial trains in its own process);
    with `shard` each worker holds a part of the model. `decode_cpus` stay free for each trial, which decodes its
    clips on them while it trains; `features`: whether it takes the output of its vision tower from the store (None: if
    its model is tiny)."""

    trial: dict[str, float]
    worker: dict[str, float]
    workers: int
    at_a_time: int
    shard: bool = False
    decode_cpus: int = 0
    features: bool | None = None


@contextmanager
def ray_session() -> Iterator[None]:
    """A Ray to work with: that of the surrounding job, else the running cluster, else a Ray that is started here and
    stopped at the end.

    Raises PlanError when a cluster should be there but does not answer or does not accept the token, and when a Ray
    cannot be started here.
    """
    for noisy in ("ray.data", "ray.tune", "ray.train", "ray._private"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    if ray.is_initialized():
        yield
        return
    address = running_cluster()
    environment = worker_environment(sys.executable, own_ray=address is None)
    if address is None:
        _find_token()
    terminated = signal.getsignal(signal.SIGTERM)
    try:
        if address is None:
            _check_room(Path(get_default_ray_temp_dir()))
        # The dashboard belongs to `ray start --head`; a Ray of our own is gone before anybody could look.
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="warning", runtime_env=environment)
    except Exception as error:  # Ray raises plain ones too
        raise PlanError(why_no_ray(error, address)) from error
    if threading.current_thread() is threading.main_thread():
        # Ray has put its own in place, which prints a native stack and aborts: a driver would not end as on Ctrl-C.
        signal.signal(signal.SIGTERM, terminated or signal.SIG_DFL)
    try:
        yield
    finally:
        ray.shutdown()


def worker_environment(interpreter: str, *, own_ray: bool) -> dict[str, str] | None:
    """The runtime environment in which workers start from this interpreter. Ray gives its path to a shell unquoted for
    every worker that has environment variables, as all of Tune's trials do: those would not start, and Ray would try
    for six minutes. Raises PlanError for a path from which a Ray of our own (`own_ray`) cannot start at all."""
    if own_ray and not _survives(interpreter):
        raise PlanError(
            f"Ray cannot start from {interpreter}, for the quotes or backslashes in that path: use a link to this "
            "folder that has a plain name"
        )
    quoted = shlex.quote(interpreter)
    return None if quoted == interpreter else {"py_executable": quoted}


def _survives(interpreter: str) -> bool:
    # Ray writes the command of its workers with Windows' rules for quotes, and reads it with a shell's.
    try:
        return shlex.split(subprocess.list2cmdline([interpreter])) == [interpreter]
    except ValueError:  # a quote that nobody closes
        return False


def _find_token() -> None:
    """Makes the token of a Ray that is started here, unless there is one. The one that Ray makes is readable for
    everybody on most machines, as the umask says, and whoever has it runs code in this Ray. Where ~/.ray cannot be
    written the token is a variable: nobody else needs it."""
    if "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ:
        return
    token = secrets.token_hex(32)
    try:
        folder = Path.home() / ".ray"
        folder.mkdir(exist_ok=True)
        if (folder / "auth_token").exists():
            return
        with tempfile.NamedTemporaryFile("w", dir=folder) as file:  # of mode 0600
            file.write(token)
            file.flush()
            with suppress(FileExistsError):  # another driver was first
                os.link(file.name, folder / "auth_token")
    except (OSError, RuntimeError):  # RuntimeError: the user has no home
        os.environ["RAY_AUTH_TOKEN"] = token


def _check_room(folder: Path) -> None:
    """Raises OSError where the folder, made if need be, takes no file of ROOM_BYTES. On a full disk Ray would wait for
    minutes for a file of its own, and then report that as a timeout."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(ROOM_BYTES))
        file.flush()


def why_no_ray(error: Exception, address: str | None) -> str:
    """What `ray.init` raised, as one line that says what to do."""
    message = " ".join(str(error).split())
    if address and isinstance(error, (ConnectionError, AuthenticationError)):
        return (
            f"the Ray cluster at {address} refused us ({message}): set RAY_AUTH_MODE=token, and use its token "
            "(~/.ray/auth_token, or the file that RAY_AUTH_TOKEN_PATH names)"
        )
    if address:
        return f"the Ray cluster at {address} cannot be joined: {message}"
    folder = get_default_ray_temp_dir()
    if isinstance(error, OSError):
        return (
            f"Ray cannot use its temporary folder {folder} ({message}): set RAY_TMPDIR to a short folder that you can "
            "write to, with free space, such as /tmp/$USER"
        )
    return (
        f"Ray did not start ({message}): the machine may be overloaded, so run the same command again; Ray's logs are "
        f"under {logs_folder()}"
    )


def logs_folder() -> str:
    """Where Ray logs on this machine."""
    node = ray._private.worker.global_worker.node
    return str(node.get_logs_dir_path()) if node else f"{get_default_ray_temp_dir()}/session_latest/logs"


def running_cluster() -> str | None:
    """host:port of the cluster that RAY_ADDRESS names or that `ray start` announced on this machine; None when there
    is none, and a Ray of our own is to be started. Raises PlanError for an address that cannot be used."""
    address, source = os.environ.get("RAY_ADDRESS", ""), "RAY_ADDRESS"
    if address == "local":
        return None
    if "://" in address:
        raise PlanError(
            f"RAY_ADDRESS={address} is no address a driver can join: give host:port of the cluster, or submit a job "
            "(`ray job submit` reads RAY_API_SERVER_ADDRESS) and leave RAY_ADDRESS unset"
        )
    if address in ("", "auto"):
        announced = Path(get_ray_address_file(None))
        address, source = (announced.read_text().strip() if announced.exists() else ""), str(announced)
        if not address:
            return None
    try:
        _reach(address)
    except (OSError, ValueError) as error:
        raise PlanError(
            f"no Ray answers at {address}, the address in {source} ({error}): start it again, correct {source}, or "
            f"{'unset' if source == 'RAY_ADDRESS' else 'delete'} it for a Ray of our own"
        ) from error
    return address


def _reach(address: str) -> None:
    """Raises OSError or ValueError where no server of Ray's protocol listens: nothing, or another program that was
    given the port of a cluster that is gone. Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_S).close()
    if os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
        return  # its greeting needs the cluster's certificates
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=REACH_S)
        except grpc.FutureTimeoutError as error:
            raise TimeoutError(f"another program listens there, or none that answers within {REACH_S:g} s") from error


def check_durable(store_uri: str) -> None:
    """Raises PlanError for a store inside the scratch copy of an uploaded job's working directory: Ray deletes it."""
    if "working_dir_files" in Path(store_uri).parts:
        raise PlanError(
            f"the store {store_uri} lies in the copy that Ray made for this job and deletes later: set SWIMLAB_STORE "
            "to a folder or s3://bucket/prefix that outlives the job"
        )


def slots(
    *,
    workers: int,
    gpu: bool | None,
    concurrency: int | None,
    shard: bool = False,
    decode_cpus: int = 0,
    features: bool | None = None,
) -> Slots:
    """How trials fit the cluster. Raises PlanError for a plan that could never start: Ray would wait for ever."""
    total = ray.cluster_resources()
    use_gpu = total.get("GPU", 0) > 0 if gpu is None else gpu
    unit = {"GPU": 1.0, "CPU": 1.0} if use_gpu else {"CPU": 1.0}
    need = {name: amount * max(1, workers) for name, amount in unit.items()}
    need["CPU"] += decode_cpus
    fit = min(int(total.get(name, 0) // amount) for name, amount in need.items())
    if fit < 1:
        have = ", ".join(f"{total.get(name, 0):g} {name}" for name in need)
        demand = ", ".join(f"{amount:g} {name}" for name, amount in need.items())
        advice = "lower --workers or add nodes" if workers > 1 else "add nodes"
        if decode_cpus:
            advice = f"{advice}, or lower --decode-cpus ({decode_cpus} of the CPUs are for decoding)"
        if use_gpu and not total.get("GPU"):
            advice = "leave --gpu out, or add nodes that have one"
        raise PlanError(f"a trial needs {demand} at once and the cluster has {have}: {advice}")
    at_a_time = fit if concurrency is None else min(fit, concurrency)
    return Slots(
        trial=WAITING if workers else unit,
        worker=unit,
        workers=workers,
        at_a_time=at_a_time,
        shard=shard,
        decode_cpus=decode_cpus,
        features=features,
    )


def whole(timeout_s: float = RELEASE_S) -> bool:
    """Wait until every resource of the cluster is free again. False when some are still held at the timeout."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        total, free = ray.cluster_resources(), ray.available_resources()
        if all(free.get(name, 0) >= total[name] for name in ("CPU", "GPU") if name in total):
            return True
        time.sleep(0.2)
    return False
