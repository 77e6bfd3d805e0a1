"""`--precision auto`: what the store has already, else what suits the card; said and recorded, never mixed.

Float32 products run on a card's slow units. So a card computes in bfloat16 where it can, or in float16 where it has
tensor cores for that alone, and a CPU in float32, unless something else is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cvbench.errors import UsageError
from cvbench.jobs.extraction.options import AUTO, ExtractOptions
from cvbench.jobs.extraction.rates import card_named
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.executor import run_tasks

if TYPE_CHECKING:
    from cvbench.storage.features import FeatureStore


def precision_of(capability: tuple[int, int]) -> str:
    """The precision that suits a card of this compute capability.

    >>> precision_of((9, 0)), precision_of((8, 0)), precision_of((7, 0)), precision_of((6, 1))
    ('bf16', 'bf16', 'fp16', 'fp32')
    """
    if capability >= (8, 0):
        return "bf16"
    return "fp16" if capability >= (7, 0) else "fp32"


def settled(options: ExtractOptions, store: FeatureStore | None, cluster: Cluster) -> tuple[ExtractOptions, list[str]]:
    """The options with a precision, and what is to be said of it.

    Args:
        options: As asked.
        store: As it is now; None if there is none yet.
        cluster: Where the network will run.

    Raises:
        UsageError: The store has features of several precisions, and none is asked for.
    """
    if options.precision != AUTO:
        return options, []
    held = held_precisions(store)
    if len(held) > 1:
        raise UsageError(
            f"the store has features of several precisions: {', '.join(held)}",
            where=options.store,
            fix=f"name one: --precision {held[0]}",
        )
    if cluster.device == "cpu":
        return replace(options, precision=held[0] if held else "fp32"), []
    card = _card(cluster)
    suited = precision_of(card.capability)
    chosen = held[0] if held else suited
    return replace(options, precision=chosen), [*_said(chosen, suited, card, bool(held))]


def nonfinite_advice(precision: str, dtype: str, *, whole: bool) -> str:
    """Advice on values of a layer that are not finite.

    Args:
        precision: Of the matrix products.
        dtype: As stored.
        whole: Whether no value of the layer is finite.
    """
    if precision == "fp32" and (whole or dtype == "float32"):
        return "the network gives them, in float32: look at its weights and at what its forward pass does"
    tried = {"fp16": ["--precision bf16 or fp32"], "bf16": ["--precision fp32"]}.get(precision, [])
    tried += ["--dtype float32"] if dtype == "float16" else []
    return f"try {', or '.join(tried)}; what stays is of the network"


def held_precisions(store: FeatureStore | None) -> list[str]:
    """The precisions of the networks' features in a store, sorted; imported features say none."""
    if store is None:
        return []
    made = [store.fingerprint(group)["fingerprint"].get("precision") for group in store.groups()]
    return sorted({str(precision) for precision in made if precision})


def _said(chosen: str, suited: str, card: Card, held: bool) -> Iterator[str]:
    known = card_named(card.name)
    if held and chosen != suited:
        factor = known.factor(suited, chosen) if known else None
        slower = f", {factor:.1f} times slower by the model than {suited}" if factor else ""
        yield f"computed in {chosen}, as the features in the store are{slower}"
    elif not held:
        factor = known.factor(chosen, "fp32") if known and chosen != "fp32" else None
        faster = f", {factor:.1f} times faster by the model than fp32" if factor else ""
        yield f"computed in {chosen}, which suits this card ({card.name}){faster}; --precision fp32 for another"


@dataclass(frozen=True)
class Card:
    """A card, as torch names it."""

    name: str
    capability: tuple[int, int]


@dataclass(frozen=True)
class CardRecipe:
    """Asks an actor for its card."""

    def build(self) -> CardWorker:
        """Nothing to load."""
        return CardWorker()


class CardWorker:
    """Says which card it has."""

    def run(self, task: int) -> Card:
        """The card of this process."""
        return _own_card()


def _card(cluster: Cluster) -> Card:
    """The card that will compute: this machine's, or on a cluster that was joined that of an actor."""
    if cluster.address in ("none", "local"):
        return _own_card()
    found: list[Card] = []
    run_tasks(CardRecipe(), [0], cluster, lambda task, card: found.append(card))
    return found[0]


def _own_card() -> Card:
    import torch

    return Card(torch.cuda.get_device_name(), torch.cuda.get_device_capability())
