"""What stands beside each class activation map."""

from __future__ import annotations

CHOICE = ("class", "predicted", "logit", "probability")
"""Columns: the class whose evidence it is, the backbone's own top-1, and the former's logit and softmax probability."""
