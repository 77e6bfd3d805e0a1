"""Small pictures of a data set's images for the page: one sheet for each split, as the images are at hand."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cvbench.errors import CvbenchError, FingerprintMismatchError
from cvbench.jobs.reading.images import open_stored
from cvbench.storage.features import FeatureStore
from cvbench.storage.features.order import sample_order

SIDE = 32
"""Pixels of a small picture."""
ACROSS = 32
"""Pictures in a row of a sheet."""
MOST = 2_048
"""Pictures of a sheet; of more samples, evenly spaced ones have one."""
MOST_BYTES = 1_000_000
"""Of a sheet as a data URI; of a larger one, every other picture is left out."""


@dataclass(frozen=True)
class Sheet:
    """Pictures of `SIDE` pixels, `ACROSS` in a row; `rows`: whose they are, as places in the split as it is stored."""

    rows: tuple[int, ...]
    uri: str

    def as_dict(self) -> dict[str, Any]:
        """The form that the page's script reads."""
        return {"side": SIDE, "across": ACROSS, "rows": self.rows, "uri": self.uri}


def sheet_of(
    store: FeatureStore, dataset: str, split: str, rows: Sequence[int], data_root: str | None = None
) -> tuple[Sheet | None, str]:
    """The sheet of these samples, and why there is none or not of all; "" if there is one of all.

    There is none where the images cannot be read without being asked for (`jobs.reading.images`), are others than those
    extracted, or are transformed.
    """
    info = store.split(dataset, split)
    try:
        opened = open_stored(store, dataset, split, data_root=data_root)
        if opened.transform is not None:
            return None, "no small pictures: the images are transformed"
        order = sample_order(info.n, info.seed)
        kept = list(dict.fromkeys(rows))
        kept = kept[:: -(-len(kept) // MOST)] if kept else []
        tiles = {row: tile for row in kept if (tile := _tile(opened.read(int(order[row])))) is not None}
    except FingerprintMismatchError:
        return None, "no small pictures: the images are not those that were extracted"
    except CvbenchError as error:
        return None, f"no small pictures of the images: {error.what}"
    shown, uri = list(tiles), _sheet(list(tiles.values()))
    while len(uri) > MOST_BYTES:
        shown = shown[::2]
        uri = _sheet([tiles[row] for row in shown])
    if not shown:
        return None, "no small pictures: no image can be read"
    some = "" if len(shown) == len(set(rows)) else f"{len(shown):,} of {len(set(rows)):,} images have a small picture"
    return Sheet(tuple(shown), uri), some


def _tile(payload: Any) -> Any:
    """The middle square of an image, (SIDE, SIDE, 3) uint8; None of one that cannot be read."""
    from PIL import Image

    from cvbench.engine.pictures.decode import decode

    try:
        pixels = decode(payload)
    except CvbenchError:
        return None
    image = Image.fromarray(pixels)
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    return np.asarray(
        image.resize((SIDE, SIDE), Image.Resampling.BOX if side > SIDE else Image.Resampling.NEAREST, box)
    )


def _sheet(tiles: Sequence[Any]) -> str:
    """Tiles in rows as one JPEG; "" of none."""
    from PIL import Image

    if not tiles:
        return ""
    sheet = np.full((-(-len(tiles) // ACROSS) * SIDE, ACROSS * SIDE, 3), 255, np.uint8)
    for k, tile in enumerate(tiles):
        top, left = k // ACROSS * SIDE, k % ACROSS * SIDE
        sheet[top : top + SIDE, left : left + SIDE] = tile
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "JPEG", quality=75, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
