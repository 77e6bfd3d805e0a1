"""What a claim is: a published sentence as data, so that rows can answer it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cvbench.jobs.claims.sides import CONVOLUTIONAL, TRANSFORMER, Side

Contrast = Literal["convolutional less transformer", "convolutional", "transformer", "each"]


@dataclass(frozen=True)
class Claim:
    """One published sentence, and the number that answers it.

    Attributes:
        id: Its name.
        sentence: In words of our own.
        source, place: The paper, and where in it.
        family: The p values of all claims of a family are adjusted together.
        analysis: Of the rows.
        metric: Theirs, exactly; "" where no row can answer, which `missing` then explains.
        factor: A pattern of theirs, with * for any text and [0-9] for a digit.
        datasets: Patterns of their data sets, one of which must fit.
        contrast: A difference of two backbones, or a number of each backbone of a side.
        layer: Which layer a number of one backbone is of.
        view: Of the store, that the result is of, such as "cam.gradcam"; "" for any.
        direction: +1 if it says that the contrast is above 0, -1 if below.
        smallest: The smallest effect that counts, in the unit of the metric. Chosen here: no paper gives one.
        published: The value that the paper gives; "" if it gives none, or none is known for certain.
        estimator: How the number here differs from the paper's, where that one mixes two things.
        command: Of `cvbench`, which makes the rows.
        missing: Why no row answers it.
    """

    id: str
    sentence: str
    source: str
    place: str
    family: str
    analysis: str
    metric: str = ""
    factor: str = ""
    datasets: tuple[str, ...] = ("*",)
    contrast: Contrast = "convolutional less transformer"
    layer: Literal["last", "first"] = "last"
    view: str = ""
    direction: Literal[1, -1] = 1
    smallest: float = 0.0
    published: str = ""
    estimator: str = ""
    command: str = ""
    missing: str = ""

    @property
    def of_two(self) -> bool:
        """Whether it compares two backbones."""
        return self.contrast == "convolutional less transformer"

    @property
    def sides(self) -> tuple[Side, ...]:
        """The sides of which it takes numbers."""
        return (CONVOLUTIONAL, TRANSFORMER) if self.of_two or self.contrast == "each" else (self.contrast,)  # type: ignore[return-value]
