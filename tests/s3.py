"""A local server that speaks S3, for tests of remote storage."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    """Runs a server; gives its address. Skips the test where its packages are missing."""
    pytest.importorskip("boto3", reason="needs the package boto3")
    moto = pytest.importorskip("moto.server", reason="needs the packages moto[s3] and flask")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@contextlib.contextmanager
def s3_client(address: str) -> Iterator[Any]:
    """Gives a client of the server; meanwhile the environment names it for others too."""
    import boto3

    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": address,
        }.items():
            patch.setenv(name, value)
        yield boto3.client("s3")
