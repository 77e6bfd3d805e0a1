"""Counts what live analyses ask of a card for one batch of 256 images of the Base pair: the table of `docs/scale.md`.

    python -m tests.standin.pair

On the stand-in, with 16 images whose values are drawn: blocks and groups are made 16 times smaller, so that there are
as many of them, and bytes are reckoned 16 times.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch

from cvbench.engine.analyses.base import Layer
from cvbench.engine.analyses.cka.measure import MinibatchCka
from cvbench.engine.analyses.live import LiveAnalysis
from cvbench.engine.analyses.similarity import kernel
from cvbench.engine.analyses.similarity import measure as similarity
from cvbench.engine.analyses.spectra import kernel as spectrum
from cvbench.engine.analyses.spectra.measure import Spectra
from cvbench.jobs.extraction.live import LivePass, Watch
from tests.standin.counters import COUNTERS, Counters
from tests.standin.plug import plugged

BATCH, IMAGES = 256, 16
CONVNEXT = ((3, 56, 128), (3, 28, 256), (27, 14, 512), (3, 7, 1024))
"""Blocks of ConvNeXt-Base: how many, side of the grid, channels."""
VIT = (12, 14, 768)

HEAD = """
| | launches | torch's | host waits | copies to device | read and written |
|---|--:|--:|--:|--:|--:|"""


def layers() -> dict[Layer, tuple[int, int]]:
    """All 48 blocks of the pair: the side of the grid and the channels of each."""
    found: dict[Layer, tuple[int, int]] = {}
    for stage, (blocks, side, channels) in enumerate(CONVNEXT):
        found |= {Layer("convnext_base", f"stages.{stage}.blocks.{i}"): (side, channels) for i in range(blocks)}
    blocks, side, channels = VIT
    return found | {Layer("vit_base_patch16_224", f"blocks.{i}"): (side, channels) for i in range(blocks)}


def counted(analyses: Mapping[str, LiveAnalysis]) -> Counters:
    """What the second batch of a unit costs: the first brings the constants up."""
    shapes = layers()
    live = LivePass([Watch(analysis, (*shapes,), ()) for analysis in analyses.values()], 1, "cuda")
    drawn = torch.Generator().manual_seed(0)
    before = COUNTERS.copy()
    for number in range(2):
        before = COUNTERS.copy()
        live.begin(number * IMAGES, IMAGES, ())
        for layer, (side, channels) in shapes.items():
            values = torch.randn((IMAGES, side, side, channels), generator=drawn).half()
            live.observer(layer.backbone)(layer.tap, values.pin_memory().to("cuda:0", non_blocking=True))
        live.end()
    return COUNTERS.copy() - before


def main() -> None:
    """Print the table."""
    several: dict[str, LiveAnalysis] = {
        "cka": MinibatchCka(batch=IMAGES),
        "spectra": Spectra(),
        "similarity": similarity.Similarity.between({layer: (side, side) for layer, (side, _) in layers().items()}, {}),
    }
    share = BATCH // IMAGES
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((spectrum, "DEVICE_BLOCK"), (kernel, "DEVICE_BLOCK"), (similarity, "DEVICE_GROUP")):
            patch.setattr(module, name, getattr(module, name) // share)
        print(HEAD)
        for title, chosen in ({name: {name: one} for name, one in several.items()} | {"together": several}).items():
            with plugged():
                found = counted(chosen)
            launches = found.launches + found.torch_launches
            moved = (found.moved + found.torch_moved) * share / 1e9
            uploads = found.uploads - len(layers())  # the maps, which lie there already
            print(f"| {title} | {launches} | {found.torch_launches} | {found.waits} | {uploads} | {moved:.0f} GB |")


if __name__ == "__main__":
    main()
