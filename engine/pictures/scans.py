"""How much work a JPEG is, from its markers: a progressive file of a few kilobytes may ask for thousands of passes."""

from __future__ import annotations

import re

_START, _END = 0xDA, 0xD9
_ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length
_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)  # in entropy-coded data FF is followed by 0 or RSTn


def count_scans(payload: bytes, most: int) -> int:
    """Scans of a JPEG (ITU-T T.81, B.1 and B.2), `most` + 1 at most; each is a pass over all coefficients.

    Args:
        payload: The file.
        most: Where to stop counting.
    """
    if payload.count(b"\xff\xda") <= most:  # fast; counts those of thumbnails and of chance too
        return payload.count(b"\xff\xda")
    scans, at = 0, 2
    while scans <= most:
        found = _MARKER.search(payload, at)
        if found is None:
            break
        kind, at = found.group(1)[0], found.end()
        if kind == _END:
            break
        if kind in _ALONE:
            continue
        scans += kind == _START
        at += max(int.from_bytes(payload[at : at + 2], "big"), 2)
    return scans
