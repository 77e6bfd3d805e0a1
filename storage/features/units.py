"""How the sample axis is cut into units and chunks. Integers in, integers out.

A unit is a contiguous range of store positions: the quantum of work, commit, retry and statistics. Chunks and shards
divide it, so that every object has one writer and is written whole.
"""

from __future__ import annotations

from dataclasses import dataclass

SMALLEST, LARGEST, UNITS_WANTED = 256, 4096, 64  # rows, rows, units per data set: enough to keep many actors busy
CHUNK_BYTES = 12_000_000  # per-chunk costs dominate below 1 MB; random reads suffer above 16 MB
SHARD_BYTES = 128_000_000
INNER_BYTES = 8_000_000


@dataclass(frozen=True, order=True, slots=True)
class Unit:
    """Store positions start <= i < stop, the index-th of the plan."""

    index: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


def unit_size(n: int, batch: int) -> int:
    """Rows of a unit for n samples in batches of `batch`: a whole number of batches.

    >>> unit_size(100_000, 32), unit_size(1_797, 64), unit_size(10, 4)
    (1568, 256, 12)
    """
    if n < 1 or batch < 1:
        raise ValueError(f"expected n >= 1 and batch >= 1, got n={n}, batch={batch}")
    wanted = min(max(-(-n // UNITS_WANTED), SMALLEST), LARGEST)
    return _round_up(min(wanted, n), batch)


def plan_units(n: int, size: int, limit: int | None = None) -> list[Unit]:
    """The units of the first `limit` of n samples; the prefix is rounded up to whole units.

    >>> [(u.start, u.stop) for u in plan_units(10, 4)]
    [(0, 4), (4, 8), (8, 10)]
    >>> len(plan_units(10, 4, limit=5))
    2
    """
    stop = n if limit is None else min(n, _round_up(max(limit, 0), size))
    return [Unit(i, start, min(start + size, n)) for i, start in enumerate(range(0, stop, size))]


def is_unit(unit: Unit, n: int, size: int) -> bool:
    """Whether it is one of the units of n samples; no list of all is made.

    >>> is_unit(Unit(2, 8, 10), 10, 4), is_unit(Unit(2, 8, 12), 10, 4), is_unit(Unit(3, 12, 10), 10, 4)
    (True, False, False)
    """
    start = unit.index * size
    return 0 <= start < n and unit == Unit(unit.index, start, min(start + size, n))


def chunk_rows(unit: int, row_bytes: int, target: int = CHUNK_BYTES) -> int:
    """The largest divisor of the unit whose rows fit into `target` bytes; 1 if a single row does not fit.

    >>> chunk_rows(256, 200_704), chunk_rows(250, 10**6, 10**7), chunk_rows(7, 10**9)
    (32, 10, 1)
    """
    most = max(1, min(unit, target // max(row_bytes, 1)))
    return next(rows for rows in range(most, 0, -1) if unit % rows == 0)


def layout(unit: int, row_bytes: int, *, spatial: bool, sharded: bool) -> tuple[int, int | None]:
    """Rows per chunk and, on object stores, rows per shard (None: every chunk is its own object).

    Vectors (`spatial=False`) take one chunk per unit; maps take chunks of about 12 MB.

    >>> layout(256, 200_704, spatial=True, sharded=False)
    (32, None)
    >>> layout(256, 200_704, spatial=True, sharded=True)
    (32, 256)
    >>> layout(4096, 2048, spatial=False, sharded=True)
    (4096, None)
    """
    if not (sharded and spatial):
        return chunk_rows(unit, row_bytes, CHUNK_BYTES if spatial else SHARD_BYTES), None
    shard = chunk_rows(unit, row_bytes, SHARD_BYTES)
    inner = chunk_rows(shard, row_bytes, INNER_BYTES)
    return (shard, None) if inner == shard else (inner, shard)


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
