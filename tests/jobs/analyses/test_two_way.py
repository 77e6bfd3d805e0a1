"""Two crossed factors inside networks: effects are contrasts of what the plain analyses say of each backbone."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from typer.testing import CliRunner

from cvbench.cli.app import app
from cvbench.engine.analyses.base import Layer
from cvbench.engine.analyses.similarity.result import UNRESOLVED
from cvbench.engine.analyses.spectra.measure import Spectra
from cvbench.engine.analyses.spectra.result import MEASURES
from cvbench.engine.statistics.options import IntervalOptions
from cvbench.errors import UnknownNameError, UsageError
from cvbench.jobs.analyses.options import MEASURED, TwoWayOptions
from cvbench.jobs.analyses.similarity import ENTRY as SIMILARITY
from cvbench.jobs.analyses.similarity import similarity
from cvbench.jobs.analyses.spectra import ENTRY as SPECTRA
from cvbench.jobs.analyses.spectra import QUANTITIES, spectra
from cvbench.jobs.analyses.two_way import ENTRY, decompose
from cvbench.jobs.analyses.two_way_measured import OF
from cvbench.jobs.reading.options import Selection
from cvbench.jobs.results.row import DIFFERENCE, VALUE, Row
from cvbench.storage.features import ArraySpec, FeatureStore, GroupKey, SplitInfo
from cvbench.storage.features.units import plan_units
from tests.jobs.maps_store import LOOP

N, CHANNELS = 64, 6
ROUGH = {"conv": 1.0, "vit": 0.0}
OBJECTIVES = {"labels": 0.6, "text": 0.0, "pixels": -0.3}
"""How rough the maps are: architecture and objective added, on a logarithmic scale."""
NAMES = [f"{network}-{objective}" for network, objective in itertools.product(ROUGH, OBJECTIVES)]
CELLS = tuple(f"{name}={name.replace('-', ',')}" for name in NAMES)
QUICK = IntervalOptions(resamples=50)


def smooth(rng: np.random.Generator, side: int, rough: float) -> NDArray[np.float32]:
    """Maps of a common picture, of which high frequencies are the more the rougher they are."""
    slow = rng.normal(size=(N, 1, 1, CHANNELS)) + 2 * np.cos(np.pi * np.arange(side) / side)[:, None, None]
    fast = rng.normal(size=(N, side, side, CHANNELS))
    maps: NDArray[np.float32] = (slow + np.exp(rough) * fast).astype(np.float32)
    return maps


def write_maps(
    store: Path,
    maps: Mapping[str, NDArray[np.float32]],
    *,
    first: int = N,
    taps: Mapping[str, tuple[str, str]] | None = None,
) -> str:
    """Backbone -> (n, H, W, C) maps of one layer, and before it another, of the first so many images; their names."""
    opened = FeatureStore.open(store, mode="a")
    ids, labels = np.array([f"{i:03d}.png" for i in range(N)]), np.zeros(N, dtype=np.int64)
    opened.begin(SplitInfo("birds", "all", N, "digest", 0, 16, 8, ("bird",), ids, labels, {}))
    for backbone, values in maps.items():
        group = GroupKey("birds", "all", backbone, "maps")
        made = {"model": backbone, "preprocess": {"geometry": {"size": [64, 64]}}}
        axes = ("sample", "row", "column", "channel")
        names = (taps or {}).get(backbone, ("first", "last"))
        opened.declare(group, made, [ArraySpec(tap, values.shape[1:], "float32", axes) for tap in names])
        for one in plan_units(N, 16):
            own = names if one.stop <= first else names[1:]
            with opened.writer(group, own, one) as writer:
                if len(own) > 1:
                    writer.write(own[0], 0, values[one.start : one.stop][..., ::-1, :] ** 2)
                writer.write(own[-1], 0, values[one.start : one.stop])
                writer.commit()
    return str(store)


def planted(sides: Mapping[str, int]) -> dict[str, NDArray[np.float32]]:
    found = {}
    for seed, name in enumerate(NAMES):
        network, objective = name.split("-")
        found[name] = smooth(np.random.default_rng(seed), sides[network], ROUGH[network] + OBJECTIVES[objective])
    return found


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_maps(tmp_path_factory.mktemp("two-way") / "s.zarr", planted({"conv": 8, "vit": 8}))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_maps(tmp_path_factory.mktemp("mixed") / "s.zarr", planted({"conv": 4, "vit": 8}))


def rows_of(store: str, of: Any) -> list[Row]:
    return ENTRY.rows_of(decompose(Selection(store), TwoWayOptions(of, CELLS), LOOP).named)


def contrasts(means: NDArray[np.float64]) -> dict[str, float]:
    """The effects of (2, 3) means, by name."""
    grand = means.mean()
    rows, columns = means.mean(axis=1) - grand, means.mean(axis=0) - grand
    found = {"architecture: conv": rows[0]}
    found |= {f"objective: {name}": columns[j] for j, name in enumerate(OBJECTIVES)}
    return found | {
        f"together: conv, {name}": means[0, j] - grand - rows[0] - columns[j] for j, name in enumerate(OBJECTIVES)
    }


@pytest.mark.parametrize("of", ["spectra", "similarity"])
@pytest.mark.parametrize("place", ["store", "mixed"])
def test_effects_are_contrasts_of_what_the_plain_analysis_says(
    place: str, of: str, request: pytest.FixtureRequest
) -> None:
    """Of spectra of the last layers on their own grids, of similarity on the common one."""
    where = request.getfixturevalue(place)
    plain = (spectra if of == "spectra" else similarity)(Selection(where, taps=("last",)), QUICK, LOOP)
    plain_rows = (SPECTRA if of == "spectra" else SIMILARITY).rows_of(plain.named)
    values: dict[str, dict[str, float]] = {}
    for row in plain_rows:
        on_it = of == "spectra" or row.factor.startswith("common grid")
        if row.kind == VALUE and row.value is not None and on_it and row.at is None:
            values.setdefault(row.metric, {})[row.backbone] = row.value
    rows = rows_of(where, of)
    compared = {row.metric.removeprefix("effect on ") for row in rows if row.kind == DIFFERENCE}
    assert compared
    for metric in compared:
        means = np.array([values[metric][name] for name in NAMES]).reshape(2, 3)
        effects = {row.factor: row for row in rows if row.metric == f"effect on {metric}"}
        expected = contrasts(means)
        assert effects.keys() == expected.keys()
        scale = np.abs(means).max()
        for name, value in expected.items():  # both are float64 means of the same numbers, in another order
            assert effects[name].value == pytest.approx(value, abs=N * 2.0**-50 * scale), (metric, name)
            assert effects[name].n == N


def test_what_the_option_takes_is_what_there_is() -> None:
    assert (*OF,) == MEASURED


def test_planted_effects_are_found_and_all_effects_are_one_family(store: str) -> None:
    rows = rows_of(store, "spectra")
    effects = [row for row in rows if row.kind == DIFFERENCE]
    main = {row.factor: row for row in effects if row.metric == "effect on energy share above 0.5 π"}
    for name, sign in (("architecture: conv", 1), ("objective: labels", 1), ("objective: pixels", -1)):
        value = main[name].value
        assert value is not None
        assert value * sign > 0
        assert main[name].verdict == "resolved"
    parts = {r.factor: r.value or 0.0 for r in rows if r.metric.endswith("squared effects on energy share above 0.5 π")}
    assert parts["architecture"] > parts["objective"] > parts["architecture and objective together"]
    assert len({row.metric for row in effects}) > 3
    smallest = min(effects, key=lambda row: row.p if row.p is not None else 1.0)
    assert smallest.p is not None
    own = sum(row.metric == smallest.metric for row in effects)
    alone = rows_of_p(store, smallest)
    assert smallest.p == pytest.approx(min(1.0, alone * len(effects)), rel=0.01, abs=0), (
        f"Holm over all {len(effects)}, not over {own}"
    )


def rows_of_p(store: str, row: Row) -> float:
    """The p of one effect by itself: Student's t of the contrast of each image's numbers."""
    at = [QUANTITIES[name] for name in MEASURES].index(row.metric.removeprefix("effect on "))
    opened = FeatureStore.open(store)
    values = []
    for name in NAMES:
        maps = opened.layer(GroupKey("birds", "all", name, "maps"), "last").numpy()
        values.append(Spectra(()).measure_layer(0, Layer(name, "last"), maps)["measures/0"][:, at])
    images = np.stack(values, axis=1).reshape(N, 2, 3)
    contrast = np.array([contrasts(one)[row.factor] for one in images])
    return float(stats.ttest_1samp(contrast, 0).pvalue)


def test_grids_that_differ_are_said_and_what_they_do_not_resolve_has_no_effects(mixed: str) -> None:
    one = decompose(Selection(mixed), TwoWayOptions("spectra", CELLS), LOOP).result
    assert any(note.startswith("grids differ (conv-labels/last 4x4, ") for note in one.attrs["notes"])
    other = decompose(Selection(mixed), TwoWayOptions("similarity", CELLS), LOOP)
    assert "measured on the common grid 4x4" in other.result.attrs["notes"]
    rows = ENTRY.rows_of(other.named)
    assert not any("correlation length" in row.metric for row in rows)
    assert any(UNRESOLVED in note for note in other.result.attrs["notes"])
    assert not any("correlation length" in row.metric for row in ENTRY.main_rows(other.named, rows))


def test_the_short_table_falls_back_where_the_main_measure_has_no_room(tmp_path: Path) -> None:
    store = write_maps(tmp_path / "s.zarr", planted({"conv": 2, "vit": 2}))
    made = decompose(Selection(store), TwoWayOptions("spectra", CELLS), LOOP).named
    rows = ENTRY.rows_of(made)
    assert {row.metric.rpartition(" on ")[2] for row in rows} == {"energy share of DC", "spatial variance of a channel"}
    assert {row.metric.rpartition(" on ")[2] for row in ENTRY.main_rows(made, rows)} == {"energy share of DC"}
    assert ENTRY.figure is not None
    (axis,) = ENTRY.figure(made, rows).axes
    assert axis.get_title() == "effects on energy share of DC, with 95 % intervals"
    assert not axis.figure.legends, "effects are of no backbone"
    assert len(axis.get_yticklabels()) == 7


@pytest.mark.parametrize("taps", [(), ("first",)])
def test_the_command_makes_the_same_result_again(store: str, taps: tuple[str, ...]) -> None:
    made = decompose(Selection(store, taps=taps), TwoWayOptions("similarity", CELLS), LOOP)
    assert [layer["tap"] for layer in made.result.attrs["layers"]] == ["first" if taps else "last"] * 6
    words = [*ENTRY.command(made.named), "--store", store, "--address", "none", "--format", "json"]
    ran = CliRunner().invoke(app, words)
    assert ran.exit_code == 0, ran.output
    assert {row["run"] for row in json.loads(ran.stdout)["rows"]} == {made.path}


def test_backbones_may_be_called_as_they_were_typed(tmp_path: Path) -> None:
    """By their own names, without the image size that the store adds; two names of one are refused."""
    stored = {f"{name}@64": maps for name, maps in planted({"conv": 4, "vit": 4}).items()}
    store = write_maps(tmp_path / "s.zarr", stored)
    by_key = tuple(cell.replace("=", "@64=") for cell in CELLS)
    named, keyed = (decompose(Selection(store), TwoWayOptions("spectra", cells), LOOP) for cells in (CELLS, by_key))
    assert named.path == keyed.path
    assert [*named.result.attrs["cells"]] == [*stored]
    with pytest.raises(UsageError, match="stands in one cell only"):
        decompose(Selection(store), TwoWayOptions("spectra", (*CELLS[:-1], "conv-labels@64=vit,pixels")), LOOP)


def test_taps_that_leave_a_backbone_out_are_said(tmp_path: Path, store: str) -> None:
    more = write_maps(tmp_path / "more.zarr", planted({"conv": 4, "vit": 4}), taps={"vit-text": ("other", "one")})
    with pytest.raises(UsageError, match="no tap of vit-text fits last") as caught:
        decompose(Selection(more, taps=("last",)), TwoWayOptions("spectra", CELLS), LOOP)
    assert "a --taps for each backbone" in (caught.value.fix or "")
    with pytest.raises(UnknownNameError, match="--of"):
        TwoWayOptions("nothing", CELLS)  # type: ignore[arg-type]


def test_images_count_that_the_measured_layers_have(tmp_path: Path) -> None:
    """A layer that is not read may have fewer."""
    store = write_maps(tmp_path / "s.zarr", planted({"conv": 4, "vit": 4}), first=32)
    assert decompose(Selection(store), TwoWayOptions("spectra", CELLS), LOOP).result.attrs["samples"] == N
    first = decompose(Selection(store, taps=("first",)), TwoWayOptions("spectra", CELLS), LOOP)
    assert first.result.attrs["samples"] == 32


def test_what_is_no_crossing_or_not_there_is_refused(store: str) -> None:
    with pytest.raises(UsageError, match="cells have no backbone"):
        decompose(Selection(store), TwoWayOptions("spectra", CELLS[:-1]), LOOP)
    with pytest.raises(UnknownNameError, match="other"):
        decompose(Selection(store), TwoWayOptions("spectra", (*CELLS[:-1], "other=vit,pixels")), LOOP)
