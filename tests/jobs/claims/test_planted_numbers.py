"""Effects of known sign, and none, planted into what analyses measure: the claims on them say so, and no more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import binom

from cvbench.engine.analyses.attention.kernel import Tokens, attention_numbers
from cvbench.engine.analyses.attention.result import AttentionLayer, summarise_attention
from cvbench.engine.analyses.base import Layer, Result
from cvbench.engine.analyses.maps.measure import ChannelMaps, InputBoxes
from cvbench.engine.metrics.corruption import ALEXNET
from cvbench.engine.probe.parts import ProbeRun
from cvbench.engine.probe.result import Targets, probe_result
from cvbench.engine.statistics.options import IntervalOptions
from cvbench.jobs.claims.judge import ClaimVerdict, Outcome, judge_claims
from cvbench.jobs.claims.published import published
from cvbench.jobs.claims.sides import sides_of
from cvbench.jobs.evaluation.corruptions import NAME, _add
from cvbench.jobs.registry import entry_of
from cvbench.jobs.results.row import placed
from cvbench.jobs.results.table import Table, table_result
from tests.seeds import seeded

CLAIMS = {claim.id: claim for claim in published()}
NETWORKS = ("convnext", "vit")
IMAGES, SIDE = 120, 6
HOLDS, NOT, OPEN, _ = ClaimVerdict
Rng = np.random.Generator


def judged(name: str, result: Result) -> Outcome:
    """The one outcome of a claim by the rows of a result."""
    result.attrs.update(run="results/r", dataset="birds", split="test", samples_in_units=IMAGES)
    entry = entry_of(result.name)
    assert entry is not None
    rows = placed(result, entry.rows(result))
    (found,) = judge_claims([CLAIMS[name]], rows, sides_of({name: name for name in NETWORKS}))
    return found


def outliers(rng: Rng, outside: float) -> Outcome:
    """Judge where the outlier tokens of a ViT lie: one an image, in a share `outside` of the images outside the box.

    The box is the left half of the image.
    """
    maps = rng.uniform(1, 1.5, size=(IMAGES, SIDE, SIDE, 2))
    for image, right in zip(maps, rng.random(IMAGES) < outside, strict=True):
        image[rng.integers(SIDE), rng.integers(SIDE // 2) + right * SIDE // 2] = 60
    layers = [Layer("vit", "blocks.0"), Layer("vit", "blocks.1")]
    analysis = ChannelMaps("digest", intervals=IntervalOptions(resamples=50))
    inside = {"vit": InputBoxes(np.tile([0.0, 0, 48, 96], (IMAGES, 1)), (96, 96))}
    held = {layers[0]: rng.uniform(1, 1.5, size=maps.shape), layers[1]: maps}  # the first has none
    partial = analysis.measure(layers, held.__getitem__, np.arange(IMAGES), inside)
    return judged("darcet-background", analysis.summarise(layers, [partial]))


def test_outliers_in_the_background() -> None:
    assert outliers(seeded(1), 0.9).verdict is HOLDS
    assert outliers(seeded(2), 0.1).verdict is NOT


def attends(rng: Rng, sharpness: Sequence[float]) -> NDArray[np.float64]:
    """(images, heads, 5) the numbers of heads that look at the patch itself, the sharper the more; 0: at all alike."""
    tokens = Tokens((SIDE, SIDE), 1, True, (16.0, 16.0))
    places = np.eye(tokens.count)
    keys = places + rng.normal(0, 0.05, size=(IMAGES, len(sharpness), *places.shape))
    queries = np.array(sharpness)[:, None, None] * places + rng.normal(0, 0.2, size=keys.shape)
    return attention_numbers(torch.from_numpy(queries), torch.from_numpy(keys), tokens, 1.0).numpy()


def looks(rng: Rng, first: Sequence[float]) -> Outcome:
    """Judge how far the heads of the first layer look; those of the last all look everywhere."""
    layers = [AttentionLayer(Layer("vit", f"blocks.{i}.attn"), 2, (SIDE, SIDE), 1, True, (16.0, 16.0)) for i in (0, 1)]
    table = {layers[0].layer: attends(rng, first), layers[1].layer: attends(rng, (0, 0))}
    return judged("raghu-global-attention", summarise_attention(layers, [table], IntervalOptions(resamples=50)))


def test_a_head_of_the_first_layer_that_looks_everywhere() -> None:
    found = looks(seeded(3), (9, 0))
    assert found.verdict is HOLDS
    assert found.row is not None
    assert found.row.layer == "blocks.0.attn"
    assert found.value == pytest.approx(1, abs=0.02)
    near = looks(seeded(4), (9, 9))
    assert near.verdict is NOT
    assert near.reason == "smaller than 0.8"


def noise(rng: Rng, everywhere: float, under_noise: float) -> Outcome:
    """Judge noise: how much more often a ConvNeXt errs than a ViT under all corruptions, and under noise beyond."""
    kinds = list(ALEXNET)
    easy = rng.normal(0, 0.1, size=(IMAGES, 1))  # an image that is hard is so for both
    errors = {}
    for name in NETWORKS:
        share = 0.4 + easy + np.zeros(len(kinds))
        if name == "convnext":
            share = share + everywhere + np.array([under_noise if kind.endswith("_noise") else 0 for kind in kinds])
        errors[name] = rng.binomial(5, share.clip(0, 1)) / 5
    table = Table("birds", "test", 0)
    _add(table, errors, kinds)
    return judged("park-noise", table_result(NAME, table.rows, {}))


def test_noise_beyond_what_corruptions_cost_anyway() -> None:
    assert noise(seeded(5), 0.0, 0.15).verdict is HOLDS
    assert noise(seeded(6), 0.2, -0.15).verdict is NOT
    assert noise(seeded(7), 0.2, 0.0).verdict is not HOLDS, "it errs more throughout, not under noise"


def transfers(rng: Rng, better: float, seeds: int = 1) -> Outcome:
    """Judge probes of which the ConvNeXt's is right more often by `better`; half of the luck is the image's."""
    labels = np.arange(IMAGES) % 6
    shared = rng.random(IMAGES)
    runs = []
    for name in NETWORKS:
        share = 0.7 + better * (name == "convnext")
        own = np.where(rng.random(IMAGES) < 0.5, shared, rng.random(IMAGES))
        wrong = (labels + 1) % 6
        predicted = [np.where(own + rng.normal(0, 0.02, IMAGES) < share, labels, wrong) for _ in range(seeds)]
        runs.append([ProbeRun(np.eye(6, dtype=np.float32)[p], 1.0, (), (1, 1, 2), True) for p in predicted])
    layers = [Layer(name, "head") for name in NETWORKS]
    attrs = {"variant": "clip_lbfgs; [v1]", "recipe": "clip_lbfgs", "failed": 0}
    tested = Targets(np.arange(IMAGES), labels, tuple("abcdef"))
    return judged("vishniakov-transfer", probe_result(layers, runs, tested, attrs))


@pytest.mark.parametrize("seeds", [1, 3])
def test_probes_of_which_one_is_better(seeds: int) -> None:
    up = transfers(seeded(8), 0.28, seeds)
    assert (up.verdict, up.subject) == (HOLDS, "convnext/head less vit/head")
    assert transfers(seeded(9), -0.4, seeds).verdict is NOT


@pytest.mark.parametrize(
    "draw",
    [
        pytest.param(lambda rng: outliers(rng, 0.5), id="darcet-background"),
        pytest.param(lambda rng: noise(rng, 0.15, 0.0), id="park-noise"),
        pytest.param(lambda rng: transfers(rng, 0.0), id="vishniakov-transfer"),
        pytest.param(lambda rng: transfers(rng, 0.0, 3), id="vishniakov-transfer, seeds"),
    ],
)
@pytest.mark.parametrize("reruns", [100, pytest.param(400, marks=pytest.mark.slow)])
def test_no_effect_is_covered_and_not_claimed(draw: Callable[[Rng], Outcome], reruns: int) -> None:
    """At a coverage of 95 % fewer are inside in one of 10,000 draws of the test."""
    rng = seeded(10)
    found = [draw(rng) for _ in range(reruns)]
    inside = sum(one.low is not None and one.high is not None and one.low <= 0 <= one.high for one in found)
    assert inside >= binom.ppf(1e-4, reruns, 0.95), inside
    assert sum(one.verdict is HOLDS for one in found) <= binom.ppf(1 - 1e-4, reruns, 0.025)


def test_numbers_of_an_earlier_version_answer_no_claim() -> None:
    """It compared no probes, and knew no farthest head: its rows are read, and the claims are not run."""
    labels = np.arange(IMAGES) % 6
    run = [ProbeRun(np.eye(6, dtype=np.float32)[labels], 1.0, (), (1, 1, 2), True)]
    tested = Targets(np.arange(IMAGES), labels, tuple("abcdef"))
    attrs = {"variant": "v", "recipe": "r", "failed": 0}
    result = probe_result([Layer(name, "head") for name in NETWORKS], [run, run], tested, attrs)
    del result.attrs["pairs"]
    old = replace(result, data={name: v for name, v in result.data.items() if not name.startswith("difference")})
    assert judged("vishniakov-transfer", old).verdict is ClaimVerdict.NOT_RUN
