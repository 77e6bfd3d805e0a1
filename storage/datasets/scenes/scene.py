"""One picture as plain numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Scene:
    """The content of a picture, whatever its size in pixels. Lengths are thousandths of the image's edge.

    Attributes:
        kind: Class of the object: position in `factors.CLASSES`, or -1: one of `birds.SPECIES`.
        form: Sub-class: position among those of the class, or among the species.
        seed: Of all that has no name: proportions, clouds, where copies and what hides the object stand.
        texture, colour: What covers it: positions in the names of `factors`.
        background: What lies behind it: a position, or `factors.PLAIN`.
        size: Edge of the square that the object fits in.
        x, y: Its middle, from the left and the top.
        angle: Clockwise, degrees.
        mirrored: Whether it looks to the left.
        hidden: Share of its width or height that something in front hides, hundredths.
        light: Position in `factors.LIGHTS`.
        blur: Strength, 0 is sharp.
        count: Objects; the others are copies.
        style: Position in `styles.STYLES`; 0 is none.
    """

    kind: int
    form: int
    seed: int
    texture: int
    colour: int
    background: int
    size: int = 740
    x: int = 500
    y: int = 500
    angle: int = 0
    mirrored: bool = False
    hidden: int = 0
    light: int = 0
    blur: int = 0
    count: int = 1
    style: int = 0


def table(scenes: Sequence[Scene]) -> NDArray[np.int64]:
    """(N, 15) int64: every field of every scene, by which two data sets can be told apart."""
    return np.array([astuple(scene) for scene in scenes], dtype=np.int64).reshape(len(scenes), len(fields(Scene)))
