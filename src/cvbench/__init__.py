"""cvbench: how do two vision backbones differ inside?

A batch engine that streams data sets through timm backbones on Ray actors, keeps layerwise activations in a chunked
Zarr feature store, and computes representation analyses from it.
"""

from __future__ import annotations

__version__ = "0.1.0"

__all__ = ["__version__"]
