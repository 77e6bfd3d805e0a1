"""Backbones that tell digits apart, made in a second: random layers, and a linear head fitted to what they give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from cvbench.engine.models.backbones import Request, load_backbone, resolve_spec
from cvbench.engine.pictures.decode import decode, fit
from cvbench.storage.datasets import open_dataset


def write_heads(folder: Path, models: tuple[str, ...], size: int, count: int = 300) -> tuple[str, ...]:
    """`MODEL=FILE` for each model, as `--weights` takes them; trained at `size` pixels on `count` digits."""
    train = open_dataset("digits", split="train")
    folder.mkdir(parents=True, exist_ok=True)
    words = []
    for name in models:
        backbone = load_backbone(resolve_spec(name, weights="random", image_size=size))
        images = np.stack([fit(decode(train.read(i)), backbone.preprocess.geometry) for i in range(count)])
        request = Request("head", "head")
        parts = [backbone.run(part, [request])[request] for part in torch.from_numpy(images).chunk(count // 32 + 1)]
        x = torch.cat(parts).double()
        mean = x.mean(dim=0)
        hot = torch.nn.functional.one_hot(torch.from_numpy(train.labels[:count]), 10).double() - 0.1
        centred = x - mean
        ridge = 1e-3 * centred.square().sum() / len(x) * torch.eye(x.shape[1], dtype=torch.float64)
        weight = 12 * torch.linalg.solve(centred.T @ centred / len(x) + ridge, centred.T @ hot / len(x)).T
        state = dict(backbone.network.state_dict())
        head = "head.fc" if "head.fc.weight" in state else "head"
        state[f"{head}.weight"], state[f"{head}.bias"] = weight.float(), (-weight @ mean).float()
        save_file({key: value.contiguous() for key, value in state.items()}, folder / f"{name}.safetensors")
        words.append(f"{name}={folder / name}.safetensors")
    return tuple(words)
