"""Whether a split is complete: as many samples as were published. Where it is not, a number is refused or says so."""

from __future__ import annotations

from cvbench.errors import IncompleteError, UnknownNameError
from cvbench.hints import command
from cvbench.storage.datasets import dataset_info

_DERIVED = ("pug-imagenet",)  # its counts are derived, and its subsets may be used apart


def check_complete(spec: str, split: str, n: int, *, where: str, partial: bool) -> list[str]:
    """Refuse a split with fewer samples than were published, or say so in a note; none where no count was published.

    Args:
        spec: Of the data set.
        split: Its name.
        n: Samples that it has.
        where: Files or store, for the message.
        partial: Accept fewer.

    Raises:
        IncompleteError: There are fewer, and `partial` is not set.
    """
    try:
        known = dataset_info(spec)
    except UnknownNameError:  # a folder of one's own by its name in a store, or a name of an older version
        return []
    published = known.counts.get(split, n)
    if n == published:
        return []
    said = f"{spec}/{split} has {n:,} samples, published are {published:,}"
    if n > published or partial or known.name in _DERIVED:
        return [said]
    raise IncompleteError(
        said,
        where=where,
        why="a number is over the whole data set",
        fix=f"{command('datasets verify', spec)}  # says what is not there; extract into a new store, or --partial",
    )
