"""Joining a cluster, and refusing plans that could only wait for ever."""

import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.exceptions import AuthenticationError
from small_disk import small_disk

import nano
from swimlab.execution import cluster
from swimlab.execution.cluster import PlanError, Slots


@pytest.fixture
def dead_address() -> Iterator[str]:
    with socket.socket() as bound:  # bound, not listening: nobody answers, nobody else takes the port
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"


@pytest.mark.ray
def test_slots_fill_the_cluster_and_no_more(two_cpus: None) -> None:
    assert cluster.slots(workers=0, gpu=False, concurrency=None) == Slots({"CPU": 1.0}, {"CPU": 1.0}, 0, 2)
    assert cluster.slots(workers=0, gpu=None, concurrency=1).at_a_time == 1
    assert cluster.slots(workers=0, gpu=None, concurrency=9).at_a_time == 2
    # A trial that waits for two workers must leave them both CPUs.
    assert cluster.slots(workers=2, gpu=False, concurrency=None) == Slots(cluster.WAITING, {"CPU": 1.0}, 2, 1)
    # What decodes while a trial trains needs CPUs of its own.
    streaming = cluster.slots(workers=1, gpu=False, concurrency=None, decode_cpus=1)
    assert streaming == Slots(cluster.WAITING, {"CPU": 1.0}, 1, 1, decode_cpus=1)
    with pytest.raises(PlanError, match=r"needs 3 CPU at once and the cluster has 2 CPU.*lower --decode-cpus \(2 of"):
        cluster.slots(workers=1, gpu=False, concurrency=None, decode_cpus=2)


