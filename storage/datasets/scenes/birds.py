"""Twenty species of one bird that differ in small parts only: the crest, the beak and the tail."""

from __future__ import annotations

from functools import cache

from cvbench.storage.datasets.scenes.parts import Ellipse, Line, Part, polygon

_CRESTS = ("bare", "crested")
_BEAKS = ("short-billed", "long-billed")
_TAILS = ("wedge-tail", "fork-tail", "fan-tail", "long-tail", "stub-tail")

SPECIES = tuple(f"{crest} {beak} {tail}" for crest in _CRESTS for beak in _BEAKS for tail in _TAILS)
"""Their names; the position is a scene's `form`."""

_TAIL_PARTS: dict[str, tuple[Part, ...]] = {
    "wedge-tail": (polygon("second", -0.45, 0.12, -1.0, -0.14, -0.96, 0.26),),
    "fork-tail": (
        polygon("second", -0.42, 0.10, -1.0, -0.34, -0.82, 0.06),
        polygon("second", -0.42, 0.14, -1.0, 0.46, -0.82, 0.12),
    ),
    "fan-tail": (polygon("second", -0.46, 0.10, -0.86, -0.44, -1.0, 0.0, -0.86, 0.44),),
    "long-tail": (Line("second", -0.45, 0.10, -0.92, -0.62, 0.08), Line("second", -0.45, 0.16, -0.86, -0.34, 0.06)),
    "stub-tail": (polygon("second", -0.50, 0.0, -0.78, 0.02, -0.78, 0.20, -0.50, 0.26),),
}
_CREST_PARTS: tuple[Part, ...] = (
    polygon("accent", 0.46, -0.62, 0.62, -0.98, 0.70, -0.60),
    polygon("accent", 0.32, -0.55, 0.36, -0.95, 0.56, -0.60),
)


@cache
def species_parts(form: int) -> tuple[Part, ...]:
    """The parts of a species, from the back to the front."""
    crest, beak, tail = SPECIES[form].split()
    bill = (
        polygon("accent", 0.75, -0.46, 0.94, -0.34, 0.75, -0.24)
        if beak == "short-billed"
        else polygon("accent", 0.72, -0.44, 1.08, -0.20, 0.75, -0.28)
    )
    return (
        *_TAIL_PARTS[tail],
        Line("dark", -0.05, 0.50, -0.10, 0.92, 0.045),
        Line("dark", 0.20, 0.50, 0.20, 0.92, 0.045),
        *(_CREST_PARTS if crest == "crested" else ()),
        bill,
        Ellipse("body", 0.0, 0.15, 0.66, 0.44, 8),
        Ellipse("body", 0.52, -0.36, 0.32, 0.30),
        Ellipse("second", -0.15, 0.12, 0.40, 0.20, 20),
        Ellipse("light", 0.60, -0.42, 0.10, 0.10),
        Ellipse("dark", 0.62, -0.42, 0.055, 0.055),
    )
