"""Pictures of scenes: every factor does what its name says, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from cvbench.storage.datasets.scenes.angles import cosine, sine
from cvbench.storage.datasets.scenes.birds import SPECIES
from cvbench.storage.datasets.scenes.factors import BACKGROUNDS, CLASSES, COLOURS, LIGHTS, SUBCLASSES, TEXTURES
from cvbench.storage.datasets.scenes.render import box, mask, render
from cvbench.storage.datasets.scenes.scene import Scene
from cvbench.storage.datasets.scenes.styles import STYLES


def test_the_mask_is_what_the_object_changes() -> None:
    """Against the same scene in another colour: every pixel that differs is of the object, whatever its sub-class."""
    for kind in range(len(CLASSES)):
        for form in (0, 1):
            scene = Scene(kind, form, 7 * kind, 0, 0, 0)
            other = replace(scene, colour=7, texture=9)
            changed = (render(scene, 128) != render(other, 128)).any(axis=2)
            inside = mask(scene, 128)
            assert changed.any()
            near = inside.copy()  # the border is anti-aliased: a pixel further
            near[1:] |= inside[:-1]
            near[:-1] |= inside[1:]
            near[:, 1:] |= inside[:, :-1]
            near[:, :-1] |= inside[:, 1:]
            assert not (changed & ~near).any(), SUBCLASSES[kind][form]


# Every factor does what its name says, and nothing else.

BASE = Scene(kind=3, form=0, seed=5, texture=3, colour=3, background=3)


def difference(one: Scene, other: Scene) -> NDArray[np.bool_]:
    """(S, S): where the pictures differ."""
    changed: NDArray[np.bool_] = (render(one, 128) != render(other, 128)).any(axis=2)
    return changed


@pytest.mark.parametrize(("field", "count"), [("texture", len(TEXTURES)), ("colour", len(COLOURS))])
def test_textures_and_colours_change_the_object_alone(field: str, count: int) -> None:
    scenes = [replace(BASE, **{field: value}) for value in range(count)]  # type: ignore[arg-type]
    inside = mask(BASE, 128)
    for one, other in combinations(scenes, 2):
        changed = difference(one, other)
        assert changed.sum() > 200
        assert changed[inside].sum() > 0.97 * changed.sum()


def test_backgrounds_leave_the_inside_of_the_object() -> None:
    for one, other in combinations(range(len(BACKGROUNDS)), 2):
        changed = difference(replace(BASE, background=one), replace(BASE, background=other))
        assert changed[~mask(BASE, 128)].mean() > 0.5
        assert changed[60:70, 40:80].mean() < 0.05, "the body of the car"


def test_size_and_position_move_the_box() -> None:
    for size in (300, 500, 900):
        _, _, w, h = box(replace(BASE, size=size), 200)
        assert max(w, h) == pytest.approx(size / 1000 * 200, rel=0.15)
    left, top, w, h = box(BASE, 128)
    moved = box(replace(BASE, x=BASE.x + 125, y=BASE.y - 125, size=BASE.size), 128)
    assert moved[:2] == pytest.approx((left + 16, top - 16), abs=1)


def test_orientation_turns_the_box() -> None:
    _, _, w, h = box(BASE, 128)
    upright = box(replace(BASE, angle=90), 128)[2:]
    assert upright == pytest.approx((h, w), abs=1)
    _, _, wider, higher = box(replace(BASE, angle=180), 128)
    assert (wider, higher) == pytest.approx((w, h), abs=1)


def test_occlusion_hides_its_share() -> None:
    clean, inside = render(BASE, 128), mask(BASE, 128)
    shares = []
    for hidden in (10, 30, 50):
        changed = (render(replace(BASE, hidden=hidden), 128) != clean).any(axis=2)
        shares.append(float(changed[inside].mean()))
        assert np.array_equal(mask(replace(BASE, hidden=hidden), 128), inside), "the mask is of the whole object"
    assert shares == sorted(shares)
    assert shares[0] == pytest.approx(0.10, abs=0.10)
    assert shares[2] == pytest.approx(0.50, abs=0.20)


def test_lights_change_the_brightness() -> None:
    mean = {name: render(replace(BASE, light=i), 128).mean(axis=2) for i, name in enumerate(LIGHTS)}
    whole = {name: float(values.mean()) for name, values in mean.items()}
    assert whole["dim"] < 0.6 * whole["even"]
    assert whole["bright"] > 1.15 * whole["even"]
    assert mean["from the left"][:, :32].mean() > mean["even"][:, :32].mean() > mean["from the right"][:, :32].mean()
    assert mean["from above"][:32].mean() > mean["even"][:32].mean()


def test_blur_takes_the_edges_away() -> None:
    def edges(blur: int) -> float:
        image = render(replace(BASE, blur=blur), 128).astype(np.float64)
        return float(np.abs(np.diff(image, axis=1)).mean())

    found = [edges(blur) for blur in range(5)]
    assert found == sorted(found, reverse=True)
    assert found[4] < 0.5 * found[0]


def test_number_counts_the_objects() -> None:
    def parts(covered: NDArray[np.bool_]) -> int:
        """Connected parts of more than 30 pixels."""
        left, found = covered.copy(), 0
        while left.any():
            at = np.zeros_like(left)
            at[tuple(np.argwhere(left)[0])] = True
            while True:
                grown = at.copy()
                grown[1:] |= at[:-1]
                grown[:-1] |= at[1:]
                grown[:, 1:] |= at[:, :-1]
                grown[:, :-1] |= at[:, 1:]
                grown &= left
                if np.array_equal(grown, at):
                    break
                at = grown
            found += int(at.sum()) > 30
            left &= ~at
        return found

    for count in range(1, 6):
        assert parts(mask(replace(BASE, kind=7, count=count, size=600), 160)) == count


@pytest.mark.parametrize("style", range(1, len(STYLES)))
def test_each_style_is_another_picture(style: int) -> None:
    assert difference(BASE, replace(BASE, style=style)).mean() > 0.5
    assert np.array_equal(mask(replace(BASE, style=style), 128), mask(BASE, 128))


def test_a_scene_looks_alike_at_every_size() -> None:
    """Averaged down, the larger picture is the smaller one but for its anti-aliasing."""
    for kind in range(len(CLASSES)):
        scene = Scene(kind, 0, 3 * kind, kind, kind, 10)
        large = render(scene, 192).reshape(96, 2, 96, 2, 3).astype(np.float64).mean(axis=(1, 3))
        assert np.abs(large - render(scene, 96)).mean() < 5


def test_sines_are_those_of_the_library() -> None:
    for degrees in range(-400, 800):
        assert sine(degrees) == pytest.approx(np.sin(np.radians(degrees)), abs=2**-30)
        assert cosine(degrees) == pytest.approx(np.cos(np.radians(degrees)), abs=2**-30)
    assert [sine(0), sine(30), sine(90), cosine(90)] == [0, 0.5, 1, 0]


def test_species_differ_in_small_parts() -> None:
    """Each from each other by less than a tenth of the image, and by more than a few pixels."""
    scenes = [Scene(-1, form, 4, 0, 0, 10) for form in range(len(SPECIES))]
    for one, other in combinations(scenes, 2):
        share = difference(one, other).mean()
        assert 0.002 < share < 0.12, (SPECIES[one.form], SPECIES[other.form])


def test_subclasses_differ() -> None:
    for kind in range(len(CLASSES)):
        assert difference(replace(BASE, kind=kind), replace(BASE, kind=kind, form=1)).mean() > 0.01
