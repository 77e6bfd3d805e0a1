"""The parts of a spec, as it is written: nothing is looked up."""

from __future__ import annotations

import re

from cvbench.storage.datasets.variant import split_transform

_NAMED = re.compile(r"(?P<own>[A-Za-z0-9][A-Za-z0-9._-]{0,99})=(?P<spec>(?P<kind>[a-z0-9-]+):.*)", re.DOTALL)


def spec_parts(spec: str) -> tuple[str, str | None, str]:
    """Split a spec: what is before the colon, what is behind it, None without one, and the name of one's own, or "".

    Raises:
        UsageError: Its transform is none.

    >>> spec_parts("birds=folder:/a+scale=2"), spec_parts("dtd")
    (('folder', '/a', 'birds'), ('dtd', None, ''))
    """
    base, _ = split_transform(spec)
    named = _NAMED.fullmatch(base)
    own = named["own"] if named is not None else ""
    name, colon, argument = (named["spec"] if named is not None else base).partition(":")
    return name, argument if colon else None, own
