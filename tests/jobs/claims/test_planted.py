"""A small factorial, two networks by three seeds, through a real analysis: an effect that is planted is found, and
where there is none the intervals cover 0 as often as they say."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from cvbench.engine.analyses.base import Layer
from cvbench.engine.analyses.samples import Samples
from cvbench.engine.analyses.silhouette.measure import silhouette
from cvbench.engine.analyses.silhouette.options import SilhouetteOptions
from cvbench.jobs.claims.judge import ClaimVerdict, Outcome, judge_claims
from cvbench.jobs.claims.published import published
from cvbench.jobs.claims.sides import sides_of
from cvbench.jobs.results.row import placed
from tests.seeds import DRAW, seeded

CLAIM = next(claim for claim in published() if claim.id == "study-fine-silhouette")
NETWORKS = tuple(f"{name}.seed{seed}" for name in ("convnext", "vit") for seed in range(3))
CLASSES, EACH, WIDTH = 10, 30, 16


def factorial(rng: np.random.Generator, apart: dict[str, float], networks: tuple[str, ...]) -> list[Outcome]:
    """Judge the claim by new samples of a law.

    Args:
        rng: Of the samples.
        apart: Family of networks -> how far apart its classes are.
        networks: Half of the noise of all is of the sample, half of the network.
    """
    from cvbench.jobs.analyses.silhouette import ENTRY

    labels = np.repeat(np.arange(CLASSES), EACH)
    centres = np.random.default_rng(1).normal(size=(CLASSES, WIDTH))  # of the law: the same in every rerun
    shared = rng.normal(size=(len(labels), WIDTH))
    features: dict[str, NDArray[np.float32]] = {
        name: (
            apart[name.partition(".")[0]] * centres[labels] + (shared + rng.normal(size=shared.shape)) / np.sqrt(2)
        ).astype(np.float32)
        for name in networks
    }
    layers = [Layer(name, "norm") for name in networks]
    samples = Samples("cub200/test", np.arange(len(labels)), labels, tuple(map(str, range(CLASSES))))
    options = SilhouetteOptions(space="features", resamples=10)
    found = silhouette(layers, lambda layer: features[layer.backbone], samples, options)
    found.attrs.update(run="results/r", dataset="cub200", split="test", samples_in_units=len(labels))
    rows = placed(found, ENTRY.rows(found))
    return judge_claims([CLAIM], rows, sides_of({name: name for name in networks}))


def test_a_planted_effect_is_found() -> None:
    up = factorial(seeded(3), {"convnext": 1.2, "vit": 0.9}, NETWORKS)
    assert len(up) == 9
    assert {one.verdict for one in up} == {ClaimVerdict.HOLDS}
    down = factorial(seeded(4), {"convnext": 0.9, "vit": 1.2}, NETWORKS)
    assert {one.verdict for one in down} == {ClaimVerdict.DOES_NOT_HOLD}
    assert all(one.value is not None and one.value < 0 for one in down)


def covered(rng: np.random.Generator, reruns: int) -> tuple[int, Counter[ClaimVerdict]]:
    """How many of the intervals of no effect cover 0, and the verdicts."""
    inside, verdicts = 0, Counter[ClaimVerdict]()
    for _ in range(reruns):
        (one,) = factorial(rng, {"convnext": 1.0, "vit": 1.0}, (NETWORKS[0], NETWORKS[3]))
        assert one.low is not None
        assert one.high is not None
        inside += one.low <= 0 <= one.high
        verdicts[one.verdict] += 1
    return inside, verdicts


@pytest.mark.parametrize("reruns", [50, pytest.param(400, marks=pytest.mark.slow)])
def test_no_effect_is_covered_and_not_claimed(reruns: int) -> None:
    """At a coverage of 95 % fewer are inside in one of 10,000 draws of the test; of the long run 93 of 100 are."""
    inside, verdicts = covered(seeded(5), reruns)
    assert inside >= binom.ppf(1e-4, reruns, 0.95), inside
    assert inside >= 0.93 * reruns or reruns < 400 or DRAW, inside
    assert verdicts[ClaimVerdict.HOLDS] <= binom.ppf(1 - 1e-4, reruns, 0.025), verdicts


def test_a_factorial_of_no_effect_claims_nothing() -> None:
    """Nine pairs are judged together: that any holds falsely has a chance of at most 5 %, in either direction."""
    wrong = 0
    for draw in range(20):
        found = factorial(seeded(100 + draw), {"convnext": 1.0, "vit": 1.0}, NETWORKS)
        wrong += any(one.verdict is ClaimVerdict.HOLDS for one in found)
    assert wrong <= binom.ppf(1 - 1e-4, 20, 0.05), wrong
