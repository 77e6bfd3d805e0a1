"""What `cvbench analyze maps` takes of a data set's own files: images to draw, and boxes in the backbones' inputs.

Where the files are gone, or are others than those that were extracted, the maps are drawn alone, the numbers that need
boxes are left out, and a note says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer, Result
from cvbench.engine.analyses.maps.colours import principal_colours
from cvbench.engine.analyses.maps.kernel import KINDS, channel_maps
from cvbench.engine.analyses.maps.measure import InputBoxes
from cvbench.errors import CvbenchError, FingerprintMismatchError
from cvbench.jobs.reading.images import open_stored
from cvbench.jobs.reading.reading import Reading, last_layers

if TYPE_CHECKING:
    from cvbench.storage.datasets import Dataset

MOST_LAYERS = 6
"""Up to so many selected layers are all drawn; of more, the last of each backbone."""

_BOX = ("bbox_x", "bbox_y", "bbox_w", "bbox_h")


def open_images(reading: Reading, source: str | None, data_root: str | None) -> tuple[Dataset | None, list[str]]:
    """The data set that the features are of, or None; and why, or where it is."""
    from cvbench.storage.datasets import typed_spec

    selected = reading.selected
    place = selected.dataset, selected.split
    try:
        dataset = open_stored(reading.store, *place, given=source, data_root=data_root)
    except FingerprintMismatchError as error:
        return None, [f"without the images: {error.what}"]
    except CvbenchError as error:
        own = typed_spec(selected.dataset)
        hint = f" (give --source {own})" if ":PATH" in own and not source else ""
        return None, [f"without the images, which cannot be opened: {error.what}{hint}"]
    followed = source is None and reading.store.source(*place)
    return dataset, [f"the images are from {dataset.spec}, as the store says"] if followed else []


def input_boxes(reading: Reading, dataset: Dataset | None) -> tuple[dict[str, InputBoxes], dict[str, Any]]:
    """Backbone -> boxes of all samples by store position, NaN where none; and what the result says of them."""
    split, there = reading.info, reading.rows
    if not set(_BOX) <= set(split.factors):
        return {}, {"notes": ["the data set has no boxes: no foreground share, outlier rate only"]}
    if dataset is None:
        return {}, {"notes": ["boxes need the sizes of the images: no foreground share, outlier rate only"]}
    from cvbench.jobs.reading.pictures import boxes_of

    found = boxes_of(dataset, split)
    if found is None:
        return {}, {"notes": ["the images are transformed, and boxes would not lie on them: outlier rate only"]}
    fitted = reading.geometries
    boxes, vanished = {}, {}
    for (name, geometry), inside in zip(fitted.items(), found.at(there, list(fitted.values())), strict=True):
        table = np.full((int(there[-1]) + 1 if len(there) else 0, 4), np.nan)
        table[there] = inside
        boxes[name] = InputBoxes(table, geometry.size)
        vanished[name] = int(np.isnan(inside[:, 0]).sum())
    notes = [f"{name}: the crop leaves nothing of {count} boxes" for name, count in vanished.items() if count]
    return boxes, {"boxes_vanished": vanished, "notes": notes}


def boxes_digest(boxes: Mapping[str, InputBoxes]) -> str:
    digest = hashlib.sha256()
    for name, own in boxes.items():
        digest.update(f"{name} {own.size} {own.boxes.shape}".encode() + own.boxes.astype("<f8").tobytes())
    return digest.hexdigest()[:16] if boxes else ""


def drawn_layers(layers: Sequence[Layer]) -> list[Layer]:
    """The layers whose maps are drawn."""
    return list(layers) if len(layers) <= MOST_LAYERS else last_layers(layers)


def add_pictures(
    result: Result, reading: Reading, rows: NDArray[np.int64], dataset: Dataset | None, common: bool | None = None
) -> None:
    """Add the chosen samples' maps `map_i` of layer number i, (kind, image, row, column) float32, and their images.

    With `common`, see `principal_colours`, also `colour_i` (image, row, column, rgb) float32, and `explained` of what
    is drawn, the share of the variance that the colours of each image show.

    An image is stored once for each way of preparing it: `picture_k` (image, pixel row, pixel column, rgb) uint8, and
    `box_k` (image, 4) in its pixels if there are boxes; the attribute `drawn` says which layer goes with which.
    """
    split, layers = reading.info, reading.selected.layers
    result.coords.update(image=[str(split.ids[row]) for row in rows], kind=list(KINDS))
    fitted = reading.geometries
    ways = list(dict.fromkeys(fitted.values()))
    drawn = []
    for layer in drawn_layers(layers):
        number = layers.index(layer)
        taken = reading.take(layer, rows.tolist())
        found = channel_maps(taken).astype(np.float32)
        dims = ("kind", "image", f"row_{found.shape[2]}", f"column_{found.shape[3]}")
        result.data[f"map_{number}"] = (dims, found.swapaxes(0, 1))
        one: dict[str, Any] = {"layer": number, "picture": ways.index(fitted[layer.backbone])}
        if common is not None:
            colours, shares = principal_colours(taken, common=common)
            result.data[f"colour_{number}"] = (("image", *dims[2:], "rgb"), colours)
            one["explained"] = shares.tolist()
        drawn.append(one)
    result.attrs["drawn"] = drawn
    if dataset is None:
        return
    from cvbench.jobs.reading.pictures import boxes_of, inputs_of

    boxes = boxes_of(dataset, split)
    named = {str(k): way for k, way in enumerate(ways)}
    for k, pictures in inputs_of(dataset, split, rows, named).items():
        height, width = pictures.shape[1:3]
        result.data[f"picture_{k}"] = (("image", f"pixel_row_{height}", f"pixel_column_{width}", "rgb"), pictures)
        if boxes is not None:
            result.data[f"box_{k}"] = (("image", "edge"), boxes.at(rows, [named[k]])[0])
