"""Official archives of data sets: where they are, how they are fetched, and unpacked without trusting them.

`sources` is the table of `archive`s, `fetch` gets one file over HTTP, `unpack` takes an archive apart, `place` does a
whole data set.
"""

from __future__ import annotations

from cvbench.storage.downloads.archive import About, Archive, Source
from cvbench.storage.downloads.place import Placed, place
from cvbench.storage.downloads.sources import SOURCES

__all__ = ["SOURCES", "About", "Archive", "Placed", "Source", "place"]
