"""What the parts of a page are called: each by what tells it from its siblings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from cvbench.jobs.report.collect import Item

BOOKKEEPING = {"dataset", "split", "run", "view", "all_taps", "layers", "notes", "undefined", "summary", "labels"}
"""Attributes of a result that are no parameters of it."""
BOOKKEEPING |= {"intervals", "interval", "family", "verdicts"}  # said under the numbers
BOOKKEEPING |= {"drawn"}  # said with the figure
BOOKKEEPING |= {"space_option"}  # says the same as `space`
_NAMED_DATA = 2  # data sets in the title of a page


def parameters(item: Item) -> dict[str, str]:
    """The attributes that are plain values, as text."""
    return {
        str(name): ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        for name, value in item.result.attrs.items()
        if name not in BOOKKEEPING and (_plain(value) or (isinstance(value, list) and all(map(_plain, value))))
    }


def _plain(value: object) -> bool:
    return value is None or isinstance(value, str | int | float)


def backbones(item: Item) -> list[str]:
    """Those that a result is of."""
    return list(taps(item)) or list(dict.fromkeys(row.backbone for row in item.rows if row.backbone))


def taps(item: Item) -> dict[str, list[str]]:
    """Backbone -> its layers in a result; empty if it is not of layers."""
    found: dict[str, list[str]] = {}
    for layer in item.result.attrs.get("layers", ()):
        if isinstance(layer, dict) and "backbone" in layer:
            found.setdefault(str(layer["backbone"]), []).append(str(layer.get("tap", "")))
    return found


def place(item: Item) -> str:
    """Data set and split; of a result that no entry can read, its analysis too."""
    name = [] if item.entry is not None else [item.key.analysis]
    return " · ".join([*name, f"{item.key.dataset} / {item.key.split}"])


def marks(items: Sequence[Item]) -> list[str]:
    """Tell each of several results of one analysis from the others of the same data: by as few parameters as do, such
    as the method; at last by the digest.

    Args:
        items: Those of one chapter.
    """
    own = [_candidates(item) for item in items]
    found = []
    for item, mine in zip(items, own, strict=True):
        left = [
            others
            for other, others in zip(items, own, strict=True)
            if other is not item and place(other) == place(item)
        ]
        words = []
        for name, text in mine.items():
            apart = [other for other in left if other.get(name, text) != text]
            if apart:
                words.append(text if name == "title" else f"{name.replace('_', ' ')} {text}")
                left = [other for other in left if other not in apart]
        found.append(" · ".join([*words, item.key.digest[:8]] if left else words))
    return found


def _candidates(item: Item) -> dict[str, str]:
    """Parameters that could tell a result from others, the plainest first; the options say the same in other words."""
    found = parameters(item)
    view = {"view": str(item.result.attrs["view"])} if "view" in item.result.attrs else {}
    title = {"title": found["title"]} if "title" in found else {}
    layers = {"layers": f"{sum(map(len, taps(item).values()))} of {', '.join(backbones(item))}"}
    return {**title, **view, **{name: text for name, text in found.items() if name != "options"}, **layers}


def heading(item: Item, mark: str) -> str:
    """Heading of a result: its data, what tells it from its siblings, and how many layers it is of."""
    layers = [name for names in taps(item).values() for name in names]
    one = layers[0] if layers and len(set(layers)) == 1 else ""
    count = [f"layer {one}" if one else f"{len(layers)} layers"] if layers else []
    return " · ".join(filter(None, [place(item), mark, *count]))


def facts(item: Item) -> str:
    """Line below the heading of a result: backbones with their layers, samples, view."""
    attrs = item.result.attrs
    layers = taps(item)
    some = any(len(names) > 1 for names in layers.values())
    names = [
        f"{name} ({len(layers[name])} layers)" if some else f"{name}, {layers[name][0]}" if name in layers else name
        for name in backbones(item)
    ]
    samples = attrs.get("samples_in_units")
    count = [f"{samples:,} samples"] if isinstance(samples, int) else []
    return " · ".join([*names, *count, *([f"view {attrs['view']}"] if "view" in attrs else [])])


def title(names: Sequence[str], items: Sequence[Item]) -> str:
    """Title of the page: whose results, on which data; of many data sets the one of the most results.

    Networks that stand there at several sizes are named, or counted, once.
    """
    models = list(dict.fromkeys(name.partition("@")[0] for name in names))
    data = Counter(item.key.dataset for item in items)
    sets = list(data) if len(data) <= _NAMED_DATA else [max(data, key=data.__getitem__)]
    who = next((" and ".join(own) for own in (names, models) if len(own) <= 2), f"{len(models)} backbones")
    more = f" and {len(data) - 1} more data sets" if len(data) > _NAMED_DATA else ""
    return f"{who} on {' and '.join(sets)}{more}"


def places_of_study(study: Mapping[str, str]) -> dict[str, str]:
    """Analysis -> its figure or table as words.

    >>> places_of_study({"cka": "Fig. 5", "silhouette": "Table 1"})
    {'cka': 'Figure 5', 'silhouette': 'Table 1'}
    """
    return {analysis: place.replace("Fig.", "Figure") for analysis, place in study.items()}
