"""What a sample table says of each scene, by name: the values of its factors, and its bounding box."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.storage.datasets.scenes.birds import SPECIES
from cvbench.storage.datasets.scenes.factors import (
    BACKGROUNDS,
    COLOURS,
    LARGER,
    LIGHTS,
    PLAIN,
    SMALLER,
    SUBCLASSES,
    TEXTURES,
    USUAL_ANGLE,
)
from cvbench.storage.datasets.scenes.render import box
from cvbench.storage.datasets.scenes.scene import Scene
from cvbench.storage.datasets.scenes.styles import STYLES

Columns = dict[str, NDArray[Any]]

BOX = ("bbox_x", "bbox_y", "bbox_w", "bbox_h")
FLAG = "x_"
"""Begins the name of a column that says whether a factor of ImageNet-X is there; `x_top` says which one is first."""

RAREST = (
    "multiple_objects",
    "pose",
    "larger",
    "smaller",
    "darker",
    "brighter",
    "object_blocking",
    "pattern",
    "color",
    "background",
)
"""Factors of ImageNet-X that scenes have, the rarer first."""
STYLE = "style"
"""One more, which only `scenes-x` has beside photographs."""


def columns_of(scenes: Sequence[Scene]) -> Columns:
    """Name -> (N,) array: names as text, shares of the image's edge, degrees."""
    return {
        "subclass": _text(subclass(scene) for scene in scenes),
        "texture": _text(TEXTURES[scene.texture] for scene in scenes),
        "colour": _text(COLOURS[scene.colour] for scene in scenes),
        "background": _text(background(scene) for scene in scenes),
        "light": _text(LIGHTS[scene.light] for scene in scenes),
        "size": np.array([scene.size for scene in scenes]) / 1000,
        "x": np.array([scene.x for scene in scenes]) / 1000,
        "y": np.array([scene.y for scene in scenes]) / 1000,
        "orientation": np.array([(scene.angle + 180) % 360 - 180 for scene in scenes], dtype=np.float64),
        "occlusion": np.array([scene.hidden for scene in scenes]) / 100,
        "blur": np.array([scene.blur for scene in scenes], dtype=np.float64),
        "number": np.array([scene.count for scene in scenes], dtype=np.float64),
    }


def boxes_of(scenes: Sequence[Scene], size: int) -> Columns:
    """The boxes of `BOX`, each (N,) float64, in pixels of images of `size`."""
    corners = np.array([box(scene, size) for scene in scenes], dtype=np.float64).reshape(-1, 4)
    return {name: np.ascontiguousarray(corners[:, k]) for k, name in enumerate(BOX)}


def flags_of(scenes: Sequence[Scene], names: Sequence[str] = RAREST) -> Columns:
    """For each of some factors of ImageNet-X, whether it is there: what is unusual in a scene of its class.

    `x_top` is the first of `names` that is there, "" if none is.
    """
    present = [flags(scene, names) for scene in scenes]
    found: Columns = {f"{FLAG}{name}": np.array([name in own for own in present]) for name in names}
    return found | {f"{FLAG}top": _text(own[0] if own else "" for own in present)}


def flags(scene: Scene, names: Sequence[str] = RAREST) -> list[str]:
    """Those of the names that fit a scene, in their order."""
    turned = (scene.angle + 180) % 360 - 180
    there = {
        "multiple_objects": scene.count > 1,
        "pose": abs(turned) > USUAL_ANGLE,
        "larger": scene.size >= LARGER[0],
        "smaller": scene.size <= SMALLER[1],
        "darker": LIGHTS[scene.light] == "dim",
        "brighter": LIGHTS[scene.light] == "bright",
        "object_blocking": scene.hidden > 0,
        "pattern": scene.texture != scene.kind,
        "color": scene.colour != scene.kind,
        "background": scene.background != scene.kind,
        STYLE: scene.style > 0,
    }
    return [name for name in names if there[name]]


def renditions_of(scenes: Sequence[Scene]) -> Columns:
    """The manner of each scene."""
    return {"rendition": _text(STYLES[scene.style] for scene in scenes)}


def subclass(scene: Scene) -> str:
    """The name of its object's sub-class, or species."""
    return SPECIES[scene.form] if scene.kind < 0 else SUBCLASSES[scene.kind][scene.form]


def background(scene: Scene) -> str:
    """The name of what lies behind it."""
    return "none" if scene.background == PLAIN else BACKGROUNDS[scene.background]


def _text(values: Any) -> NDArray[np.str_]:
    return np.array(list(values), dtype=np.str_)
