"""Units and chunks: integers in, integers out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvbench.storage.features.units import (
    CHUNK_BYTES,
    SHARD_BYTES,
    Unit,
    chunk_rows,
    is_unit,
    layout,
    plan_units,
    unit_size,
)


@given(n=st.integers(1, 10**7), batch=st.integers(1, 2048))
def test_a_unit_is_whole_batches_and_not_larger_than_needed(n: int, batch: int) -> None:
    size = unit_size(n, batch)
    assert size % batch == 0
    assert size < min(4096, n) + batch
    assert size >= min(256, n)


@given(n=st.integers(1, 5000), size=st.integers(1, 700), limit=st.none() | st.integers(0, 6000))
def test_units_tile_the_prefix_exactly(n: int, size: int, limit: int | None) -> None:
    units = plan_units(n, size, limit)
    rows = [i for unit in units for i in range(unit.start, unit.stop)]
    assert rows == list(range(len(rows)))
    assert len(rows) >= min(n, n if limit is None else limit)  # rounded up, never down
    assert all(len(unit) == size for unit in units[:-1])
    assert [unit.index for unit in units] == list(range(len(units)))
    assert not units or units[-1].stop == n or units[-1].stop % size == 0


@given(
    n=st.integers(1, 60),
    size=st.integers(1, 20),
    index=st.integers(-2, 12),
    start=st.integers(-3, 60),
    stop=st.integers(0, 63),
)
def test_what_is_a_unit_is_told_without_a_list(n: int, size: int, index: int, start: int, stop: int) -> None:
    units = plan_units(n, size)
    for unit in (*units, Unit(index, start, stop), Unit(index, index * size, index * size + size)):
        assert is_unit(unit, n, size) == (unit in units)


@given(unit=st.integers(1, 4096), row=st.integers(1, 10**8), target=st.integers(1, 10**9))
def test_chunks_divide_the_unit_and_fit_where_a_row_fits(unit: int, row: int, target: int) -> None:
    rows = chunk_rows(unit, row, target)
    assert unit % rows == 0
    assert rows * row <= target or rows == 1
    larger = [k for k in range(rows + 1, unit + 1) if unit % k == 0 and k * row <= target]
    assert not larger


@given(unit=st.integers(1, 4096), row=st.integers(1, 10**7), spatial=st.booleans(), sharded=st.booleans())
def test_layout_nests(unit: int, row: int, spatial: bool, sharded: bool) -> None:
    chunk, shard = layout(unit, row, spatial=spatial, sharded=sharded)
    whole = shard or chunk
    assert unit % whole == 0
    assert whole % chunk == 0
    assert shard is None or (sharded and spatial and shard > chunk)
    assert whole == 1 or whole * row <= (SHARD_BYTES if sharded or not spatial else CHUNK_BYTES)


def test_one_shard_per_unit_and_layer_on_object_stores() -> None:
    assert layout(256, 200_704, spatial=True, sharded=True)[1] == 256  # 51 MB
    assert layout(4096, 200_704, spatial=True, sharded=True)[1] == 512  # 822 MB: parts of at most 128 MB


@pytest.mark.parametrize(("n", "batch"), [(0, 1), (1, 0), (-1, 1)])
def test_nonsense_is_refused(n: int, batch: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        unit_size(n, batch)
