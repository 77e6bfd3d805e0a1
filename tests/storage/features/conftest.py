"""What several tests of a feature store are given."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from cvbench.storage.features import FeatureStore
from cvbench.storage.objects.base import Objects
from cvbench.storage.objects.open import open_objects


@pytest.fixture(params=["local", "memory"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    """A place of each kind, empty."""
    return open_objects(tmp_path / "s.zarr" if request.param == "local" else f"memory://{uuid.uuid4().hex}")


@pytest.fixture
def store(objects: Objects) -> FeatureStore:
    """An empty store there."""
    return FeatureStore.open(objects, "a")
