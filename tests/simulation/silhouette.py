"""Silhouette of Gaussian classes: two backbones of one law that share half of their noise.

Truth is the mean of the estimator at this size, by scikit-learn on draws of its own: what the interval is of is the
number that another draw would have, not that of infinitely many samples. Where the classes are fixed, each draw has new
samples of the same classes; where they are a sample too, new classes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score, silhouette_samples

from cvbench.engine.analyses.base import Layer, Result
from cvbench.engine.analyses.samples import Samples
from cvbench.engine.analyses.silhouette.measure import silhouette
from cvbench.engine.analyses.silhouette.options import SilhouetteOptions
from cvbench.engine.analyses.silhouette.pairs import CLASSES
from cvbench.engine.analyses.silhouette.pairs import differences as judged_differences
from tests.simulation.frame import Case, Trial

F64 = NDArray[np.float64]

TRUTH_DRAWS = 150
"""Draws behind a truth, of two backbones each: it errs by less than a tenth of one draw's spread."""
WITHIN = ("micro", "macro", "negative", "simplified", "davies_bouldin", "calinski_harabasz")


@dataclass(frozen=True)
class Law:
    """Classes about centres of spread `apart`, in `width` features of unit noise, half of it shared by the backbones.

    Attributes:
        members: Samples of each class, one number for all or one a class.
        drawn_classes: Whether each draw has new centres.
        sample: Rows that are scored, against all; None: all.
    """

    classes: int
    members: int | tuple[int, ...]
    width: int
    apart: float
    metric: str = "euclidean"
    space: str = "features"
    drawn_classes: bool = False
    sample: int | None = None

    @property
    def labels(self) -> NDArray[np.int64]:
        """(n,) class of each sample."""
        return np.repeat(np.arange(self.classes), self.members)

    def draw(self, rng: np.random.Generator) -> tuple[F64, F64]:
        """(n, width) features of both backbones."""
        centres = (rng if self.drawn_classes else np.random.default_rng(5)).normal(size=(self.classes, self.width))
        shared, first, second = rng.normal(size=(3, len(self.labels), self.width)) / np.sqrt(2)
        middle = self.apart * centres[self.labels] + shared
        return middle + first, middle + second


def reference(law: Law, x: F64) -> dict[str, float]:
    """The numbers of one backbone, by scikit-learn where it has them."""
    labels = law.labels
    z = (x - x.mean(axis=0)) / x.std(axis=0) if law.space == "standardised" else x
    s = silhouette_samples(z, labels, metric=law.metric)
    means = np.bincount(labels, s) / np.bincount(labels)
    centres = np.stack([z[labels == label].mean(axis=0) for label in range(law.classes)])
    away = np.sqrt(((z[:, None] - centres) ** 2).sum(axis=2))
    own = away[np.arange(len(z)), labels]
    away[np.arange(len(z)), labels] = np.inf
    nearest = away.min(axis=1)
    return {
        "micro": s.mean(),
        "macro": means.mean(),
        "negative": (s < 0).mean(),
        "simplified": ((nearest - own) / np.maximum(nearest, own)).mean(),
        "davies_bouldin": davies_bouldin_score(z, labels),
        "calinski_harabasz": calinski_harabasz_score(z, labels),
        "class": means[0],
    }


@lru_cache
def truth(law: Law) -> dict[str, float]:
    """Mean of every number over draws."""
    rng = np.random.default_rng(11)
    found = [reference(law, x) for _ in range(TRUTH_DRAWS) for x in law.draw(rng)]
    return {name: float(np.mean([each[name] for each in found])) for name in found[0]}


def result_of(law: Law, features: tuple[F64, ...], seed: int) -> Result:
    """The product's result, one backbone for each of `features`."""
    layers = {Layer(name, "head"): x for name, x in zip("ab", features, strict=False)}
    options = SilhouetteOptions((law.metric,), law.space, sample=law.sample, resamples=500, seed=seed)
    samples = Samples("law/all", np.arange(len(law.labels)), law.labels)
    return silhouette(list(layers), layers.__getitem__, samples, options)


