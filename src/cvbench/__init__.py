"""cvbench: how do two vision backbones differ inside?

A batch engine that streams data sets through timm backbones on Ray actors, keeps layerwise activations in a chunked
Zarr feature store, and computes representation analyses from it.

    import cvbench

    cvbench.extract("digits", backbones=["test_vit", "test_convnext"], store="digits.zarr")
    store = cvbench.open_store("digits.zarr")
    result = cvbench.analyze.cka(store)
    result.to_pandas(), result.to_xarray(), result.figure()

Nothing is imported before it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_MODULES = ("analyze", "errors", "evaluate", "transfer")
_PLACES = {
    "Claims": "kept",
    "Extracted": "extraction",
    "Layer": "stores",
    "Plan": "extraction",
    "Result": "result",
    "Rows": "result",
    "Step": "studies",
    "Store": "stores",
    "Study": "studies",
    "claims": "kept",
    "datasets": "extraction",
    "open_store": "stores",
    "report": "kept",
    "reproduce": "studies",
    "results": "kept",
    "run": "studies",
    "status": "studies",
    "taps": "extraction",
    "torch_dataset": "torch_data",
}
_MADE = ("extract", "plan")
"""Functions that are made from the options of their commands."""

__all__ = [
    "Claims",
    "Extracted",
    "Layer",
    "Plan",
    "Result",
    "Rows",
    "Step",
    "Store",
    "Study",
    "__version__",
    "analyze",
    "claims",
    "datasets",
    "errors",
    "evaluate",
    "extract",
    "open_store",
    "plan",
    "report",
    "reproduce",
    "results",
    "run",
    "status",
    "taps",
    "torch_dataset",
    "transfer",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is asked for."""
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name in _MADE:
        found = import_module(f"{__name__}.api.extraction").function(name)
    elif name in _PLACES:
        found = getattr(import_module(f"{__name__}.api.{_PLACES[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
