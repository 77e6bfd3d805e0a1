"""Small studies of digits, with networks of random weights."""

from __future__ import annotations

from pathlib import Path

import yaml

from cvbench.jobs.study.document import parse
from cvbench.jobs.study.study import Study, make_study

BACKBONES = """
backbones:
  - {model: test_vit, weights: random}
  - {model: test_convnext, weights: random}
"""

TAPS = ["blocks.0", "blocks.5", "stages.1.blocks.0"]
"""Layers with a grid of 2 x 2 at least, at 32 pixels: two of one network, for what compares its layers."""


def study_of(text: str, *given: str) -> Study:
    """The study of a text, with `BACKBONES` if it names none."""
    return make_study(parse(text if "backbones:" in text else text + BACKBONES, "s.yaml"), given)


def write_study(folder: Path, **changes: object) -> Path:
    """A study file in a folder, made if need be, with store and report beside it: spectra of 32 digits at 32 pixels."""
    study: dict[str, object] = {
        "store": str(folder / "study.zarr"),
        "address": "none",
        "backbones": [{"model": "test_vit", "weights": "random"}, {"model": "test_convnext", "weights": "random"}],
        "datasets": [{"dataset": "digits", "split": "test", "limit": 32}],
        "extract": {"image_size": 32, "unit": 8, "batch_size": 8, "view": "maps", "taps": TAPS},
        "analyses": [{"spectra": {"resamples": 50}}],
        "report": {"out": str(folder / "report")},
    }
    folder.mkdir(exist_ok=True)
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump({**study, **changes}, sort_keys=False))
    return path
