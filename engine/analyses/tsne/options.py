"""What a t-SNE map is asked for."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any

from cvbench.engine.statistics.options import IntervalOptions
from cvbench.errors import UnknownNameError, UsageError
from cvbench.options import Option, count_or

PREPROCESSING = ("standardise", "none", "l2")
EARLY = 250
"""Iterations of early exaggeration, the first of all."""
_PREPROCESS = "standardise, none or l2 (then distances rank as the cosine does)."


@dataclass(frozen=True)
class TsneOptions(IntervalOptions):
    """Options of the map and of its measures.

    Attributes:
        backend: "auto" or of `backends.LIMITS`.
        iterations: With those of early exaggeration.
        preprocess: "standardise"; "none" (centred only); "l2": rows to unit length.
        repeats: The first, from PCA, is the map that is kept; the others are from random starts.
        sample: None is all.
        measured: Among all that are mapped.
    """

    backend: Annotated[
        str,
        Option(
            "auto: sklearn; cuml or opentsne from 10,001 samples.",
            settled=True,
            values=("auto", "opentsne", "sklearn", "cuml"),
        ),
    ] = "auto"
    perplexity: Annotated[float, Option("Effective number of neighbours.", least=1.0)] = 30.0
    iterations: Annotated[int, Option(f"Of them {EARLY} with exaggeration.")] = 1000
    preprocess: Annotated[str, Option(_PREPROCESS, values=PREPROCESSING)] = "standardise"
    components: Annotated[int, Option("Principal components before t-SNE.", least=2)] = 50
    repeats: Annotated[int, Option("Runs: one from PCA, which is shown, the others for the spread.", least=1)] = 5
    sample: Annotated[
        int | None, Option("Samples to map, each class in proportion, or 'all'.", text=count_or("all"))
    ] = None
    measured: Annotated[int, Option("Samples that the measures are of.", least=3)] = 5000

    def __post_init__(self) -> None:
        if self.preprocess not in PREPROCESSING:
            fix = f"--preprocess {', '.join(PREPROCESSING)}"
            raise UnknownNameError.among("preprocessing", self.preprocess, PREPROCESSING, fix=fix)
        if self.iterations < EARLY:
            raise UsageError(
                f"{self.iterations} iterations are fewer than the {EARLY} of early exaggeration",
                where="--iterations",
                fix=f"--iterations {EARLY} or more; the default is 1000",
            )

    def as_dict(self) -> dict[str, Any]:
        """Every field, as plain JSON."""
        return asdict(self)
