"""The views of a store: their names, and what they are in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

VIEWS = ("pooled", "maps", "head", "logits")
MAPS = "maps"
POOLED = "pooled"
WORDS = {MAPS: "all positions", POOLED: "mean over positions", "cls": "class token", "head": "head"}


def view_words(attrs: Mapping[str, Any]) -> str:
    """What the features of a result are, in words.

    >>> view_words({"view": "maps"}), view_words({"view": "logits"})
    ('all positions', 'view logits')
    """
    view = attrs.get("view", "")
    return WORDS.get(view, f"view {view}")
