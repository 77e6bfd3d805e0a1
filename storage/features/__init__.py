"""The feature store: what is kept of a data set's way through a backbone, and the ledger of it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cvbench.storage.features.inventory import LayerInfo
    from cvbench.storage.features.keys import GroupKey
    from cvbench.storage.features.layer import FeatureLayer
    from cvbench.storage.features.ledger import BadSample, Commit, ObjectRecord, TapRecord
    from cvbench.storage.features.nodes import ArraySpec
    from cvbench.storage.features.split import SplitInfo
    from cvbench.storage.features.store import FeatureStore
    from cvbench.storage.features.units import Unit
    from cvbench.storage.features.writer import UnitWriter

__all__ = [
    "ArraySpec",
    "BadSample",
    "Commit",
    "FeatureLayer",
    "FeatureStore",
    "GroupKey",
    "LayerInfo",
    "ObjectRecord",
    "SplitInfo",
    "TapRecord",
    "Unit",
    "UnitWriter",
]

_PLACES = {
    "LayerInfo": "inventory",
    "GroupKey": "keys",
    "FeatureLayer": "layer",
    "BadSample": "ledger",
    "Commit": "ledger",
    "ObjectRecord": "ledger",
    "TapRecord": "ledger",
    "ArraySpec": "nodes",
    "SplitInfo": "split",
    "FeatureStore": "store",
    "Unit": "units",
    "UnitWriter": "writer",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is asked for: a module of this room costs no more than it needs itself."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
