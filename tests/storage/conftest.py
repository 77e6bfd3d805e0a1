"""Fixtures that several tests of storage share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """The URL of an S3 service on the loopback interface."""
    from tests.storage.s3_service import service

    with service() as url:
        yield url


@pytest.fixture
def empty_bucket(endpoint: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a bucket of the test's own, whose service the environment names."""
    from tests.storage.s3_service import new_bucket

    name = f"b{abs(hash(request.node.name))}"
    with new_bucket(endpoint, name):
        yield name
