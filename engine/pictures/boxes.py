"""Boxes: from an image's own pixels to a backbone's input, and from there to the cells of a grid.

A box is half-open, [x0, x1) x [y0, y1), in pixels whose first spans [0, 1). Nothing is rounded to whole cells: a cell
that a box covers in part counts in part, so shares are exact whatever the grid.
"""

from __future__ import annotations

import io
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import DecodeError

if TYPE_CHECKING:
    from cvbench.engine.pictures.geometry import Geometry

F64 = NDArray[np.float64]

_ORIENTATION = 0x0112


def image_size(image: bytes | IO[bytes] | NDArray[np.uint8]) -> tuple[int, int]:
    """(height, width) of the image that `engine.pictures.decode.decode` would give, from its header: no pixel is
    decoded.

    Args:
        image: An encoded file, a stream at its start (only the header is read), or pixels (H, W) or (H, W, 3).

    Raises:
        DecodeError: The header cannot be read.
    """
    if isinstance(image, np.ndarray):
        return int(image.shape[0]), int(image.shape[1])
    from PIL import Image

    from cvbench.engine.pictures.decode import FORMATS

    try:
        with Image.open(io.BytesIO(image) if isinstance(image, bytes) else image, formats=FORMATS) as header:
            width, height = header.size
            turned = _turned(header)
    except MemoryError:
        raise
    except Exception as error:  # PIL's plugins raise whatever hostile bytes lead them to
        raise DecodeError(f"the header of an image cannot be read: {error}") from error
    return (width, height) if turned else (height, width)


def _turned(header: Any) -> bool:
    """Whether the EXIF orientation swaps height and width; a damaged EXIF block counts as none."""
    try:
        return header.format != "TIFF" and header.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
    except Exception:
        return False


def to_input(boxes: F64, sizes: NDArray[Any], geometry: Geometry) -> F64:
    """Boxes in the pixels that a backbone sees: resized and cropped as the image was, then clipped to what is left.

    Args:
        boxes: (n, 4) x, y, width, height in the image's own pixels; NaN for an image without one.
        sizes: (n, 2) height, width of each image.
        geometry: The backbone's.

    Returns:
        (n, 4) float64 x0, y0, x1, y1 in input pixels; all NaN where the crop leaves nothing of the box.
    """
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    found = np.full(boxes.shape, np.nan)
    for i, ((x, y, width, height), size) in enumerate(zip(boxes, np.asarray(sizes, dtype=np.int64), strict=True)):
        spans = [
            _clipped((first, first + length), int(own), resized, wanted)
            for first, length, own, resized, wanted in zip(
                (y, x), (height, width), size, geometry.resized(int(size[0]), int(size[1])), geometry.size, strict=True
            )
        ]
        (y0, y1), (x0, x1) = spans
        if y0 < y1 and x0 < x1:  # false for NaN too
            found[i] = x0, y0, x1, y1
    return found


def _clipped(span: tuple[float, float], own: int, resized: int, wanted: int) -> tuple[float, float]:
    """One axis: the span scaled from `own` to `resized` pixels, moved by the centre crop to `wanted`, and clipped."""
    # As `engine.pictures.geometry` places the crop and the padding: half to even, and the odd pixel of padding behind.
    start = round((resized - wanted) / 2.0) if resized >= wanted else -((wanted - resized) // 2)
    first, last = (min(max(edge * resized / own - start, 0.0), float(wanted)) for edge in span)
    return first, last


def cell_fractions(boxes: F64, size: tuple[int, int], grid: tuple[int, int]) -> F64:
    """Share of each cell that a box covers.

    Args:
        boxes: (n, 4) x0, y0, x1, y1 in input pixels.
        size: (height, width) of the input, pixels.
        grid: (H, W) equal cells that the input is cut into.

    Returns:
        (n, H, W) float64 in [0, 1]; a row's mean is the box's share of the input's area. NaN for a box that is NaN.

    >>> cell_fractions(np.array([[0.0, 0.0, 3.0, 2.0]]), (4, 4), (2, 2)).tolist()
    [[[1.0, 0.5], [0.0, 0.0]]]
    """
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    rows, columns = (
        _covered(boxes[:, first], boxes[:, first + 2], length, cells)
        for first, length, cells in ((1, size[0], grid[0]), (0, size[1], grid[1]))
    )
    return rows[:, :, None] * columns[:, None, :]


def _covered(first: F64, last: F64, length: int, cells: int) -> F64:
    """(n, cells): the part of each cell of one axis that lies in [first, last)."""
    edges = np.arange(cells + 1) * (length / cells)
    overlap = np.minimum(last[:, None], edges[1:]) - np.maximum(first[:, None], edges[:-1])
    return np.asarray(np.maximum(overlap, 0.0) * (cells / length))
