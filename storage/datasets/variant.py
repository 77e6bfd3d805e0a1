"""Variants: the samples of a data set, to be transformed once they are decoded. Nothing here touches a pixel.

    digits+scale=1.25           the object 1.25 times as large                     in a store: digits.scale-1.25
    digits+shift=30             30 pixels aside, in the original image             digits.shift-30
    digits+shift-frame=8,0      8 pixels to the right, 0 down, after the resize    digits.shift-frame-8-0
    digits+scale                on a command line: every value of the default grid; 1 is `digits` itself

A variant has the ids, labels and factors of its base, and thus its order in a store: rows can be paired.
What each transform does: `engine.pictures.transforms`. The default grids are those of Vishniakov et al. 2024.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import UnknownNameError, UsageError
from cvbench.hints import command
from cvbench.storage.datasets.base import Dataset, Transform
from cvbench.storage.datasets.left_out import LeftOut

Values = tuple[float, ...]


@dataclass(frozen=True)
class Kind:
    """One transform.

    Attributes:
        parameters: Names of its values.
        integers: Whether they are whole numbers.
        low, high: What they may be.
        grid: The values to look at if none are given.
        start: The values that others are compared with.
        untouched: Whether `start` leaves the image as it was, to the byte.
        means: What the values are, for a person to read.
    """

    parameters: tuple[str, ...]
    integers: bool
    low: float
    high: float
    grid: tuple[Values, ...]
    start: Values
    untouched: bool
    means: str


_PIXELS = (0, 5, 30, 75, 100)

KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "scale": Kind(("factor",), False, 0.05, 20, ((1,), (1.25,), (1.5,), (2,), (3,)), (1,), True, "scale factor"),
        "shift": Kind(
            ("pixels",), True, -4096, 4096, tuple((p,) for p in _PIXELS), (0,), False, "shift (pixels of the original)"
        ),
        "shift-frame": Kind(
            ("x", "y"), True, -4096, 4096, tuple((p, p) for p in _PIXELS), (0, 0), True, "shift in the frame (pixels)"
        ),
    }
)
RESOLUTION = "resolution"
"""No transform of images, but another input size of the backbone."""

_TAIL = re.compile(r"([A-Za-z][A-Za-z_-]*)(?:=([^/=]*))?")
_KEY = re.compile(r"(.+)\.(scale|shift-frame|shift)-(-?[0-9][0-9.]*)(?:-(-?[0-9]+))?")


@dataclass(frozen=True, eq=False)
class VariantDataset:
    """The samples of `base` with a transform that is to be applied to each."""

    base: Dataset
    transform: Transform

    @property
    def name(self) -> str:
        """Key in the feature store, such as "digits.scale-1.25"."""
        return variant_name(self.base.name, self.transform)

    @property
    def split(self) -> str:
        """That of the base."""
        return self.base.split

    @property
    def spec(self) -> str:
        """The spec that `open_dataset` opens it by."""
        return self.base.spec + suffix(self.transform)

    @property
    def classes(self) -> tuple[str, ...]:
        """Those of the base."""
        return self.base.classes

    @property
    def ids(self) -> Sequence[str]:
        """Those of the base."""
        return self.base.ids

    @property
    def labels(self) -> NDArray[np.int64]:
        """Those of the base."""
        return self.base.labels

    @property
    def factors(self) -> Mapping[str, NDArray[Any]]:
        """Those of the base."""
        return self.base.factors

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """Entries that the base leaves out."""
        return self.base.left_out

    def __len__(self) -> int:
        return len(self.base)

    def read(self, index: int) -> bytes | NDArray[np.uint8]:
        """The sample as the base has it: it is not transformed yet."""
        return self.base.read(index)

    @cached_property
    def digest(self) -> str:
        """Hex sha256 over the base's digest, the transform and its values."""
        name, values = self.transform
        record = {"variant": 1, "base": self.base.digest, "transform": name, "values": dict(values)}
        return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def split_transform(spec: str) -> tuple[str, Transform | None]:
    """The spec of the base, and the transform; (spec, None) if it names none.

    Raises:
        UnknownNameError: There is no such transform.
        UsageError: Its values are missing, or not what they may be.

    >>> split_transform("digits+shift=8,0")
    ('digits', ('shift-frame', {'x': 8, 'y': 0}))
    """
    base, name, text = _parts(spec)
    if name is None:
        return base, None
    kind = _kind(base, name)
    if text is None:
        raise UsageError(f"{name} needs a value here", where=spec, fix=base + suffix(transform_of(name, kind.grid[-1])))
    return base, parse_transform(name, text, spec)