@pytest.mark.fault(
    injection="a plan asks for more CPUs or GPUs than the cluster has",
    symptom="Ray waits for ever without a word",
    expected="error says what is needed, what there is and what to change",
)
@pytest.mark.ray
@pytest.mark.parametrize(
    ("workers", "gpu", "message"),
    [
        (4, False, "needs 4 CPU at once and the cluster has 2 CPU: lower --workers or add nodes"),
        (3, None, "needs 3 CPU at once"),
        (0, True, "needs 1 GPU, 1 CPU at once and the cluster has 0 GPU, 2 CPU: leave --gpu out"),
    ],
)
def test_a_plan_that_cannot_fit_is_refused(two_cpus: None, workers: int, gpu: bool | None, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        cluster.slots(workers=workers, gpu=gpu, concurrency=None)


@pytest.mark.ray
def test_a_refused_plan_does_no_work(two_cpus: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, store = tmp_path / "nano.json", tmp_path / "store"
    recipe.write_text(nano.recipe(base=False).model_dump_json())
    flags = ["--recipe", str(recipe), "--store", str(store), "--cache", str(tmp_path / "cache"), "--workers", "4"]
    with pytest.raises(SystemExit) as stopped:
        nano.ablation().main(argv=flags)
    assert stopped.value.code == 1
    assert "a trial needs 4 CPU at once and the cluster has 2 CPU: lower --workers" in capsys.readouterr().out
    assert not [path for path in store.rglob("*") if path.is_file()]


@pytest.mark.ray
def test_whole_notices_what_is_held(two_cpus: None) -> None:
    holder = ray.remote(num_cpus=1)(type("Holder", (), {"ready": lambda self: True})).remote()
    assert ray.get(holder.ready.remote())
    assert not cluster.whole(timeout_s=1)
    ray.kill(holder)
    assert cluster.whole(timeout_s=60)


@pytest.mark.fault(
    injection="RAY_ADDRESS names a port where nobody answers",
    symptom="Ray tries for ten minutes without a word",
    expected="error names the address and says to unset it",
)
def test_an_address_where_nobody_answers_is_refused(dead_address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", dead_address)
    with pytest.raises(PlanError, match=f"no Ray answers at {dead_address}, the address in RAY_ADDRESS .* unset it"):
        cluster.running_cluster()


@pytest.mark.fault(
    injection="the port in RAY_ADDRESS is taken by another program, which is silent, hangs up or speaks HTTP",
    symptom="Ray tries for minutes without a word",
    expected="error says that another program listens there",
)
@pytest.mark.parametrize("reply", [None, b"", b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"])
def test_a_port_that_another_program_has_taken_is_refused(reply: bytes | None, monkeypatch: pytest.MonkeyPatch) -> None:
    def serve() -> None:
        with suppress(OSError):  # until the test closes the port
            while True:
                connection, _ = listening.accept()
                held.append(connection)
                if reply is not None:
                    connection.recv(1000)
                    connection.sendall(reply)
                    connection.close()

    held: list[socket.socket] = []
    monkeypatch.setattr(cluster, "REACH_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, daemon=True).start()
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{listening.getsockname()[1]}")
        with pytest.raises(PlanError, match=r"no Ray answers at .*another program listens there.*unset it"):
            cluster.running_cluster()
    assert held
    for connection in held:
        connection.close()


@pytest.mark.ray
def test_a_ray_that_runs_is_reached(two_cpus: None) -> None:
    cluster._reach(ray.get_runtime_context().gcs_address)


@pytest.mark.fault(
    injection="the address that `ray start` left behind is of a head that is gone",
    symptom="the driver hangs, or starts a second Ray unasked",
    expected="error names the file and says to delete it",
)
def test_a_head_that_is_gone_is_named(dead_address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert cluster.running_cluster() is None
    announced = tmp_path / "ray" / "ray_current_cluster"
    announced.parent.mkdir()
    announced.write_text(dead_address)
    with pytest.raises(PlanError, match=f"no Ray answers at {dead_address}, the address in {announced} .* delete it"):
        cluster.running_cluster()
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert cluster.running_cluster() is None


@pytest.mark.fault(
    injection="RAY_ADDRESS is the address of a dashboard",
    symptom="a raw error of Ray's client",
    expected="error says which variable it belongs in",
)
@pytest.mark.parametrize("address", ["http://127.0.0.1:8265", "ray://127.0.0.1:10001"])
def test_a_dashboard_is_no_cluster_address(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(PlanError, match="RAY_API_SERVER_ADDRESS"):
        cluster.running_cluster()


@pytest.mark.fault(
    injection="the store lies in the scratch copy of a submitted job",
    symptom="Ray deletes the results with the job",
    expected="error says to set SWIMLAB_STORE",
)
def test_a_store_that_ray_would_delete_is_refused() -> None:
    with pytest.raises(PlanError, match="set SWIMLAB_STORE"):
        cluster.check_durable("/scratch/ray/session_1/runtime_resources/working_dir_files/_ray_pkg_1/swimlab-store")
    cluster.check_durable("s3://bucket/prefix")
    cluster.check_durable("/data/swimlab-store")


@pytest.mark.parametrize(
    ("interpreter", "quoted"),
    [
        ("/opt/venv-3.11/bin/python", None),
        ("/home/me/my lab/bin/python", {"py_executable": "'/home/me/my lab/bin/python'"}),
        ("/home/me/a&b;$(c)/python", {"py_executable": "'/home/me/a&b;$(c)/python'"}),
        ("/home/Bob's lab/python", {"py_executable": "'/home/Bob'\"'\"'s lab/python'"}),
    ],
)
def test_workers_are_given_an_interpreter_that_a_shell_leaves_whole(
    interpreter: str, quoted: dict[str, str] | None
) -> None:
    assert cluster.worker_environment(interpreter, own_ray=True) == quoted


@pytest.mark.parametrize("interpreter", ["/home/it's/python", "/home/a\\b/python"])
def test_a_path_from_which_ray_cannot_start_is_refused(interpreter: str) -> None:
    with pytest.raises(PlanError, match=r"Ray cannot start from .* use a link to this folder that has a plain name"):
        cluster.worker_environment(interpreter, own_ray=True)
    assert cluster.worker_environment(interpreter, own_ray=False)  # a cluster has started, from wherever it is


@pytest.mark.parametrize(
    ("error", "address", "says"),
    [
        (
            Exception("The current node\n timed out"),
            None,
            r"did not start \(The current node timed out\).* run the",
        ),
        (Exception("The current node timed out"), None, r"Ray's logs are under /.*/logs$"),
        (
            PermissionError(1, "Not permitted", "/sys/ray"),
            None,
            r"temporary folder .*/ray'\): set RAY_TMPDIR to a short",
        ),
        (
            ConnectionError("no token"),
            "1.2.3.4:6379",
            r"cluster at 1.2.3.4:6379 refused us \(no token\): set RAY_AUTH_MODE",
        ),
        (AuthenticationError("no token"), "1.2.3.4:6379", "refused us"),
        (
            RuntimeError("Version mismatch"),
            "1.2.3.4:6379",
            "cluster at 1.2.3.4:6379 cannot be joined: Version mismatch",
        ),
    ],
)
def test_a_ray_that_does_not_start_is_a_line_with_what_to_do(
    error: Exception, address: str | None, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", fail)
    monkeypatch.setattr(cluster, "running_cluster", lambda: address)
    with pytest.raises(PlanError, match=says) as refused, cluster.ray_session():
        pass
    assert "\n" not in str(refused.value)


@pytest.mark.fault(
    injection="the disk of Ray's folder is full when a sweep starts",
    symptom="Ray waits for minutes and reports a timeout of an overloaded machine",
    expected="error names the folder and RAY_TMPDIR, at once",
)
def test_a_folder_without_room_for_ray_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Any
) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("Ray was started"))
    monkeypatch.setenv("RAY_ADDRESS", "local")
    with small_disk(tmp_path / "disk", "4m") as disk:
        monkeypatch.setenv("RAY_TMPDIR", str(disk.folder))
        disk.fill()
        says = (
            rf"temporary folder {disk.folder}/ray \(.*No space left on device\): set RAY_TMPDIR to .* with free space"
        )
        with pytest.raises(PlanError, match=says) as refused, cluster.ray_session():
            pass
    record_property("message", str(refused.value))


HARD_PLACES = """
import os, ray
from swimlab.execution import cluster

short = os.environ["RAY_TMPDIR"]
os.environ["RAY_TMPDIR"] = f"{short}/{'long' * 20}"
try:
    with cluster.ray_session():
        print("started")
except cluster.PlanError as error:
    print(error)
os.environ["RAY_TMPDIR"] = short
with cluster.ray_session():
    # As Tune starts every trial: Ray starts a worker with environment variables by a shell.
    answer = ray.remote(lambda: "a worker answers").options(num_cpus=0, runtime_env={"env_vars": {"A": "1"}}).remote()
    print(ray.get(answer, timeout=120))
"""


@pytest.mark.fault(
    injection="RAY_TMPDIR is too long for a socket",
    symptom="Ray ends with a raw traceback",
    expected="error names the folder and says to choose a short one",
    reference="F10",
)
@pytest.mark.ray
def test_ray_in_hard_places(tmp_path: Path) -> None:
    """A temporary folder too long for a socket is refused. An interpreter with a space in its path and a home that
    nobody can write to are no trouble."""
    (tmp_path / "my lab").mkdir()
    (tmp_path / "my lab/venv").symlink_to(sys.prefix)
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    with tempfile.TemporaryDirectory(prefix="sw", ignore_cleanup_errors=True) as short:  # sockets: 107 characters
        env |= {"HOME": "/dev/null", "RAY_TMPDIR": short, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        python = tmp_path / "my lab/venv/bin/python"
        done = subprocess.run(
            [python, "-c", HARD_PLACES], env=env, capture_output=True, text=True, check=False, timeout=300
        )
    refused, answered = done.stdout.splitlines() or ["", ""]
    assert answered == "a worker answers", done.stderr
    assert f"Ray cannot use its temporary folder {short}/long" in refused
    assert "AF_UNIX path length" in refused
    assert "set RAY_TMPDIR to a short folder" in refused
