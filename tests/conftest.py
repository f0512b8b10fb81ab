"""Fixtures that several floors share."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import settings

# A deadline for each example would assert wall-clock: on a busy machine it fails for no fault of the code.
settings.register_profile("any-machine", deadline=None)
settings.load_profile("any-machine")


@pytest.fixture(scope="session")
def swept() -> list[Path]:
    """Stores in which `experiments/sweep_fusion.py` on `nano.json` has ended: a minute on two cores, so a module that
    needs one takes a copy of what another has left here."""
    return []


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
    with pytest.MonkeyPatch.context() as patch:
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


@pytest.fixture
def s3_store_uri(_s3_environment: None) -> str:
    """An empty bucket of its own on a loopback S3 server, found through the AWS_* variables."""
    import boto3

    bucket = f"swim-{uuid4().hex[:12]}"
    boto3.client("s3").create_bucket(Bucket=bucket)
    return f"s3://{bucket}/store"
