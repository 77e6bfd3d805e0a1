"""What may differ between the driver and an actor, and what may not."""

from __future__ import annotations

import pytest
import timm
import torch

import cvbench
from cvbench.errors import ClusterError
from cvbench.jobs.running.versions import DECIDE, Hello, compare, versions

HERE = {"cvbench": "1", "torch": "2.10.0+cpu", "timm": "1.0", "numpy": "2.1", "ray": "2.60", "cupy": ""}


def far(**other: str) -> Hello:
    return Hello("node-3", "10.0.0.3", 7, {**HERE, **other})


def test_those_of_this_process() -> None:
    found = versions()
    assert found["torch"] == torch.__version__.partition("+")[0]
    assert found["timm"] == timm.__version__
    assert found["cvbench"] == cvbench.__version__
    assert set(DECIDE) <= set(found)


def test_the_same_and_other_builds_of_the_same_are_no_matter() -> None:
    assert compare(HERE, far()) is None
    assert compare(HERE, far(torch="2.10.0+cu126")) is None


def test_what_decides_no_byte_is_said() -> None:
    said = compare(HERE, far(ray="2.61", cupy="13.6"))
    assert said is not None
    assert "node-3" in said
    assert "ray 2.61 instead of 2.60" in said
    assert "cupy 13.6 instead of none" in said


@pytest.mark.parametrize("package", ["cvbench", "torch", "timm", "numpy"])
def test_what_decides_bytes_is_refused(package: str) -> None:
    with pytest.raises(ClusterError, match="node-3") as caught:
        compare(HERE, far(**{package: "0.1"}))
    assert caught.value.why == f"{package} 0.1 instead of {HERE[package]}"
    with pytest.raises(ClusterError):
        compare(HERE, far(**{package: ""}))