def expand_grid(spec: str) -> list[str]:
    """The data sets that "digits+scale" stands for: its default grid; any other spec stands for itself.

    Raises:
        UnknownNameError, UsageError: As `split_transform`.

    >>> expand_grid("digits+scale")[:3]
    ['digits', 'digits+scale=1.25', 'digits+scale=1.5']
    """
    base, name, text = _parts(spec)
    if name is None:
        return [spec]
    kind = _kind(base, name)
    if text not in (None, "*"):
        return [base + suffix(split_transform(spec)[1])]
    return [variant_spec(base, name, values) for values in kind.grid]


def parse_transform(name: str, text: str, where: str = "") -> Transform:
    """The transform of a name and its values as text: ("scale", "1.25"). "shift" of two values is "shift-frame".

    Raises:
        UnknownNameError, UsageError: As `split_transform`.
    """
    kind = _kind("", name)
    words = text.split(",")
    if name == "shift" and len(words) == 2:
        name, kind = "shift-frame", KINDS["shift-frame"]
    wanted = f"{', '.join(kind.parameters)}: {'whole numbers' if kind.integers else 'numbers'} from {kind.low:g} to"
    wrong = UsageError(f"{name}={text} cannot be read", where=where or None, why=f"it takes {wanted} {kind.high:g}")
    try:
        values = tuple(float(word) for word in words)
    except ValueError:
        raise wrong from None
    if len(values) != len(kind.parameters) or not all(kind.low <= v <= kind.high for v in values):
        raise wrong
    # The name in the store must say the value exactly, and only one value.
    if any((kind.integers and v != int(v)) or float(f"{v:g}") != v or not math.isfinite(v) for v in values):
        raise wrong
    return transform_of(name, values)


def transform_of(name: str, values: Values) -> Transform:
    """The transform with these values."""
    kind = KINDS[name]
    return name, dict(zip(kind.parameters, (int(v) if kind.integers else float(v) for v in values), strict=True))


def values_text(values: Values) -> str:
    """Values as they are typed.

    >>> values_text((1.25,)), values_text((8, 0))
    ('1.25', '8,0')
    """
    return ",".join(f"{value:g}" for value in values)


def suffix(transform: Transform | None) -> str:
    """The end of a spec that names a transform; "" for none."""
    return "" if transform is None else f"+{transform[0]}={values_text(tuple(transform[1].values()))}"


def variant_spec(base: str, name: str, values: Values) -> str:
    """The spec of the base with a transform: the base itself where that changes nothing."""
    kind = KINDS[name]
    return base if kind.untouched and values == kind.start else base + suffix(transform_of(name, values))


def variant_name(base: str, transform: Transform) -> str:
    """Key of a variant in a store."""
    return f"{base}.{transform[0]}-{'-'.join(f'{value:g}' for value in transform[1].values())}"


def parse_name(name: str) -> tuple[str, Transform | None]:
    """The reverse of `variant_name`: the base's key, and the transform; None if the name is of no variant.

    >>> parse_name("digits.shift-frame--8-0")
    ('digits', ('shift-frame', {'x': -8, 'y': 0}))
    """
    found = _KEY.fullmatch(name)
    if found is None:
        return name, None
    base, kind, *values = found.groups()
    try:
        transform = parse_transform(kind, ",".join(value for value in values if value is not None))
    except UsageError:  # a data set of this name
        return name, None
    return (base, transform) if variant_name(base, transform) == name else (name, None)


def base_name(name: str) -> str:
    """Key of the data set that a variant is of; any other name stays."""
    return parse_name(name)[0]


def _parts(spec: str) -> tuple[str, str | None, str | None]:
    """Base, transform and its values as text; the last two None where they are not there."""
    base, plus, tail = spec.rpartition("+")
    found = _TAIL.fullmatch(tail) if plus and base else None
    if found is None:
        if plus and ":" not in spec:
            raise UsageError(f"{spec!r} names no transform", fix=f"{base or 'digits'}+scale=2")
        return spec, None, None
    name, text = found.groups()
    if ":" in base and text is None and name not in (*KINDS, RESOLUTION):
        return spec, None, None  # a path with a plus in it
    return base, name, text


def _kind(base: str, name: str) -> Kind:
    if name == RESOLUTION:
        raise UsageError(
            "the resolution is the input size of the backbone, not a variant of the images",
            fix=command("extract", dataset=base or "NAME", view="logits", image_size=112) + "  # for each size",
        )
    if name not in KINDS:
        raise UnknownNameError.among("transform", name, KINDS, fix=f"transforms: {', '.join(KINDS)}")
    return KINDS[name]
