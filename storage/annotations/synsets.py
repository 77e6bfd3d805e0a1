"""Which WordNet id each output of a large ImageNet classifier stands for, by the number of outputs.

The orders are timm's own lists, read from its package without importing it (which would import torch).
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

from cvbench.errors import DataUnavailableError

_LISTS = {
    11_221: "imagenet21k_miil_synsets.txt",
    11_821: "imagenet12k_synsets.txt",
    21_841: "imagenet22k_synsets.txt",
    21_842: "imagenet22k_ms_synsets.txt",  # the 1000 classes of ImageNet-1k come first
    21_843: "imagenet21k_goog_synsets.txt",
}


@cache
def classifier_synsets(outputs: int) -> tuple[str, ...] | None:
    """The WordNet ids of an ImageNet-21k (or 12k) classifier in the order of its outputs; None for another width.

    Raises:
        DataUnavailableError: timm is not there, or does not have the list.
    """
    name = _LISTS.get(outputs)
    if name is None:
        return None
    found = importlib.util.find_spec("timm")
    path = Path(found.origin).parent / "data" / "_info" / name if found and found.origin else Path(name)
    try:
        synsets = tuple(path.read_text(encoding="utf-8").split())
    except OSError as error:
        raise DataUnavailableError("the list of a classifier's classes is not there", where=str(path)) from error
    if len(synsets) != outputs:
        raise DataUnavailableError(
            f"the list has {len(synsets):,} classes, the classifier {outputs:,} outputs", where=str(path)
        )
    return synsets
