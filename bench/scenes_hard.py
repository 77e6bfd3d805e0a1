"""Which scenes a trained reference gets wrong: writes the seeds of `scenes-a`, as ImageNet-A was chosen by a ResNet-50.

    cvbench transfer finetune --dataset scenes --backbone test_resnet --weights random --image-size 64 --seed 1 \
        --epochs 8 --lr 0.003 --batch-size 32 --out REFERENCE --address none
    python bench/scenes_hard.py --weights REFERENCE/test_resnet@64-scenes.safetensors

The reference is a residual network: of neither family that the study compares, so that the choice favours none. Of
the scenes of a range of seeds that no other set has, the first `--each` of every class are kept that it errs on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from cvbench.engine.models.backbones import Request, load_backbone, resolve_spec
from cvbench.engine.pictures.decode import decode, fit
from cvbench.storage.datasets.readers.scenes import USUAL
from cvbench.storage.datasets.scenes.factors import CLASSES
from cvbench.storage.datasets.scenes.render import render
from cvbench.storage.datasets.scenes.shifts import hard_candidates

TARGET = Path(__file__).parents[1] / "storage/datasets/scenes/hard.py"
INPUT = 64
"""Edge of the reference's input, pixels."""


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--model", default="test_resnet")
    parser.add_argument("--each", type=int, default=12)
    parser.add_argument("--candidates", type=int, default=20_000)
    options = parser.parse_args()
    backbone = load_backbone(resolve_spec(options.model, weights=options.weights, image_size=INPUT, head=True))
    kept: list[list[int]] = [[] for _ in CLASSES]
    samples = hard_candidates(options.candidates)
    for start in range(0, len(samples), 100):
        part = samples[start : start + 100]
        images = np.stack([fit(decode(render(one.scene, USUAL)), backbone.preprocess.geometry) for one in part])
        request = Request("logits", "logits")
        said = np.asarray(backbone.run(torch.from_numpy(images), [request])[request]).argmax(axis=1)
        for one, row in zip(part, said.tolist(), strict=True):
            if row != one.label:
                kept[one.label].append(one.scene.seed)
        if min(map(len, kept)) >= options.each:
            break
    seeds = sorted(seed for own in kept for seed in own[: options.each])
    print(f"{start + len(part):,} scenes seen, {sum(map(len, kept)):,} fit, {len(seeds)} kept")
    lines = "\n".join(f"    {', '.join(map(str, seeds[i : i + 12]))}," for i in range(0, len(seeds), 12))
    TARGET.write_text(
        '"""The seeds of `scenes-a`: scenes that a trained residual network gets wrong (bench/scenes_hard.py)."""\n\n'
        "from __future__ import annotations\n\n"
        f"# fmt: off\nHARD_SEEDS: tuple[int, ...] = (\n{lines}\n)\n# fmt: on\n"
    )


if __name__ == "__main__":
    main()
