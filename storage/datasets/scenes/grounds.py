"""What lies behind the objects: ten grounds, and none. Each gives (3, S, S) float32: red, green, blue, 0 to 255."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from cvbench.storage.datasets.scenes.distances import F32
from cvbench.storage.datasets.scenes.draws import Draws, lattice
from cvbench.storage.datasets.scenes.factors import BACKGROUNDS, PLAIN

RGB = tuple[int, int, int]
_HALF = np.float32(0.5)


def ground(index: int, seed: int, size: int) -> F32:
    """The ground of a position in `factors.BACKGROUNDS`, or none."""
    if index == PLAIN:
        return _flat((214, 214, 210), size)
    painted = _GROUNDS[BACKGROUNDS[index]](Draws(seed), size)
    for plane, name in zip(painted, "rgb", strict=True):
        plane += np.float32(Draws(seed).between(f"tint {name}", -14, 14))
    return painted


def sky(draws: Draws, size: int) -> F32:
    """Blue, with clouds."""
    image = _gradient((96, 158, 222), (196, 224, 244), size)
    _mix(image, (252, 252, 252), _ramp(_noise(draws, "clouds", 4, size), 0.5, 0.75))
    return image


def sea(draws: Draws, size: int) -> F32:
    """A calm sea below a pale sky."""
    line = draws.between("horizon", 30, 48) / 100
    image = _horizon(_gradient((172, 206, 232), (236, 236, 226), size), (38, 104, 142), line, size)
    _, y = _axes(size)
    below = np.maximum(y - np.float32(line), np.float32(0))
    waves = _gap(y * np.float32(13) + _noise(draws, "waves", 7, size) * np.float32(1.5))
    _mix(image, (110, 168, 190), _ramp(waves, 0.34, 0.42) * np.minimum(below * np.float32(3), np.float32(0.8)))
    return image


def wallpaper(draws: Draws, size: int) -> F32:
    """Pale, with broad upright stripes."""
    image = _flat((226, 212, 190), size)
    x, _ = _axes(size)
    stripes = _ramp(_gap(x * np.float32(draws.between("stripes", 5, 8))), 0.22, 0.28)
    _mix(image, (204, 186, 170), np.broadcast_to(stripes, (size, size)))
    return image


def road(draws: Draws, size: int) -> F32:
    """Tarmac with a white line, below a grey sky."""
    line = draws.between("horizon", 38, 56) / 100
    image = _horizon(_gradient((150, 168, 186), (206, 210, 212), size), (92, 92, 98), line, size)
    _mix(image, (116, 116, 122), _ramp(_noise(draws, "tar", 24, size), 0.5, 0.9) * _below(line, size))
    x, y = _axes(size)
    stroke = _ramp(np.float32(0.02) - np.abs(y - np.float32(line + 0.24)), 0.0, 0.01) * _ramp(_gap(x * 4), 0.14, 0.2)
    _mix(image, (236, 232, 214), stroke)
    return image


def table(draws: Draws, size: int) -> F32:
    """Boards of wood, from above."""
    image = _flat((184, 134, 88), size)
    _, y = _axes(size)
    grain = _gap(y * np.float32(22) + _noise(draws, "grain", 3, size) * np.float32(5))
    _mix(image, (158, 110, 68), grain)
    boards = np.float32(0.03) - _gap(y * np.float32(4) + np.float32(draws.below("boards", 100) / 100))
    _mix(image, (96, 62, 38), np.broadcast_to(_ramp(boards, 0.0, 0.02), (size, size)))
    return image


def reef(draws: Draws, size: int) -> F32:
    """Under water, with bubbles."""
    image = _gradient((70, 170, 196), (16, 62, 104), size)
    _mix(image, (120, 204, 214), _ramp(_noise(draws, "light", 5, size), 0.55, 1.1))
    x, y = _axes(size)
    for number in range(7):
        left, top = (draws.between(f"bubble {axis} {number}", 4, 96) / 100 for axis in "xy")
        radius = draws.between(f"bubble r {number}", 15, 40) / 1000
        dx, dy = x - np.float32(left), y - np.float32(top)
        rim = np.float32(0.006) - np.abs(np.sqrt(dx * dx + dy * dy) - np.float32(radius))
        _mix(image, (206, 240, 244), _ramp(rim, 0.0, 0.006))
    return image


def meadow(draws: Draws, size: int) -> F32:
    """Grass below the sky."""
    line = draws.between("horizon", 30, 50) / 100
    image = _horizon(_gradient((136, 192, 232), (214, 232, 240), size), (104, 162, 72), line, size)
    below = _below(line, size)
    _mix(image, (66, 122, 52), _ramp(_noise(draws, "grass", 20, size), 0.35, 0.9) * below)
    _mix(image, (240, 228, 130), _flecks(draws, "buds", 16, 20, size) * below)
    return image


def hills(draws: Draws, size: int) -> F32:
    """Three ridges, paler the farther."""
    image = _gradient((232, 206, 170), (246, 232, 208), size)
    x, y = _axes(size)
    for number, colour in enumerate(((168, 178, 176), (128, 148, 118), (106, 116, 74))):
        top = 0.38 + 0.17 * number
        middle = draws.between(f"ridge {number}", 0, 100) / 100
        ridge = np.float32(top) + (x - np.float32(middle)) * (x - np.float32(middle)) * np.float32(0.28)
        _mix(image, colour, _ramp(y - ridge, -0.004, 0.004))
    return image


def forest(draws: Draws, size: int) -> F32:
    """Trunks in a dim green."""
    image = _gradient((72, 104, 74), (38, 60, 40), size)
    _mix(image, (110, 146, 92), _ramp(_noise(draws, "leaves", 12, size), 0.5, 1.0))
    x, _ = _axes(size)
    trunks = _gap(x * np.float32(4) + np.float32(draws.below("trunks", 100) / 100))
    _mix(image, (66, 48, 36), np.broadcast_to(_ramp(trunks, 0.36, 0.40), (size, size)))
    return image


def snow(draws: Draws, size: int) -> F32:
    """Falling on a white field."""
    line = draws.between("horizon", 45, 62) / 100
    image = _horizon(_gradient((134, 150, 172), (188, 198, 212), size), (236, 240, 246), line, size)
    _mix(image, (250, 252, 255), _flecks(draws, "flakes", 14, 45, size))
    return image


def _flat(colour: RGB, size: int) -> F32:
    return np.broadcast_to(np.array(colour, np.float32)[:, None, None], (3, size, size)).copy()


def _gradient(top: RGB, bottom: RGB, size: int) -> F32:
    _, y = _axes(size)
    first, last = (np.array(colour, np.float32)[:, None, None] for colour in (top, bottom))
    return np.broadcast_to(first + (last - first) * y, (3, size, size)).copy()


def _horizon(above: F32, colour: RGB, line: float, size: int) -> F32:
    """The picture above a line, a colour that grows darker to the bottom below it."""
    _, y = _axes(size)
    shade = np.float32(1.12) - np.maximum(y - np.float32(line), np.float32(0)) * np.float32(0.35)
    for plane, value in zip(above, colour, strict=True):  # a plane fits the cache
        plane += (np.float32(value) * shade - plane) * _below(line, size)
    return above


def _below(line: float, size: int) -> F32:
    _, y = _axes(size)
    return _clipped((y - np.float32(line)) * np.float32(size) + _HALF)


def _mix(image: F32, colour: RGB, share: F32) -> None:
    """Blend a colour in, where `share` (h, w) says, in place."""
    for plane, value in zip(image, colour, strict=True):
        change = np.float32(value) - plane
        change *= share
        plane += change


def _ramp(x: F32, low: float, high: float) -> F32:
    """0 up to `low`, 1 from `high`, linear between."""
    return _clipped((x - np.float32(low)) * np.float32(1 / (high - low)))


def _clipped(share: F32) -> F32:
    clipped: F32 = np.minimum(np.maximum(share, np.float32(0)), np.float32(1))
    return clipped


def _gap(x: F32) -> F32:
    """Distance to the next whole number, 0 to 1/2."""
    gap: F32 = np.abs(x - np.floor(x + _HALF))
    return gap


@cache
def _axes(size: int) -> tuple[F32, F32]:
    """(1, S) and (S, 1): the middles of pixels from 0 to 1."""
    middles = (np.arange(size, dtype=np.float32) + _HALF) * np.float32(1 / size)
    return middles[None, :], middles[:, None]


def _noise(draws: Draws, name: str, cells: int, size: int) -> F32:
    """(S, S) in [0, 1): values on a lattice of so many cells, smoothly joined."""
    values = lattice(draws.word(name), cells + 1, cells + 1)
    at, share = _cells(cells, size)
    rows = values[at] + (values[at + 1] - values[at]) * share[:, None]
    left = rows[:, at]
    return left + (rows[:, at + 1] - left) * share


def _flecks(draws: Draws, name: str, cells: int, percent: int, size: int) -> F32:
    """(S, S) coverage of small discs, one in so many of a hundred cells of a lattice."""
    at, _ = _cells(cells, size)
    x = _axes(size)[0] * np.float32(cells)
    place = [lattice(draws.word(f"{name} {axis}"), cells, cells)[at][:, at] for axis in "xyr"]
    radius = (place[2] * np.float32(100 / percent) < 1) * (place[2] * np.float32(16 / percent) + np.float32(0.08))
    dx = x - np.floor(x) - np.float32(0.25) - place[0] * _HALF
    dy = (x - np.floor(x)).T - np.float32(0.25) - place[1] * _HALF
    return _ramp(radius - np.sqrt(dx * dx + dy * dy), -0.04, 0.04) * (radius > 0)


@cache
def _cells(cells: int, size: int) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], F32]:
    """(S,) each: the lattice point before a pixel's middle, and how far on it is, smoothed (3 t^2 - 2 t^3)."""
    place = _axes(size)[0][0] * np.float32(cells)
    before = np.floor(place)
    t = place - before
    return before.astype(np.int64), t * t * (np.float32(3) - np.float32(2) * t)


_GROUNDS: dict[str, Callable[[Draws, int], F32]] = {
    maker.__name__: maker for maker in (sky, sea, wallpaper, road, table, reef, meadow, hills, forest, snow)
}
