"""How fast a card is by the model of `docs/scale.md`: none of these was measured here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cvbench.errors import UnknownNameError

PAIR_GFLOP = 66.0
"""Of one image through ConvNeXt-Base and ViT-B/16, a multiply-add counted as two."""


@dataclass(frozen=True)
class CardRates:
    """Images per second of the Base pair through one card.

    Attributes:
        name: As it is asked for.
        images: Precision -> images per second, bare forward pass.
        best: The precision that suits it.
    """

    name: str
    images: Mapping[str, float]
    best: str

    def gflops(self, precision: str) -> float:
        """10^9 operations per second in a network's forward pass; of "auto" those of its best."""
        return PAIR_GFLOP * self.images[self.named(precision)]

    def named(self, precision: str) -> str:
        """The precision itself, or of "auto" the best."""
        return self.best if precision == "auto" else precision

    def factor(self, one: str, other: str) -> float | None:
        """Ratio of the rates of two precisions; None where one is not known."""
        return self.images[one] / self.images[other] if one in self.images and other in self.images else None


CARDS = (
    CardRates("h200", {"bf16": 3400, "fp16": 3400, "fp32": 610}, "bf16"),
    CardRates("h100", {"bf16": 2750, "fp16": 2750, "fp32": 570}, "bf16"),
    CardRates("a100", {"bf16": 1250, "fp16": 1250, "fp32": 180}, "bf16"),
    CardRates("v100", {"fp16": 610, "fp32": 170}, "fp16"),
)


def card_named(name: str) -> CardRates | None:
    """The card that a name of torch's means, as "NVIDIA H100 80GB HBM3"; None if it is not known.

    >>> card_named("Tesla V100-SXM2-16GB").name
    'v100'
    """
    words = name.lower()
    return next((card for card in CARDS if card.name in words), None)


def card_asked(name: str) -> CardRates:
    """The card of `--card`.

    Raises:
        UnknownNameError: There is no such.
    """
    found = next((card for card in CARDS if card.name == name.lower()), None)
    if found is None:
        known = [card.name for card in CARDS]
        raise UnknownNameError.among(
            "card", name, known, fix=f"--card {' or '.join(known)}, or --rate IMAGES_PER_SECOND"
        )
    return found
