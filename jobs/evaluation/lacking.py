"""Logits that a store lacks: which `extract` gives them, by the backbones that the store has."""

from __future__ import annotations

from collections.abc import Sequence

from cvbench.errors import DataUnavailableError
from cvbench.hints import command
from cvbench.jobs.evaluation.samples import VIEW
from cvbench.jobs.reading.again import extract_again, is_imported
from cvbench.jobs.reading.views import stored_views
from cvbench.storage.datasets import dataset_info
from cvbench.storage.datasets.variant import RESOLUTION, parse_name
from cvbench.storage.features import FeatureStore


def extract_other(store: FeatureStore, dataset: str, backbones: Sequence[str] = ()) -> str:
    """The command for logits of a registered data set, made as those that the store has of others.

    Args:
        store: Anything may be in it.
        dataset: By the name in the registry.
        backbones: Those meant, as stored; empty: all.
    """
    made = [group for group in store.groups() if group.view in stored_views() and not is_imported(store, group)]
    made.sort(key=lambda group: group.view != VIEW)
    if not made:
        return command("extract", dataset=dataset, view=VIEW, store=store.url)
    place, split = (made[0].dataset, made[0].split), dataset_info(dataset).default_split
    return extract_again(store, place, dataset=dataset, backbones=backbones, view=VIEW, split=split, seed=None)


def no_logits(
    store: FeatureStore, dataset: str | None, split: str | None, transforms: Sequence[str]
) -> DataUnavailableError | None:
    """The error for a data set that the store has, and not its logits; None where there is no such.

    Args:
        store: Where.
        dataset, split: As asked for; None: any.
        transforms: Those asked for, of which the first is offered.
    """
    own = [group for group in store.groups() if group.view in stored_views() and dataset in (None, group.dataset)]
    own = [group for group in own if split in (None, group.split)] or own
    if not own:
        return None
    name, part = own[0].dataset, own[0].split
    spec = store.spec_to_type(parse_name(name)[0], part)
    wanted = next((one for one in transforms if one != RESOLUTION), None)
    return DataUnavailableError(
        f"the store holds no logits of {name}",
        where=store.url,
        why=f"it holds {', '.join(sorted({group.view for group in own}))} of {name}/{part}",
        fix=extract_again(store, (name, part), view=VIEW, dataset=f"{spec}+{wanted}" if wanted else spec),
    )
