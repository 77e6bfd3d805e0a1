"""Minibatch CKA of layers that share latent variables: the truth is a formula of their covariances.

CKA = |S_xy|_F^2 / (|S_xx|_F |S_yy|_F)      of the population; S_xy: covariance of the features of two layers
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer, Result
from cvbench.engine.analyses.cka.measure import MinibatchCka, choose_batch
from cvbench.engine.analyses.cka.result import COMPARED
from tests.simulation.frame import Case, Trial

F64 = NDArray[np.float64]

LATENT, WIDTH = 8, 60
LAYERS = tuple(Layer(backbone, f"blocks.{at}") for backbone in ("a", "b") for at in (0, 1))


@dataclass(frozen=True)
class Law:
    """Two backbones of two layers: latent variables through mixing matrices, and noise of its own in each layer.

    Attributes:
        samples: n, in one unit.
        heavy: Student t with 5 degrees instead of normal.
        noise: Its deviation, of the first and of the second layer.
        same: Both backbones have the same mixing matrices, so that they do not differ.
    """

    samples: int
    heavy: bool = False
    noise: tuple[float, float] = (0.6, 1.0)
    same: bool = False

    def mixing(self) -> list[F64]:
        """(LATENT, WIDTH) of each layer."""
        rng = np.random.default_rng(3)
        scale = 0.9 ** np.arange(LATENT)[:, None] / np.sqrt(LATENT)
        drawn = [rng.normal(size=(LATENT, WIDTH)) * scale for _ in LAYERS]
        return [drawn[i % 2] if self.same else drawn[i] for i in range(len(LAYERS))]

    def draw(self, rng: np.random.Generator) -> list[F64]:
        """(n, WIDTH) of each layer."""

        def standard(width: int) -> F64:
            if self.heavy:
                return np.asarray(rng.standard_t(5, size=(self.samples, width)) / np.sqrt(5 / 3))
            return rng.normal(size=(self.samples, width))

        latent = standard(LATENT)
        return [latent @ mix + self.noise[i % 2] * standard(WIDTH) for i, mix in enumerate(self.mixing())]

    def truth(self) -> F64:
        """(layers, layers) CKA of the population."""
        mixing = self.mixing()
        size = len(LAYERS)
        norm = np.empty((size, size))
        for i in range(size):
            for j in range(size):
                cross = mixing[i].T @ mixing[j] + (i == j) * self.noise[i % 2] ** 2 * np.eye(WIDTH)
                norm[i, j] = (cross**2).sum()
        own = np.sqrt(np.diagonal(norm))
        return np.asarray(norm / own[:, None] / own)


def measured(law: Law, rng: np.random.Generator) -> Result:
    """The product's result of one draw, batches of the default size."""
    features = dict(zip(LAYERS, law.draw(rng), strict=True))
    analysis = MinibatchCka(batch=choose_batch(64, law.samples))
    return analysis.summarise(LAYERS, [analysis.measure(LAYERS, features.__getitem__, np.arange(law.samples))])


def values(law: Law, rng: np.random.Generator) -> dict[str, Trial]:
    """A pair within a backbone, a pair across, and a mean of the summary."""
    result, true = measured(law, rng), law.truth()
    summary = {entry["name"]: entry for entry in result.attrs["summary"]}
    nan = float("nan")

    def told(name: str, truth: float) -> Trial:
        value, low, high = (
            nan if summary[name][key] is None else summary[name][key] for key in ("value", "low", "high")
        )
        return Trial(truth, value, low, high, None)

    def pair(i: int, j: int) -> Trial:
        value, low, high = (float(result.data[key][1][i, j]) for key in ("cka", "low", "high"))
        return Trial(true[i, j], value, low, high)

    return {
        "a pair of one backbone": pair(0, 1),
        "a pair across": pair(0, 3),
        "mean across": told("mean, a against b", float(true[:2, 2:].mean())),
    }


def differences(law: Law, rng: np.random.Generator) -> dict[str, Trial]:
    """Means over layers, of one backbone less the other, which is of the same law; judged together."""
    result = measured(law, rng)
    found = {}
    for mean in COMPARED:
        entry = next(one for one in result.attrs["summary"] if one["name"].startswith(f"difference, {mean}"))
        value, low, high = (float("nan") if entry[key] is None else entry[key] for key in ("value", "low", "high"))
        found[mean] = Trial(0.0, value, low, high, entry["resolved"])
    return found


SIZES = (16, 24, 32, 64, 128, 256, 480, 1024, 1797)
CASES = (
    *(Case("CKA", f"{n} samples", partial(values, Law(n)), small=n in (64, 128)) for n in SIZES),
    *(Case("CKA", f"{n} samples, t with 5 degrees", partial(values, Law(n, heavy=True)), small=n == 64) for n in SIZES),
    *(
        Case("CKA", f"{n} samples, difference", partial(differences, Law(n, same=True)), null=True, small=n == 64)
        for n in (32, 64, 128, 256, 1024)
    ),
    *(
        Case(
            "CKA",
            f"{n} samples, t with 5 degrees, difference",
            partial(differences, Law(n, True, same=True)),
            null=True,
        )
        for n in (64, 128)
    ),
    *(Case("CKA", f"{n} samples, close layers", partial(values, Law(n, noise=(0.05, 0.1)))) for n in (64, 256)),
)
