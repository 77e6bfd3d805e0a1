"""From a decoded image to the pixels a backbone sees: resize, then crop.

The arithmetic is timm's evaluation transform (`timm.data.transforms_imagenet_eval`), which is torchvision's `Resize`
and `CenterCrop` for the common case. Two ways to the same pixels:

    fast  antialiased resize of uint8 tensors in torch; 0.004 grey levels from PIL in the mean, three times as fast
    pil   PIL's own resize, byte for byte what timm feeds the model: the strict reference

Both filter the rows first, then the columns, and round in between. Pillow 13 swaps the two when the height shrinks much
more than the width, which keeping the aspect never does: only a "squash" of a tall image then differs by 0.25 levels.

Both release the interpreter lock while they resample, so threads scale; set `torch.set_num_threads(1)` in a process
that runs `fit` on several threads of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cvbench.errors import UsageError

MAX_PIXELS = 50_000_000
"""The largest image that is ever held, in pixels; decoded or resized."""

_PIL_FILTER = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "nearest": Image.Resampling.NEAREST,
}


Rules = Literal["viewer", "loader"]


@dataclass(frozen=True)
class Geometry:
    """Resize and crop of an image to `size`; frozen, hashable and part of the store's fingerprint.

    Args:
        size: (height, width) of the result, pixels.
        resize: The edge(s) to scale to before the crop. "center": the shorter edge, or a (height, width) that the image
            covers; "squash": both edges, ignoring the aspect; "border": a box that the whole image fits into; "inner":
            nothing is scaled to it, it is the window that is cut from the middle of the image itself.
        crop: "center" cuts what sticks out, "squash" distorts, "border" pads, "inner" cuts first and scales after.
        interpolation: The resampling filter, always antialiased but for "nearest".
        decoder: "fast" or "pil", see above.
        rules: Which of the two rules of `engine.pictures.decode` the image was decoded by: "viewer" turns it as its
            EXIF block says and puts alpha on white, "loader" gives the pixels of timm's and torchvision's readers.
        fill: RGB of the padding. timm pads with black, in "border" with `round(255 * mean)`.
    """

    size: tuple[int, int]
    resize: int | tuple[int, int]
    crop: Literal["center", "squash", "border", "inner"] = "center"
    interpolation: Literal["bicubic", "bilinear", "nearest"] = "bicubic"
    decoder: Literal["fast", "pil"] = "fast"
    fill: tuple[int, int, int] = (0, 0, 0)
    rules: Rules = "viewer"

    def __post_init__(self) -> None:
        edges = (*self.size, *self._box)
        if min(edges) < 1:
            raise UsageError(f"image sizes must be positive, not {edges}")
        for name, value, known in (
            ("crop", self.crop, ("center", "squash", "border", "inner")),
            ("interpolation", self.interpolation, tuple(_PIL_FILTER)),
            ("decoder", self.decoder, ("fast", "pil")),
            ("rules", self.rules, ("viewer", "loader")),
        ):
            if value not in known:
                raise UsageError(f"{name} must be one of {', '.join(known)}, not {value!r}")

    @property
    def _box(self) -> tuple[int, int]:
        return (self.resize, self.resize) if isinstance(self.resize, int) else self.resize

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) after the resize of a `height` x `width` image, rounded as torchvision or timm rounds.

        With "inner", the size that the whole image would have, to the nearest pixel.

        >>> Geometry(size=(224, 224), resize=256).resized(375, 500)
        (256, 341)
        """
        box_height, box_width = self._box
        if self.crop == "squash":
            return box_height, box_width
        if self.crop == "inner":
            return round(height * self.size[0] / box_height), round(width * self.size[1] / box_width)
        if self.crop == "center" and box_height == box_width:
            longer = int(box_height * max(height, width) / min(height, width))
            return (longer, box_height) if height >= width else (box_height, longer)
        pick = max if self.crop == "border" else min
        ratio = pick(height / box_height, width / box_width)
        return max(1, round(height / ratio)), max(1, round(width / ratio))


