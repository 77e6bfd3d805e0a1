"""The views of a store, as commands and results speak of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from cvbench.engine.models.views import (
    MADE_BY,
    MAPS,
    POOLED,
    VECTOR,
    known_view,
    stored_views,
    vector_views,
)

__all__ = [
    "MAPS",
    "POOLED",
    "either",
    "follows_dtype",
    "is_in_part",
    "is_of_taps",
    "is_vector",
    "stored_views",
    "vector_views",
    "view_words",
    "was_asked_for",
]


def view_words(attrs: Mapping[str, Any]) -> str:
    """Name the features of a result in words.

    >>> view_words({"view": "maps"}), view_words({"view": "logits"}), view_words({"view": "cam.gradcam"})
    ('all positions', 'view logits', 'view cam.gradcam')
    """
    name = attrs.get("view", "")
    view = known_view(name)
    return f"view {name}" if view is None else view.about


def either(names: Iterable[str]) -> str:
    """Names in the help of an option.

    >>> either(["pooled", "maps", "head"])
    'pooled, maps or head'
    """
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


def is_of_taps(name: str) -> bool:
    """Whether the arrays of a view are of layers, and not of the head."""
    view = known_view(name)
    return view is None or view.source == "tap"


def is_vector(name: str) -> bool:
    """Whether a view keeps one vector of a sample."""
    view = known_view(name)
    return view is not None and view.dims == VECTOR


def follows_dtype(name: str) -> bool:
    """Whether the stored type and the rounding of a view are those that the extraction was asked for."""
    view = known_view(name)
    return view is not None and not view.dtype


def is_in_part(name: str) -> bool:
    """Whether --maps says how many samples a view covers."""
    view = known_view(name)
    return view is not None and view.in_part


def was_asked_for(name: str, fingerprint: Mapping[str, Any], stored: Collection[str]) -> bool:
    """Whether `extract --view` with this name made a group of this fingerprint: a plugin may be gone since.

    Args:
        name: Of the view.
        fingerprint: Of the group.
        stored: The views beside it, some of which it comes with unasked.
    """
    view = known_view(name)
    comes = view is not None and not {*view.comes_with}.isdisjoint(stored)
    return (name in stored_views() and not comes) or MADE_BY in fingerprint
