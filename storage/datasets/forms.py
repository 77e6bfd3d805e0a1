"""Official forms of one data set: "dtd" is its usual one, "dtd:3" another. Each has a name of its own in a store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cvbench.errors import UnknownNameError
from cvbench.storage.datasets.base import DatasetInfo

COOP = "coop"
"""The form whose splits are in a file `split_zhou_<Name>.json`."""


@dataclass(frozen=True)
class Form:
    """One form of a data set.

    Attributes:
        label: What follows the colon, the default's own if nothing does.
        name: Key in a store: "dtd", "dtd-3".
        spec: What opens it: "dtd", "dtd:3".
    """

    label: str
    name: str
    spec: str


def form_of(info: DatasetInfo, argument: str, known: Sequence[str]) -> Form:
    """The form that `argument` names; the first of `known` if it is empty.

    Raises:
        UnknownNameError: There is no such form.
    """
    label = argument or known[0]
    if label not in known:
        raise UnknownNameError.among(
            f"form of {info.name}", label, known, fix=", ".join(f"{info.name}:{form}" for form in known)
        )
    if label == known[0]:
        return Form(label, info.name, info.name)
    return Form(label, f"{info.name}-{label}", f"{info.name}:{label}")
