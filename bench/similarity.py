"""Similarity between local features: cvbench, the plain torch way, and the speed at which the store gives the maps.

    python bench/similarity.py [--images 64] [--threads 1] [--grids 14x14x768 28x28x256]

All get the same float16 maps and make the mean matrix, raw and centred. `torch` is `F.normalize`, `bmm` and `mean`,
and nothing else; cvbench's row also has the correlogram, the profile, |S|, contrast and correlation length per image.
The last row reads the same maps from an uncompressed store in a fresh folder (from the page cache: the best case).
Times are CPU seconds, the least of --repeats; the difference is the largest of any entry of the mean matrices.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from maps import HEADER, LAYER, features, stored, table
from numpy.typing import NDArray

from cvbench.engine.analyses.similarity.measure import Similarity
from cvbench.engine.arrays.threads import host_threads


def by_torch(maps: NDArray[np.float16]) -> NDArray[np.float64]:
    """(2, P, P) mean matrices."""
    found = []
    flat = torch.from_numpy(maps).flatten(1, 2).float()
    for centred in (False, True):
        values = flat - flat.mean(dim=1, keepdim=True) if centred else flat
        units = torch.nn.functional.normalize(values, dim=-1)
        found.append(torch.bmm(units, units.transpose(1, 2)).mean(dim=0))
    return torch.stack(found).numpy().astype(np.float64)


def by_cvbench(maps: NDArray[np.float16]) -> NDArray[np.float64]:
    """(2, P(P+1)/2) mean matrices, and all else that the analysis measures."""
    return Similarity().measure_layer(0, LAYER, maps)["matrix/0"] / len(maps)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--grids", nargs="+", default=["14x14x768", "28x28x256"])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{options.images} images, {options.threads} threads")
    print(HEADER)
    for name in options.grids:
        maps = features(options.images, tuple(int(part) for part in name.split("x")))
        upper = np.triu_indices(maps.shape[1] * maps.shape[2])
        error = np.abs(by_torch(maps)[:, upper[0], upper[1]] - by_cvbench(maps)).max()
        with tempfile.TemporaryDirectory() as folder, host_threads(options.threads):
            tools: dict[str, Callable[[], Any]] = {
                "torch": partial(by_torch, maps),
                "cvbench": partial(by_cvbench, maps),
                "read store": stored(Path(folder), maps),
            }
            table(name, maps, tools, options.repeats, {"cvbench": f"{error:.1e}"})


if __name__ == "__main__":
    main()
