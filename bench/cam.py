"""Grad-CAM with a graph that begins at the target layer, against pytorch-grad-cam, which goes back through everything.

    python bench/cam.py [--models convnext_tiny vit_small_patch16_224] [--images 2] [--repeat 2] [--threads 2]

Both get the same random weights, the same images and the same target layer, in one process by turns; the fastest of
`--repeat` counts. CPU seconds per image. The last two columns: the largest difference of a display map, whose range is
0 to 1, and of the classes. The limit is a forward pass alone, timed as well.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import timm
import torch

from cvbench.engine.analyses.cam.graph import class_map
from cvbench.engine.analyses.cam.grids import display
from cvbench.engine.analyses.cam.target import default_target
from cvbench.engine.models.backbones import Backbone, BackboneSpec, Request, describe, load_backbone


def cpu_seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of this process, and what the call gave."""
    begin = time.process_time()
    found = call()
    return time.process_time() - begin, found


def peer_of(backbone: Backbone, target: str) -> Any:
    """pytorch-grad-cam on a copy of the backbone, as its tutorials set it up."""
    from pytorch_grad_cam import GradCAM

    model: Any = timm.create_model(backbone.spec.model, pretrained=False).eval()
    model.load_state_dict(backbone.network.state_dict())
    layout = backbone.layouts([target])[target]

    def grid(tokens: torch.Tensor) -> torch.Tensor:
        patches = tokens[:, layout.prefix :].reshape(len(tokens), layout.height, layout.width, layout.channels)
        return patches.permute(0, 3, 1, 2)

    return GradCAM(model, [model.get_submodule(target)], reshape_transform=grid if layout.kind == "tokens" else None)


def measure(name: str, images: int, repeat: int) -> None:
    """One row of the table."""
    spec = BackboneSpec(name, "random")
    backbone = load_backbone(spec)
    layouts = describe(spec, taps=["*"]).layouts
    target = default_target(layouts, backbone.resolve_taps(["blocks"]))
    height, width = backbone.preprocess.geometry.size
    pixels = torch.randint(
        0, 256, (images, 3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    peer, inputs = peer_of(backbone, target), backbone.inputs(pixels).contiguous()
    calls: dict[str, Callable[[], Any]] = {
        "forward": lambda: backbone.run(pixels, [Request("logits", "logits")]),
        "cvbench": lambda: class_map(backbone, target, "gradcam", pixels),
        "peer": lambda: peer(inputs, targets=None),
    }
    best: dict[str, float] = {}
    found: dict[str, Any] = {}
    for turn in range(repeat + 1):  # the first warms up
        for tool, call in calls.items():
            seconds, found[tool] = cpu_seconds(call)
            if turn:
                best[tool] = min(best.get(tool, seconds), seconds)
    ours = display(found["cvbench"].raw.numpy(), (height, width))
    error = np.abs(ours - found["peer"]).max()
    same = (peer.outputs.argmax(1) == found["cvbench"].choice[:, 0].long()).float().mean()
    each = [best[tool] / images for tool in ("forward", "cvbench", "peer")]
    print(
        f"{name:26}{each[0]:9.3f}{each[1]:9.3f}{each[2]:10.3f}{each[2] / each[1]:8.2f}x  {error:9.1e}  {same:6.0%}",
        flush=True,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["convnext_tiny", "vit_small_patch16_224"])
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{options.images} images, {options.threads} threads, float32; CPU seconds per image")
    print(f"{'model':26}{'forward':>9}{'cvbench':>9}{'grad-cam':>10}{'ratio':>9}  {'map error':>9}  same class")
    for name in options.models:
        measure(name, options.images, options.repeat)


if __name__ == "__main__":
    main()