def _ends(result: Result, name: str, *at: int) -> tuple[float, float, float]:
    value, low, high = (float(result.data[f"{name}{end}"][1][at]) for end in ("", "_low", "_high"))
    return value, low, high


def values(law: Law, rng: np.random.Generator) -> dict[str, Trial]:
    """Every number of one backbone, given the classes."""
    result, true = result_of(law, law.draw(rng)[:1], int(rng.integers(1000))), truth(law)
    found = {}
    for name in WITHIN:
        dims = result.data[name][0]
        found[name] = Trial(true[name], *_ends(result, name, *(0 for _ in dims)))
    found["a class"] = Trial(true["class"], *_ends(result, "per_class", 0, 0, 0))
    return found


def over_classes(law: Law, rng: np.random.Generator) -> Trial:
    """The mean of class means, for classes like these."""
    result = result_of(law, law.draw(rng)[:1], int(rng.integers(1000)))
    low, high = (float(result.data[f"macro_over_classes_{end}"][1][0, 0]) for end in ("low", "high"))
    return Trial(truth(law)["macro"], float(result.data["macro"][1][0, 0]), low, high)


def given_classes(law: Law, rng: np.random.Generator) -> Trial:
    """The mean over samples given the classes, read as if it were of other classes: it is not made for that."""
    return Trial(truth(law)["micro"], *_ends(result_of(law, law.draw(rng)[:1], 0), "micro", 0, 0))


def differences(law: Law, rng: np.random.Generator) -> dict[str, Trial]:
    """Of two backbones of one law: 0. Of classes that are a sample, that over classes alone."""
    result = result_of(law, law.draw(rng), int(rng.integers(1000)))
    found = {}
    for one in judged_differences(result):
        if (one.way == CLASSES) == law.drawn_classes:
            said, kind = one.judged, "macro" if one.way == CLASSES else one.kind
            found[kind] = Trial(0.0, said.found.value, said.found.low, said.found.high, bool(said.verdict.flag))
    return found


def _of(name: str, law: Law, *, small: bool = False, aim: float = 0.92) -> tuple[Case, Case]:
    return (
        Case("silhouette", name, partial(values, law), small=small, aim=aim),
        Case("silhouette", f"difference, {name}", partial(differences, law), null=True, small=small, aim=aim),
    )


MANY = Law(40, 10, 32, 0.5, drawn_classes=True)
CASES = (
    *_of("10 classes x 30", Law(10, 30, 32, 0.5)),
    *_of("10 x 100", Law(10, 100, 32, 0.5)),
    *_of("20 x 10", Law(20, 10, 32, 0.5), small=True),
    *_of("20 x 10, standardised", Law(20, 10, 32, 0.5, space="standardised")),
    *(replace(case, small=case.null) for case in _of("10 x 30, cosine", Law(10, 30, 32, 0.5, metric="cosine"))),
    *_of("10 x 30, squared", Law(10, 30, 32, 0.5, metric="sqeuclidean")),
    *_of("10 x 30, overlapping", Law(10, 30, 64, 0.15)),
    *_of("10 x 30, far apart", Law(10, 30, 8, 6.0)),
    *_of("20 x 4", Law(20, 4, 32, 0.5)),
    *_of("3 x 12", Law(3, 12, 8, 1.0)),
    *_of("5 of 10 and 5 of 50", Law(10, (10,) * 5 + (50,) * 5, 32, 0.5)),
    *_of("10 x 100, 100 scored", Law(10, 100, 32, 0.5, sample=100)),
    Case("silhouette", "over classes, 40 x 10, classes drawn", partial(over_classes, MANY)),
    Case(
        "silhouette",
        "over classes, 10 x 30, classes drawn",
        partial(over_classes, Law(10, 30, 32, 0.5, drawn_classes=True)),
    ),
    Case("silhouette", "difference over classes, 40 x 10, classes drawn", partial(differences, MANY), null=True),
    Case(
        "silhouette",
        "difference over classes, 10 x 30, classes drawn",
        partial(differences, Law(10, 30, 32, 0.5, drawn_classes=True)),
        null=True,
    ),
    Case(
        "silhouette", "given the classes, 40 x 10, classes drawn (not its claim)", partial(given_classes, MANY), aim=0.0
    ),
)
