"""Which features a CKA is of. The default is that of the study's Figure 5: all positions, where the store has them.

The study's X is (m, p) with p the number of neurons of the layer (4.2): every position counts. CKA of the means over
positions is another question, and may have the opposite answer. So no view is taken silently: all that is printed,
drawn or kept names its view, and a note says when the default had to fall back.
"""

from __future__ import annotations

from dataclasses import replace

from cvbench.engine.analyses.base import Result
from cvbench.engine.analyses.cka.result import INTERVAL
from cvbench.errors import DataUnavailableError, UnknownNameError
from cvbench.jobs.analyses.options import AUTO
from cvbench.jobs.extraction.live import kept_live
from cvbench.jobs.reading.options import Selection
from cvbench.jobs.reading.reading import Reading, read
from cvbench.jobs.reading.selection import choose_split
from cvbench.jobs.reading.views import MAPS, POOLED, view_words
from cvbench.jobs.results.keep import Analysed
from cvbench.storage.features import FeatureStore

QUESTIONS = (
    "All positions (view maps) and their mean (view pooled) are different questions, and the study's Figure 5 is the "
    "first: its X is (m, p) with p all neurons of the layer."
)
OLDER = (
    "kept by an earlier version, whose intervals over few batches are too narrow: `cvbench extract --analyze cka` "
    "again makes them anew"
)


def resolve_view(
    store: FeatureStore, selection: Selection, batch: int | None, estimator: str
) -> tuple[Reading | Analysed, str | None]:
    """Resolve the view that the selection asks for, to its layers or to the result measured live; and a note.

    A live result is taken where it is of more samples than the stored maps, and is of just what is asked for.

    Args:
        store: For reading.
        selection: With the view asked for, or `AUTO`.
        batch: Samples per CKA batch asked for, None for the default.
        estimator: Asked for.

    Raises:
        CvbenchError: As `read`.
    """
    if selection.view not in (AUTO, MAPS):
        return read(selection, store), None
    of_maps = replace(selection, view=MAPS)
    if selection.view == AUTO:
        dataset, split = choose_split(store, store.groups(), selection)
        of_maps = replace(of_maps, dataset=dataset, split=split)
    stored = _stored_maps(store, of_maps)
    live = _live(store, of_maps, batch) if estimator == "minibatch" else None
    if live is not None and (stored is None or live.selected.samples > stored.selected.samples):
        return live, None
    if stored is not None or selection.view == MAPS:
        return stored or read(of_maps, store), None
    note = (
        f"{view_words({'view': POOLED})} (view {POOLED}): the store does not have all positions of these backbones. "
        f"The study's Figure 5 is of all positions, which is a different question: "
        f"`cvbench extract --analyze cka` measures them"
    )
    return read(replace(selection, view=POOLED), store), note


def _stored_maps(store: FeatureStore, selection: Selection) -> Reading | None:
    """The maps of the backbones asked for; None if some of these, or of all that have pooled layers, lack them."""
    try:
        found = read(selection, store)
    except (DataUnavailableError, UnknownNameError):
        return None
    if selection.backbones:
        return found
    place = found.selected.dataset, found.selected.split
    groups = [group for group in store.groups() if (group.dataset, group.split) == place]
    held = {group.backbone for group in groups if group.view == POOLED}
    there = {layer.backbone for layer in found.selected.layers}
    return found if held <= there else None


def _live(store: FeatureStore, selection: Selection, batch: int | None) -> Analysed | None:
    def fits(result: Result) -> bool:
        return batch in (None, result.attrs["batch_size"])

    def current(result: Result) -> bool:
        return fits(result) and result.attrs.get("interval") == INTERVAL

    found = kept_live(store, "cka", selection, current, beside_maps=True)
    if found is not None:
        return found
    older = kept_live(store, "cka", selection, fits, beside_maps=True)
    if older is None:
        return None
    attrs = older.result.attrs
    return replace(older, result=replace(older.result, attrs={**attrs, "notes": [*attrs["notes"], OLDER]}))
