from __future__ import annotations

import pytest
import torch

from cvbench.engine.models.devices import check_architecture, resolve_device, runs_on
from cvbench.errors import ResourceError, UnknownNameError

CUDA_13 = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120"]
CUDA_126 = ["sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90"]


@pytest.mark.parametrize(
    ("capability", "built_for", "expected"),
    [
        ((7, 0), CUDA_126, True),
        ((7, 0), CUDA_13, False),
        ((8, 9), CUDA_13, True),  # machine code for 8.6 runs on 8.9
        ((12, 1), CUDA_13, True),
        ((9, 0), ["sm_90a"], True),
        ((9, 1), ["sm_90a"], False),  # a letter binds to one architecture
        ((7, 5), ["compute_70"], True),
        ((9, 0), ["sm_80"], False),  # another major version
        ((9, 0), ["gfx90a"], True),  # not NVIDIA's: not judged
    ],
)
def test_which_builds_run_on_which_cards(capability: tuple[int, int], built_for: list[str], expected: bool) -> None:
    assert runs_on(capability, built_for) is expected


def test_a_build_without_volta_names_the_versions_that_have_it() -> None:
    check_architecture((7, 0), CUDA_126, "2.14.0+cu126")
    with pytest.raises(ResourceError, match="sm_70") as caught:
        check_architecture((7, 0), CUDA_13, "2.15.0+cu130")
    assert caught.value.fix is not None
    for pin in ("torch <= 2.10", "2.11-2.14", "cu126", "cupy-cuda12x"):
        assert pin in caught.value.fix


def test_another_missing_architecture_does_not_speak_of_v100() -> None:
    with pytest.raises(ResourceError) as caught:
        check_architecture((6, 1), CUDA_13, "2.15.0")
    assert "V100" not in str(caught.value)


def test_auto_is_cuda_only_where_there_is_one() -> None:
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert resolve_device("cpu") == torch.device("cpu")


def test_an_absent_card_is_a_resource_error() -> None:
    with pytest.raises(ResourceError, match="no CUDA device 99"):
        resolve_device("cuda:99")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "tpu", ""])
def test_an_unknown_device_is_named(name: str) -> None:
    with pytest.raises(UnknownNameError, match="unknown device"):
        resolve_device(name)
