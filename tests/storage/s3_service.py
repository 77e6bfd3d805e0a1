"""A real S3 service on the loopback interface (moto's server), with a proxy before it that can misbehave."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import boto3
from moto.server import ThreadedMotoServer

from tests.storage.objects.fault_proxy import FaultProxy

CANARY = "canary-7f3e"
"""Part of every credential, to be searched for in whatever is written."""
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": f"AK{CANARY}",
    "AWS_SECRET_ACCESS_KEY": f"secret-{CANARY}",
    "AWS_SESSION_TOKEN": f"token-{CANARY}",
}
OTHER = {"AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1", "NO_PROXY": "127.0.0.1"}


@contextmanager
def service() -> Iterator[str]:
    """A service without buckets; its URL."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@contextmanager
def new_bucket(endpoint: str, name: str) -> Iterator[None]:
    """An empty bucket of a service; the environment names the service and credentials."""
    with mock.patch.dict(os.environ, {"AWS_ENDPOINT_URL": endpoint, **CREDENTIALS, **OTHER}):
        boto3.client("s3").create_bucket(Bucket=name)
        yield


@contextmanager
def proxied_service(bucket: str) -> Iterator[FaultProxy]:
    """A service with one bucket, behind a proxy; the environment names the proxy and credentials."""
    with service() as endpoint, FaultProxy(endpoint) as proxy, new_bucket(endpoint, bucket):
        os.environ["AWS_ENDPOINT_URL"] = proxy.url
        yield proxy