def fit(image: NDArray[np.uint8], geometry: Geometry, shift: tuple[int, int] = (0, 0)) -> NDArray[np.uint8]:
    """Resize and crop one image.

    Args:
        image: (H, W, 3) RGB uint8, as `decode` returns it.
        geometry: What the backbone wants.
        shift: (down, right) pixels by which the crop lies beside its place, padded where it leaves the resized image.

    Returns:
        (3, h, w) RGB uint8, C-contiguous, with (h, w) = `geometry.size`.
    """
    if geometry.crop == "inner":
        window = _center(np.moveaxis(image, 2, 0), replace(geometry, size=geometry._box), (0, 0))
        return fit(np.moveaxis(window, 0, 2), replace(geometry, resize=geometry.size, crop="squash"), shift)
    height, width = geometry.resized(image.shape[0], image.shape[1])
    if height * width > MAX_PIXELS:
        return _fit_window(image, geometry, (height, width), shift)
    if (height, width) == image.shape[:2]:
        resized = np.moveaxis(image, 2, 0)
    elif geometry.decoder == "pil":
        resized = np.moveaxis(_resize_pil(image, geometry, height, width), 2, 0)
    else:
        resized = _resize_torch(image, geometry, height, width)
    return _center(resized, geometry, shift)


def _resize_pil(image: NDArray[np.uint8], geometry: Geometry, height: int, width: int) -> NDArray[np.uint8]:
    resized = Image.fromarray(image).resize((width, height), _PIL_FILTER[geometry.interpolation])
    return np.asarray(resized)


def _resize_torch(image: NDArray[np.uint8], geometry: Geometry, height: int, width: int) -> NDArray[np.uint8]:
    import torch  # not for who only asks where a pixel lies

    if not image.flags.writeable or min(image.strides) < 0:
        image = image.copy()  # torch wants a writable, forward-strided buffer
    batch = torch.from_numpy(image).permute(2, 0, 1).unsqueeze(0)
    if geometry.interpolation == "nearest":
        resized = torch.nn.functional.interpolate(batch, size=(height, width), mode="nearest-exact")
    else:
        resized = torch.nn.functional.interpolate(
            batch, size=(height, width), mode=geometry.interpolation, antialias=True, align_corners=False
        )
    return np.asarray(resized[0].numpy(), dtype=np.uint8)


def _center(image: NDArray[np.uint8], geometry: Geometry, shift: tuple[int, int]) -> NDArray[np.uint8]:
    """Crop (3, H, W) around its centre (and `shift`), and pad where it is too small, with torchvision's rounding."""
    (top, bottom, above, below), (left, right, before, after) = map(_span, image.shape[1:], geometry.size, shift)
    inner = image[:, top:bottom, left:right]
    if not (above or below or before or after):
        return np.ascontiguousarray(inner)
    out = np.empty((3, *geometry.size), dtype=np.uint8)
    out[:] = np.array(geometry.fill, dtype=np.uint8)[:, None, None]
    out[:, above : above + inner.shape[1], before : before + inner.shape[2]] = inner
    return out


def _span(length: int, wanted: int, shift: int) -> tuple[int, int, int, int]:
    """(start, stop, pad before, pad after) along one axis."""
    # Half to even, as torchvision has it; where the image is too small, the larger half of the padding comes after.
    begin = (round((length - wanted) / 2.0) if length >= wanted else -((wanted - length) // 2)) + shift
    start, stop = min(max(begin, 0), length), max(min(begin + wanted, length), 0)
    if start >= stop:
        return 0, 0, 0, wanted
    return start, stop, start - begin, begin + wanted - stop


def _fit_window(
    image: NDArray[np.uint8], geometry: Geometry, resized: tuple[int, int], shift: tuple[int, int]
) -> NDArray[np.uint8]:
    """Resize and crop as `fit`, but resample only what the crop keeps.

    A strip of 1 x 20,000 pixels would be 256 x 5,120,000 before the crop: gigabytes for 224 x 224 pixels. PIL takes the
    window as a box in source pixels, and filters beyond its edges, so the result is the same up to rounding; that
    rounding (the box is float32) breaks the byte equality, which is why no other image goes this way.
    """
    (top, bottom, above, _), (left, right, before, _) = map(_span, resized, geometry.size, shift)
    out = np.empty((3, *geometry.size), dtype=np.uint8)
    out[:] = np.array(geometry.fill, dtype=np.uint8)[:, None, None]
    if top == bottom or left == right:
        return out
    scale_y, scale_x = image.shape[0] / resized[0], image.shape[1] / resized[1]
    window = Image.fromarray(image).resize(
        (right - left, bottom - top),
        _PIL_FILTER[geometry.interpolation],
        box=(left * scale_x, top * scale_y, right * scale_x, bottom * scale_y),
    )
    out[:, above : above + bottom - top, before : before + right - left] = np.moveaxis(np.asarray(window), 2, 0)
    return out
