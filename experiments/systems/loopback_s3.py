"""A loopback S3 server (moto) for experiments about the store: its own process's memory, gone with it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from swimlab.store.errors import StoreError


@contextmanager
def bucket() -> Iterator[str]:
    """An empty prefix on a new server, which AWS_* variables of this process and its children name meanwhile."""
    try:
        import boto3
        from moto.moto_server.threaded_moto_server import ThreadedMotoServer
    except ImportError as error:
        raise StoreError("the loopback S3 server is moto's: install the `dev` extra, or name a store on S3") from error
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for every request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    before = dict(os.environ)
    nobody = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}
    os.environ |= nobody | {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "NO_PROXY": "127.0.0.1"}
    try:
        name = f"swim-{uuid4().hex[:12]}"
        boto3.client("s3").create_bucket(Bucket=name)
        yield f"s3://{name}/store"
    finally:
        os.environ.clear()
        os.environ.update(before)
        server.stop()
