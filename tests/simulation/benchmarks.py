"""ImageNet-X, PUG, shape bias and invariance."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.metrics.imagenet_x import factor_errors
from cvbench.engine.metrics.invariance import change_difference, setting
from cvbench.engine.metrics.pug import pug_accuracies
from cvbench.engine.metrics.scores import Scores
from cvbench.engine.statistics.paired import compare_ratios, compare_units
from tests.simulation.accuracy import Rng, family, judged, options, trial
from tests.simulation.frame import Case, Trial

Flags = NDArray[np.bool_]

# ImageNet-X


def _ratio(sizes: tuple[int, ...], n: int, rng: Rng) -> dict[str, Trial]:
    """Factors of the given sizes, each of which doubles an error of 0.15; the last of n images is none."""
    flags = np.zeros((n, len(sizes)), bool)
    start = 0
    for factor, size in enumerate(sizes):
        flags[start : start + size, factor] = True
        start += size
    likely = np.where(flags.any(axis=1), 0.3, 0.15)
    found = factor_errors(rng.random(n) >= likely, flags, options(rng))
    truth = 0.3 / likely.mean()
    numbers = {f"{size} images": trial(truth, ratio) for size, ratio in zip(sizes, found.ratio, strict=True)}
    return {**numbers, "mean over factors": trial(truth, found.mean_ratio)}


def _two(likely: NDArray[np.float64], shared: float, rng: Rng) -> tuple[Flags, Flags]:
    """Two backbones of the same chances; a share of the images is decided alike."""
    u, v = rng.random((2, len(likely)))
    return u >= likely, np.where(rng.random(len(likely)) < shared, u, v) >= likely


def _ratio_difference(size: int, shared: float, error: float, rng: Rng) -> dict[str, Trial]:
    """One factor of `size` images of 2,000."""
    from cvbench.engine.metrics.imagenet_x import compare_factors

    flags = np.arange(2000)[:, None] < size
    a, b = _two(np.full(2000, error), shared, rng)
    found = compare_factors(a, b, flags)
    accuracy = found.accuracy[0]
    return {"ratio": judged(0.0, found.ratio[0]), "accuracy": judged(0.0, accuracy.difference)}


def _apart(size: int, rng: Rng) -> Trial:
    """A errs twice as often as B with the factor, and as often without it."""
    from cvbench.engine.metrics.imagenet_x import compare_factors

    flags = np.arange(2000)[:, None] < size
    likely = [np.where(flags[:, 0], with_it, 0.15) for with_it in (0.3, 0.15)]
    u, v = rng.random((2, 2000))
    v = np.where(rng.random(2000) < 0.6, u, v)
    found = compare_factors(u >= likely[0], v >= likely[1], flags)
    return judged(0.3 / likely[0].mean() - 1, found.ratio[0])


def _ratio_family(rng: Rng) -> Trial:
    """Sixteen factors without a difference, judged together."""
    from cvbench.engine.metrics.imagenet_x import compare_factors

    sizes = np.array([6, 8, 10, 12, 20, 30, 40, 50, 60, 80, 100, 150, 200, 250, 300, 400])
    flags = np.repeat(np.arange(16), sizes)[:, None] == np.arange(16)
    a, b = _two(np.full(len(flags), 0.2), 0.6, rng)
    found = compare_factors(a, b, flags).ratio
    return family(found)


# PUG


def _objects(count: int, p: float, alike: float, rng: Rng) -> NDArray[np.float64]:
    """(count,) chance of each object: beta, with `alike` as the correlation of its renders."""
    if not alike:
        return np.full(count, p)
    size = (1 - alike) / alike
    return rng.beta(p * size, (1 - p) * size, count)


_GROUPS = {"background": ("Worlds",), "camera": ("Camera_Pitch", "Camera_Yaw")}
_RENDERS = np.array(["Worlds"] * 12 + ["Camera_Pitch"] * 6 + ["Camera_Yaw"] * 6)


def _factor(count: int, p: float, alike: float, rng: Rng) -> dict[str, Trial]:
    subset, names = np.tile(_RENDERS, count), np.repeat(np.arange(count).astype(str), len(_RENDERS))
    chance = np.repeat(_objects(count, p, alike, rng), len(_RENDERS))
    found = pug_accuracies(rng.random(len(chance)) < chance, subset, names, _GROUPS, {})
    return {name: trial(p, one) for name, one in found.groups.items()}


def _two_objects(count: int, p: float, own: float, rng: Rng) -> tuple[Flags, Flags]:
    """Renders by two equal backbones: objects are easy or hard for both, and a little for each of its own."""
    common = _objects(count, p, 0.3, rng)
    chances = [np.clip(common + own * rng.normal(size=count), 0, 1) for _ in range(2)]
    a, b = (rng.random((count, len(_RENDERS))) < chance[:, None] for chance in chances)
    return a.ravel(), b.ravel()


def _object_difference(count: int, p: float, own: float, rng: Rng) -> Trial:
    a, b = _two_objects(count, p, own, rng)
    names = np.repeat(np.arange(count).astype(str), len(_RENDERS))
    return judged(0.0, compare_units(a, b, names))


def _object_family(count: int, rng: Rng) -> Trial:
    """The factors of two equal backbones, judged together."""
    from cvbench.engine.metrics.pug import compare_factors

    a, b = _two_objects(count, 0.7, 0.1, rng)
    names, subset = np.repeat(np.arange(count).astype(str), len(_RENDERS)), np.tile(_RENDERS, count)
    found = list(compare_factors(a, b, subset, names, _GROUPS).values())
    return family(found)


# Shape bias


def _bias(n: int, decided: float, p: float, shared: float, rng: Rng) -> Trial:
    """Two backbones that decide `decided` of n images by shape or texture, p of them by shape."""

    def decide(u: NDArray[np.float64]) -> tuple[Flags, Flags]:
        return u < decided * p, (u >= decided * p) & (u < decided)

    u, v = rng.random((2, n))
    v = np.where(rng.random(n) < shared, u, v)
    return judged(0.0, compare_ratios(decide(u), decide(v)))


# Invariance


def _scores(right: Flags, probability: NDArray[np.float64]) -> Scores:
    """What invariance reads of scores."""
    n = len(right)
    rank = np.where(right, 0, 1).astype(np.int64)
    return Scores(rank, rank, probability, probability, np.zeros(n), np.zeros(n))


def _change(n: int, p: float, lost: float, rng: Rng) -> Trial:
    """Two equal backbones lose a share `lost` of what they got right, and win a fifth as much."""
    sides = []
    for right in _two(np.full(n, 1 - p), 0.8, rng):
        u, none = rng.random(n), np.zeros(n)
        after = np.where(right, u >= lost, u < lost / 5)
        sides.append((_scores(after, none), _scores(right, none)))
    return judged(0.0, change_difference(sides[0], sides[1]))


def _probability(n: int, sure: float, rng: Rng) -> dict[str, Trial]:
    """Beta probabilities of the true class, and a change of 0 on average."""
    before = rng.beta(sure, 0.5, n)
    factor = rng.uniform(0.8, 1.0, n)  # of a chance that is halved about as often as not
    after = np.where(rng.random(n) < 0.1, before * factor, before)
    right = np.ones(n, bool)
    found = setting(_scores(right, after), _scores(right, before))
    mean = sure / (sure + 0.5)
    return {
        "probability": trial(mean * (1 - 0.1 * 0.1), found.probability),
        "its change": trial(-mean * 0.1 * 0.1, found.probability_change),
        "top1 change": judged(0.0, found.change.difference),
    }


X, PUG, SHAPE, INVARIANCE = "ImageNet-X", "PUG", "shape bias", "invariance"

CASES = (
    Case(X, "error ratio", partial(_ratio, (10, 40, 150, 1500), 4000), small=True),
    *(
        Case(
            X,
            f"difference, {size} images, {round(100 * shared)} % alike, error {error}",
            partial(_ratio_difference, size, shared, error),
            null=True,
            small=size == 40 and shared == 0.6 and error == 0.2,
        )
        for size in (5, 10, 40, 150)
        for shared, error in ((0.6, 0.2), (0.98, 0.2), (0.6, 0.03))
    ),
    *(
        Case(X, f"ratio twice as large, {size} images", partial(_apart, size), small=size == 40)
        for size in (10, 40, 150)
    ),
    Case(X, "sixteen factors together", _ratio_family, null=True, aim=0.0, small=True),
    *(
        Case(PUG, f"factor, {count} objects, {p}", partial(_factor, count, p, 0.3), small=(count, p) == (20, 0.8))
        for count, p in ((3, 0.8), (5, 0.8), (8, 0.8), (20, 0.8), (100, 0.8), (20, 0.95), (100, 0.95), (100, 0.99))
    ),
    Case(PUG, "factor, 20 objects whose renders are independent", partial(_factor, 20, 0.9, 0.0)),
    *(
        Case(
            PUG,
            f"difference, {count} objects, {p}",
            partial(_object_difference, count, p, own),
            null=True,
            small=count == 8,
        )
        for count, p, own in ((4, 0.7, 0.1), (8, 0.7, 0.1), (20, 0.7, 0.1), (100, 0.7, 0.1), (20, 0.97, 0.02))
    ),
    *(
        Case(PUG, f"factors together, {count} objects", partial(_object_family, count), null=True, aim=0.0)
        for count in (8, 40)
    ),
    *(
        Case(
            SHAPE,
            f"difference, {n} images, {round(100 * decided)} % decided, bias {p}",
            partial(_bias, n, decided, p, shared),
            null=True,
            small=n == 100,
        )
        for n, decided, p, shared in (
            (30, 0.6, 0.3, 0.6),
            (100, 0.6, 0.3, 0.6),
            (100, 0.6, 0.05, 0.9),
            (1200, 0.6, 0.3, 0.6),
        )
    ),
    *(
        Case(
            INVARIANCE,
            f"difference of changes, {n} images, {lost} lost",
            partial(_change, n, 0.8, lost),
            null=True,
            small=n == 200,
        )
        for n, lost in ((50, 0.1), (200, 0.002), (200, 0.1), (1000, 0.1))
    ),
    *(
        Case(
            INVARIANCE,
            f"n {n}, probability about {sure / (sure + 0.5):.2f}",
            partial(_probability, n, sure),
            small=n == 50,
        )
        for n, sure in ((30, 2.0), (50, 9.0), (500, 9.0))
    ),
)
