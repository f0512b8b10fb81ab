"""Fixtures that several folders share, and the hooks of `side_by_side`."""

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import forked_workers
import llm_server
import one_process
import pytest
import side_by_side
from hypothesis import settings
from s3_proxy import Proxy
from side_by_side import uses_shared_ray

pytest_plugins = ("fault_table", "pytester")

# Before torch is imported: two processes of tests, and what they start, have two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A deadline for each example would assert wall-clock: on a busy machine it fails for no fault of the code.
settings.register_profile("any-machine", deadline=None)
settings.load_profile("any-machine")


EXPERIMENTS = Path(__file__).parents[1] / "experiments"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=side_by_side.order)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> side_by_side.Groups:
    return side_by_side.Groups(config, log)


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Ends the shared Ray after the last test that uses it: others count on none, or start their own."""
    if uses_shared_ray(item) and not uses_shared_ray(nextitem):
        import ray  # as in the fixture

        ray.shutdown()


@pytest.fixture(scope="session")
def _forked_workers(_s3_environment: None) -> Iterator[str]:
    with TemporaryDirectory(prefix="forked") as short, forked_workers.command(f"{short}/socket") as command:
        yield command


@pytest.fixture
def two_cpus(_forked_workers: str) -> None:
    """A Ray of two CPUs, shared by all tests that name it: starting one costs 6 s. Its workers are forked with torch
    imported (`forked_workers`). They know the S3 server and a key for a language model."""
    import ray  # most tests do without

    if not ray.is_initialized():
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OPENAI_API_KEY", llm_server.KEY)
            forked_workers.start_ray(_forked_workers)


@pytest.fixture(scope="session")
def swept() -> list[Path]:
    """Stores in which `experiments/sweep_fusion.py` on `nano.json` has ended: a minute on two cores, so a module that
    needs one takes a copy of what another has left here."""
    return []


@pytest.fixture(scope="session")
def checked_code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that remembers the code of our experiments as checked, as after a user's first plan. A process without
    such a cache imports torch and transformers, 5 s; here that is done already."""
    cache = tmp_path_factory.mktemp("checked")
    for file in ("paper.py", "search_joint.py"):
        code, printed = one_process.run(EXPERIMENTS / file, "plan", "--cache", str(cache), cwd=cache)
        assert code == 0, printed
    return cache


@pytest.fixture(scope="session")
def _s3_endpoint() -> Iterator[str]:
    # Imported here: moto takes a second, and most tests do without.
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def _s3_environment(_s3_endpoint: str) -> Iterator[None]:
    """The server and its credentials in the environment for the rest of the session: workers of a Ray that is started
    with this fixture inherit them."""
    import botocore.session  # as moto above

    with pytest.MonkeyPatch.context() as patch:
        # A client reads 1 MB of JSON about S3, 0.07 s of CPU, and every store has a client.
        patch.setattr(botocore.session, "create_loader", cache(botocore.session.create_loader))
        for name, value in {
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": _s3_endpoint,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/nonexistent/aws-config",
            "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent/aws-credentials",
            "NO_PROXY": "127.0.0.1",
        }.items():
            patch.setenv(name, value)
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def _s3_client(_s3_environment: None) -> Any:
    import boto3

    return boto3.client("s3")


@pytest.fixture
def s3_store_uri(_s3_client: Any) -> str:
    """An empty bucket of its own on a loopback S3 server, found through the AWS_* variables."""
    bucket = f"swim-{uuid4().hex[:12]}"
    _s3_client.create_bucket(Bucket=bucket)
    return f"s3://{bucket}/store"


@pytest.fixture
def proxy(s3_store_uri: str, _s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """Before the S3 server, for what connects from now on."""
    with Proxy(_s3_endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        yield proxy
        proxy.shutdown()


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither our waits for a store nor those of its client take time: what is left is how often a request is sent."""

    async def at_once(*_: object) -> None:
        return None

    monkeypatch.setattr("swimlab.store.backends.patience.LONGEST_WAIT_S", 0.01)
    monkeypatch.setattr("swimlab.store.backends.patience.FIRST_WAIT_S", 0.01)
    monkeypatch.setattr("s3fs.core.asyncio.sleep", at_once)


@pytest.fixture(scope="session")
def trained_store(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Real nano trials (see `trained`): three arms on a base. Shared: copy it before changing anything."""
    # Imported here: torch, which most tests do without.
    import trained

    from swimlab.store.sweep_store import SweepStore

    folder = tmp_path_factory.mktemp("trained")
    store = SweepStore(str(folder / "store"))
    trained.run(store, folder / "cache")
    return store
