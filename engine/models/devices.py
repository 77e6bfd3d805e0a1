"""Which device computes, and whether the installed torch holds kernels for it.

CUDA wheels drop old cards: torch 2.11 left Volta (sm_70, V100) out of the registry's wheel, CUDA 13 out of all.
Such a build imports well and fails at the first kernel with "no kernel image is available"; we say so at start.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch

from cvbench.errors import ResourceError, UnknownNameError

VOLTA_PINS = "torch <= 2.10 from the registry, or torch 2.11-2.14 built for cu126; and cupy-cuda12x, never cupy-cuda13x"


def resolve_device(device: str = "auto") -> torch.device:
    """The torch device for `auto`, `cpu`, `cuda` or `cuda:N`.

    `auto` is the current CUDA device where there is one, else the CPU.

    Raises:
        UnknownNameError: for any other word.
        ResourceError: if CUDA is asked for and absent, or if this torch has no kernels for the card.
    """
    if device != "auto" and not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise UnknownNameError.among("device", device, ("auto", "cpu", "cuda"), fix="--device auto, cpu or cuda")
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "cpu" or (device == "auto" and found == 0):
        return torch.device("cpu")
    index = int(device.partition(":")[2] or 0)
    if index >= found:
        raise ResourceError(
            f"no CUDA device {index}",
            why=f"torch {torch.__version__} sees {found} CUDA devices",
            fix="--device cpu, or a torch build and driver for CUDA",
        )
    check_architecture(torch.cuda.get_device_capability(index), torch.cuda.get_arch_list(), torch.__version__)
    return torch.device("cuda", index)


def runs_on(capability: tuple[int, int], built_for: Sequence[str]) -> bool:
    """Whether a build for `built_for` (as `torch.cuda.get_arch_list()` gives it) runs on a card of this capability.

    Machine code (`sm_XY`) runs on cards of the same major version from X.Y on, with a letter (`sm_90a`) on X.Y only;
    `compute_XY` is compiled on the fly for any card from X.Y on. A list without either (not NVIDIA) is not judged.

    >>> runs_on((7, 0), ["sm_75", "sm_80", "compute_90"]), runs_on((8, 6), ["sm_80"])
    (False, True)
    """
    known = [m for m in (re.fullmatch(r"(sm|compute)_(\d+)(\d)([a-z]?)", name) for name in built_for) if m]
    for match in known:
        target = (int(match[2]), int(match[3]))
        if match[4]:
            fits = capability == target
        else:
            fits = capability >= target and (match[1] == "compute" or capability[0] == target[0])
        if fits:
            return True
    return not known


def check_architecture(capability: tuple[int, int], built_for: Sequence[str], version: str) -> None:
    """Refuse a torch build without kernels for the card.

    Raises:
        ResourceError: naming the card's architecture, the build's, and the versions that hold it.
    """
    if runs_on(capability, built_for):
        return
    major, minor = capability
    raise ResourceError(
        f"torch {version} has no kernels for this card (sm_{major}{minor})",
        why=f"it was built for {', '.join(built_for)}",
        fix=f"for V100 install {VOLTA_PINS}" if capability == (7, 0) else "install a torch build for this architecture",
    )


def placed(model: Any, device: torch.device) -> Any:
    """The model on the device, channels last where it can be: convolutions run faster so.

    A network with tensors of five axes cannot (torch has no such layout of them) and stays as it is.
    """
    try:
        return model.to(device, memory_format=torch.channels_last)
    except RuntimeError as error:
        if "channels_last" not in str(error):
            raise
        return model.to(device, memory_format=torch.contiguous_format)  # undoes what was done already
