"""`cvbench analyze silhouette`: a layer as one array, in this process. One or several data sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from cvbench.engine.analyses.base import Layer, Result
from cvbench.engine.analyses.silhouette.companions import COMPANIONS
from cvbench.engine.analyses.silhouette.measure import check_labels
from cvbench.engine.analyses.silhouette.measure import silhouette as score
from cvbench.engine.analyses.silhouette.options import SPACES, SilhouetteOptions
from cvbench.engine.arrays.array import Array, to_device
from cvbench.jobs.analyses.measure import analysis_device
from cvbench.jobs.analyses.options import SILHOUETTE, SpaceOptions
from cvbench.jobs.analyses.principal_scores import dask_scheduler, principal_scores
from cvbench.jobs.analyses.silhouette_rows import caution, comparison_notes, headline, rows, said
from cvbench.jobs.analyses.tsne_maps import described, kept_map, shape_of, unusual
from cvbench.jobs.figures.charts.layers import silhouette_chart
from cvbench.jobs.figures.silhouette import compared, silhouette_figure, silhouettes_figure
from cvbench.jobs.reading.matrix import Matrices
from cvbench.jobs.reading.options import Selection
from cvbench.jobs.reading.reading import open_store, read
from cvbench.jobs.results.command import command_words, interval_options, selection_of
from cvbench.jobs.results.entry import Entry
from cvbench.jobs.results.keep import Analysed, keep
from cvbench.jobs.results.question import Question
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.hardware import Hardware
from cvbench.jobs.running.progress import Advanced, Ended, Listener, Note, Started, silent

__all__ = ["ENTRY", "SilhouetteOptions", "silhouette"]

HERE = Cluster(address="none")


def silhouette(
    selections: Sequence[Selection],
    options: SilhouetteOptions,
    device: str = "cpu",
    listen: Listener = silent,
    *,
    spaces: Sequence[str] = (),
    cluster: Cluster = HERE,
    map_name: str | None = None,
) -> list[Analysed]:
    """The silhouette of the selected layers of each data set in each space; every result is kept in the store.

    Memory: the largest layer as it is stored, said in a note before it is read, and what `silhouette_samples` says. The
    principal components of "pca50" are found without holding the layer (see `cvbench.jobs.analyses.principal_scores`).

    Args:
        selections: One per data set, of one store.
        options: How to score.
        device: "cpu" (NumPy) or "cuda" (CuPy).
        listen: Receives progress.
        spaces: Of `SPACES`, one result each; empty: that of `options`.
        cluster: Where principal components are computed.
        map_name: Of space "tsne": a result of `cvbench analyze tsne`, by its path or the last part of it; None: that of
            the defaults, else the only one kept, else one is made (see `cvbench.jobs.analyses.tsne_maps`).

    Raises:
        UsageError: A view that is no matrix; labels, classes or a sample for which it is not defined; no t-SNE map.
        IntegrityError: A layer with values that are not finite.
    """
    every = [replace(options, space=space) for space in spaces] or [options]
    store = open_store(selections[0].store)
    found = [read(selection, store) for selection in selections]  # all, before any is scored
    opened = [Matrices.of(reading) for reading in found]
    execution = _Execution(device, cluster, map_name, listen)
    return [_one(matrices, each, execution) for matrices in opened for each in every]


@dataclass(frozen=True)
class _Execution:
    device: str
    cluster: Cluster
    map_name: str | None
    listen: Listener


@dataclass(frozen=True)
class _SpaceReader:
    """Reader of the layers in a space, what else the values depend on, and what the result says of it."""

    read: Callable[[Layer], Array]
    used: dict[str, Any] = field(default_factory=dict)
    said: dict[str, Any] = field(default_factory=dict)
    note: str | None = None


def _one(matrices: Matrices, options: SilhouetteOptions, execution: _Execution) -> Analysed:
    selected, samples = matrices.selected, matrices.samples
    check_labels(samples, selected.layers)
    space = _space(matrices, options, execution)
    n, job, listen = len(samples.positions), "analyze silhouette", execution.listen
    listen(Started(job, f"{matrices.where}, {options.space}", n * len(selected.layers), len(selected.layers), 0))
    for note in matrices.notes:
        listen(Note(note))

    def scored(layer: Layer) -> None:
        listen(Advanced(job, selected.layers.index(layer), n))

    result = score(selected.layers, space.read, samples, options, scored)
    listen(Ended(job))
    notes = [*result.attrs["notes"], *([space.note] if space.note else [])]
    result = replace(result, attrs={**result.attrs, **space.said, "notes": notes})
    # A GPU sums in another order.
    made = {"companions": list(COMPANIONS), **{key: result.attrs[key] for key in ("interval", "family")}}
    what = {"options": options.as_dict(), **made, "device": execution.device, **space.used}
    identity = {**what, **matrices.identity}
    return Analysed(result, selected, keep(matrices, result, identity), 0)


def _space(matrices: Matrices, options: SilhouetteOptions, execution: _Execution) -> _SpaceReader:
    if options.space == "pca50":

        def components(layer: Layer) -> Array:
            with dask_scheduler(execution.cluster) as scheduler:
                scores, _ = principal_scores(matrices.lazy(layer), 50, standardise=True, scheduler=scheduler)
            return to_device(scores, execution.device)

        return _SpaceReader(components)
    if options.space == "tsne":
        maps = kept_map(matrices, options.seed, execution.map_name, execution.listen)
        points = maps.data["map"][1]

        def mapped(layer: Layer) -> Array:
            return to_device(points[matrices.selected.layers.index(layer)], execution.device)

        label = SPACES["tsne"] + unusual(maps)
        said = {"space": label, "map": maps.attrs["run"]}
        return _SpaceReader(mapped, {"map": shape_of(maps)}, said, f"the t-SNE map is {described(maps)}")
    return _SpaceReader(lambda layer: matrices.read(layer, execution.device))


def _command(result: Result) -> list[str]:
    attrs = result.attrs
    name = attrs["map"].rpartition("/")[2] if "map" in attrs else None
    drawn = asdict(interval_options(result))
    options = SilhouetteOptions(**drawn, metrics=tuple(attrs["metrics"]), sample=attrs["sample"])
    spaces = SpaceOptions((attrs["space_option"],), name)
    return command_words("analyze silhouette", SILHOUETTE, selection_of(result), spaces, options)


def _run(
    selections: list[Selection], wanted: SpaceOptions, options: SilhouetteOptions, on: Hardware, listen: Listener
) -> list[Analysed]:
    device = analysis_device(on.device, "none", listen)
    cluster, name = Cluster(address=on.settled().address), wanted.map_name
    found = silhouette(selections, options, device, listen, spaces=wanted.spaces, cluster=cluster, map_name=name)
    for note in comparison_notes([one.named for one in found]):
        listen(Note(note))
    return found


ENTRY = Entry(
    name="silhouette",
    title="Class separation: silhouette",
    about=(
        "How well the features separate the classes of a data set: for each sample, the mean distance to the nearest "
        "other class against that to its own, from -1 (among another class) over 0 (on the border) to 1 (well inside "
        "its own). Shown is the mean over samples, exact, in the space that is named. Compare backbones within a data "
        "set, since the level depends on the number of classes and of samples in each; a difference between two "
        "backbones is of the same samples, and judged together with the others (Holm). Intervals are of these "
        "classes, for other samples of them: a jackknife over ten groups of samples, all others scored anew; where "
        "classes are resampled, they are for other classes like these, which is another claim. n counts samples. "
        "Companions, Euclidean and of all samples, from the distances to the class centroids: the simplified "
        "silhouette (another number), the Davies-Bouldin and the Calinski-Harabasz index. Sources: Rousseeuw 1987, "
        "Hruschka 2004, Davies and Bouldin 1979, Calinski and Harabasz 1974; interval: Tukey 1958."
    ),
    unit="samples",
    question=Question("silhouette, mean over samples", "The classes lie further apart in {more} than in {less}"),
    rows=rows,
    command=_command,
    run=_run,
    headline=headline,
    figure=silhouette_figure,
    chart=silhouette_chart,
    overview=silhouettes_figure,
    compared=compared,
    arrays=("members",),
    said=said,
    caution=caution,
    named_by=("view", "space_option"),
)
