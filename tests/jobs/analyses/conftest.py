"""What several tests of analyses are given."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import save_file

from cvbench.engine.models.backbones import load_backbone, resolve_spec
from tests.jobs.analyses.pets import SIZE, TARGETS
from tests.jobs.images import write_folder


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 images of 2 classes, one unreadable, and weights of both small backbones with a head of 2 classes."""
    folder = tmp_path_factory.mktemp("cam")
    write_folder(folder / "pets", 24, broken=(9,))
    for model in TARGETS:
        spec = resolve_spec(model, weights="random", image_size=SIZE)
        state = dict(load_backbone(spec).network.state_dict())
        head = "head" if model == "test_vit" else "head.fc"
        state |= {f"{head}.{part}": state[f"{head}.{part}"][:2].clone() for part in ("weight", "bias")}
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / f"{model}.safetensors")
    return folder
