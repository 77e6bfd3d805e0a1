"""One sample into the rows that it has in a batch: the same for threads and for processes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.pictures.decode import ROOM, Geometry, decode
from cvbench.engine.pictures.room import Room
from cvbench.engine.pictures.transforms import Transform, render
from cvbench.errors import DecodeError

Payload = bytes | NDArray[np.uint8]
"""A sample as its data set has it: an encoded image, or pixels (H, W) or (H, W, 3)."""


class Refusal(NamedTuple):
    """Why a sample is no image; `reason` is one of `engine.pictures.decode.REASONS`."""

    reason: str
    what: str


def fill(
    payload: Payload, rows: Mapping[Geometry, NDArray[np.uint8]], transform: Transform | None, room: Room = ROOM
) -> Refusal | None:
    """Decode a sample once for each rule, and fit it to each geometry.

    Args:
        payload: The sample.
        rows: For each geometry the (3, h, w) uint8 that is written to; black if the sample is refused.
        transform: Of the data set.
        room: What images in decoding hold together.

    Returns:
        Why it is refused; None if it is an image.

    Raises:
        CvbenchError: The transform is not defined for a geometry.
    """
    try:
        for rules in dict.fromkeys(geometry.rules for geometry in rows):
            image = decode(payload, rules, room)
            for geometry, out in rows.items():
                if geometry.rules == rules:
                    out[:] = render(image, geometry, transform)
    except DecodeError as error:
        for out in rows.values():
            out[:] = 0
        return Refusal(error.reason, error.what)
    return None
