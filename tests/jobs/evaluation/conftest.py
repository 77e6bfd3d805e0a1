"""What several tests of evaluations are given."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.jobs.evaluation.birds import BIRDS, LABELS, LOGITS
from tests.jobs.logits_store import write_logits


@pytest.fixture
def birds(tmp_path: Path) -> str:
    """The URL of a store with the logits of both backbones."""
    return write_logits(tmp_path / "s.zarr", LOGITS, LABELS, BIRDS)
