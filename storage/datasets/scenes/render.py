"""A scene as pixels: the ground, shadows, the objects part by part, what hides them, light, style, blur."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cvbench.storage.datasets.scenes.distances import F32, Window, covered, to_ellipse, to_polygon, window
from cvbench.storage.datasets.scenes.draws import Draws
from cvbench.storage.datasets.scenes.grounds import ground
from cvbench.storage.datasets.scenes.paints import DARK, paint, second_tone
from cvbench.storage.datasets.scenes.parts import Part
from cvbench.storage.datasets.scenes.placed import Place, object_parts, part_distance, part_window, places
from cvbench.storage.datasets.scenes.scene import Scene
from cvbench.storage.datasets.scenes.styles import LINES, STYLES, finish
from cvbench.storage.datasets.scenes.textures import texture

RENDERER_VERSION = 1
"""Raised when any scene gets other pixels: part of every digest."""

Box = tuple[int, int, int, int]

_LIGHTS = ((1.0, 0.0, 0.0), (1.0, -0.7, 0.0), (1.0, 0.7, 0.0), (1.0, 0.0, -0.7), (0.5, 0.0, 0.0), (1.45, 0.0, 0.0))
"""Of each of `factors.LIGHTS`: its strength, and how much it grows from the left to the right and to the bottom."""

_NEON = ((255, 92, 160), (92, 230, 255), (255, 222, 92), (140, 255, 140))


def render(scene: Scene, size: int) -> NDArray[np.uint8]:
    """(S, S, 3) RGB uint8, the same on every machine."""
    lines = LINES.get(scene.style)
    if lines is None:
        image = ground(scene.background, scene.seed, size)
    else:
        image = np.broadcast_to(np.array(lines, np.float32)[:, None, None], (3, size, size)).copy()
    for place in places(scene, size):
        if lines is None:
            _shadow(image, place, size)
        _draw(image, scene, place, size)
    if scene.hidden:
        _hide(image, scene, size)
    if lines is None:
        _light(image, scene.light, size)
    for plane in image:
        np.minimum(np.maximum(plane, np.float32(0), out=plane), np.float32(255), out=plane)
    image = finish(scene.style, image)
    pixels = np.empty((size, size, 3), np.uint8)
    for channel, plane in enumerate(image):
        sharp = _blurred(plane, scene.blur * size * size // 8192 + 1) if scene.blur else plane
        pixels[:, :, channel] = sharp + np.float32(0.5)
    return pixels


def mask(scene: Scene, size: int) -> NDArray[np.bool_]:
    """(S, S) bool: the pixels that the objects cover by half or more, whatever stands in front of them."""
    found = np.zeros((size, size), dtype=np.bool_)
    edge = _outline(size)
    for place in places(scene, size):
        for part in object_parts(scene):
            at = part_window(part, place, _margin(edge), size)
            if at is not None:
                found[at.rows, at.columns] |= part_distance(part, place, at) >= np.float32(-edge)
    return found


def box(scene: Scene, size: int) -> Box:
    """x, y, width and height in pixels of the smallest rectangle that holds the mask; zeros if it is empty."""
    edge = _outline(size)
    left, top, right, bottom = size, size, 0, 0
    for place in places(scene, size):
        for part in object_parts(scene):
            at = part_window(part, place, _margin(edge), size)
            if at is None or (left <= at.left and top <= at.top and at.right <= right and at.bottom <= bottom):
                continue  # it cannot reach further
            covers = part_distance(part, place, at) >= np.float32(-edge)
            columns, rows = np.flatnonzero(covers.any(axis=0)), np.flatnonzero(covers.any(axis=1))
            if len(columns):
                left, right = min(left, at.left + int(columns[0])), max(right, at.left + int(columns[-1]) + 1)
                top, bottom = min(top, at.top + int(rows[0])), max(bottom, at.top + int(rows[-1]) + 1)
    return (left, top, right - left, bottom - top) if right else (0, 0, 0, 0)


def _outline(size: int) -> float:
    """Width of the line around every part, pixels."""
    return size / 96


def _margin(edge: float) -> float:
    return 2 * edge + 1


def _draw(image: F32, scene: Scene, place: Place, size: int) -> None:
    edge = _outline(size)
    line, papers = _inks(scene)
    for number, part in enumerate(object_parts(scene)):
        at = part_window(part, place, _margin(edge), size)
        if at is None:
            continue
        distance = part_distance(part, place, at)
        inside, whole = covered(distance), covered(distance, edge)
        fill = _fill(part, scene, place, at) if papers is None else papers
        ink = line if line is not None else np.array(_NEON[number % len(_NEON)], np.float32)[:, None, None]
        here = image[:, at.rows, at.columns]
        change = (fill - ink) * inside
        change += ink
        change -= here
        change *= whole
        here += change


def _inks(scene: Scene) -> tuple[F32 | None, F32 | None]:
    """The colour of lines (None: one after the other of several), and that of all areas (None: their own)."""
    dark = np.array(DARK, np.float32)[:, None, None]
    if scene.style not in LINES:
        return dark, None
    paper = np.array(LINES[scene.style], np.float32)[:, None, None]
    pencil = paint("body", scene.kind, scene.colour) * np.float32(0.8)
    return (None if STYLES[scene.style] == "neon" else pencil), paper


def _fill(part: Part, scene: Scene, place: Place, at: Window) -> F32:
    """(3, h, w) or (3, 1, 1): what a part is painted with."""
    plain = paint(part.paint, scene.kind, scene.colour)
    if part.paint != "body":
        return plain
    u, v = place.inside(at)
    return plain + (second_tone(scene.colour) - plain) * texture(scene.texture, u, v, 1 / place.unit)


def _shadow(image: F32, place: Place, size: int) -> None:
    """A soft ellipse on the ground below an object."""
    x, y, reach = place.middle[0], place.middle[1] + 0.92 * place.unit, 0.85 * place.unit
    at = window((x - reach, y - 0.16 * reach), (x + reach, y + 0.16 * reach), size)
    if at is None:
        return
    depth = to_ellipse((x, y), (reach, 0.16 * reach), (1.0, 0.0), at) * np.float32(1 / (0.16 * reach))
    image[:, at.rows, at.columns] *= np.float32(1) - np.maximum(depth, np.float32(0)) * np.float32(0.45)


def _hide(image: F32, scene: Scene, size: int) -> None:
    """A post or a rail in front of the first object, as wide as the share of it that it hides."""
    draws = Draws(scene.seed)
    middle, reach = (scene.x / 1000 * size, scene.y / 1000 * size), scene.size / 2000 * size
    half = reach * scene.hidden / 100
    off = reach * draws.between("off", -30, 30) / 100
    upright = draws.chance("upright", 60)
    if upright:
        x0, x1 = middle[0] + off - half, middle[0] + off + half
        corners = [(x0, -8.0), (x1, -8.0), (x1, size + 8.0), (x0, size + 8.0)]
    else:
        y0, y1 = middle[1] + off - half, middle[1] + off + half
        corners = [(-8.0, y0), (-8.0, y1), (size + 8.0, y1), (size + 8.0, y0)]
    edge = _outline(size)
    low, high = (min(x for x, _ in corners), min(y for _, y in corners)), (corners[2][0], corners[2][1])
    at = window((low[0] - edge - 1, low[1] - edge - 1), (high[0] + edge + 1, high[1] + edge + 1), size)
    if at is None:
        return
    distance = to_polygon(corners, at)
    ink = np.array(LINES.get(scene.style, DARK), np.float32)[:, None, None]
    wood = np.array(((120, 104, 92), (96, 100, 110), (86, 110, 84))[draws.below("wood", 3)], np.float32)[:, None, None]
    across = (at.xs - np.float32(middle[0] + off)) if upright else (at.ys - np.float32(middle[1] + off))
    shade = np.float32(1.1) - np.abs(across) * np.float32(0.45 / max(half, 1.0))
    here = image[:, at.rows, at.columns]
    fill = ink if scene.style in LINES else wood * shade
    here += (ink + (fill - ink) * covered(distance) - here) * covered(distance, edge)


def _light(image: F32, light: int, size: int) -> None:
    strength, right, down = _LIGHTS[light]
    if (strength, right, down) == (1, 0, 0):
        return
    at = (np.arange(size, dtype=np.float32) + np.float32(0.5)) * np.float32(1 / size) - np.float32(0.5)
    field = np.float32(strength) + at[None, :] * np.float32(right) + at[:, None] * np.float32(down)
    for plane in image:
        plane *= field


def _blurred(image: F32, passes: int) -> F32:
    """(S, S): each pass weighs a pixel and its neighbours 1, 2, 1, down and across; the border is repeated."""
    size = len(image)
    for _ in range(passes):
        wide = image[_bordered(size)]
        image = (wide[:-2] + wide[1:-1] + wide[1:-1] + wide[2:]) * np.float32(0.25)
        wide = image[:, _bordered(size)]
        image = (wide[:, :-2] + wide[:, 1:-1] + wide[:, 1:-1] + wide[:, 2:]) * np.float32(0.25)
    return image


def _bordered(size: int) -> NDArray[np.int64]:
    """(S + 2,): rows, the first and the last twice."""
    return np.arange(-1, size + 1).clip(0, size - 1)
