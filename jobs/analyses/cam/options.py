"""What class activation maps are asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from cvbench.engine.statistics.options import USUAL, IntervalOptions
from cvbench.options import Option

PREDICTED, LABEL = "predicted", "label"
METHOD_NAMES = ("gradcam", "gradcam++", "layercam", "hirescam", "xgradcam", "eigencam", "rollout", "legrad")
METHODS = "gradcam, gradcam++, layercam, hirescam, xgradcam, eigencam; of transformers rollout, legrad."


@dataclass(frozen=True)
class MapOptions:
    """Options that choose the maps."""

    method: Annotated[str, Option(METHODS, values=METHOD_NAMES)] = "gradcam"
    choice: Annotated[
        str,
        Option(
            "Whose evidence: predicted (each image's top-1), label, or a class index.",
            "--class",
            such_as=(PREDICTED, LABEL),
        ),
    ] = PREDICTED
    targets: Annotated[
        tuple[str, ...], Option("Target layer, a name or glob; default by family. Repeat.", "--target")
    ] = ()

    @property
    def view(self) -> str:
        """Name of the stored view.

        >>> MapOptions().view, MapOptions("layercam", "label").view
        ('cam.gradcam', 'cam.layercam.label')
        """
        return f"cam.{self.method}" + ("" if self.choice == PREDICTED else f".{self.choice}")


@dataclass(frozen=True)
class CamOptions:
    """Options of the measures and the figure."""

    maps: MapOptions = field(default_factory=MapOptions)
    correct_only: Annotated[bool, Option("Only images that every backbone classifies as labelled.")] = False
    tolerance: Annotated[float, Option("Pixels that boxes grow by in the pointing game.", least=0)] = 0.0
    examples: Annotated[int, Option("How many samples to draw.", least=0, most=24)] = 6
    images: Annotated[tuple[str, ...], Option("Sample id to draw; default the first few. Repeat.", "--image")] = ()
    intervals: IntervalOptions = USUAL
