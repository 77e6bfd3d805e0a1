"""A view of a package installed beside cvbench: extracted, analysed, reported; and what is said where it cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cvbench.cli.app import app
from cvbench.engine.models.views import BUILT_IN, stored_views
from cvbench.jobs.reading.views import view_words
from cvbench.storage.features import FeatureStore, GroupKey
from tests.forks import Start
from tests.plugins.package import MAIN, command, install, python

SOURCE = Path(__file__).with_name("view.py")
POINTS = "[cvbench.views]\nspread = own_views:SPREAD\nnorms = own_views:NORMS\n"
BACKBONE = "test_vit@32"
ASKED = ("-d", "digits", "-m", "test_vit", "--weights", "random", "--image-size", "32", "-b", "16", "--unit", "32")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("beside") / "site"
    return install(folder, "own-views", {"own_views.py": SOURCE.read_text()}, POINTS)


@pytest.fixture(scope="module")
def store(start: Start, package: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """All taken from one pass: 64 samples, 32 of them for the views that --maps limits."""
    url = str(tmp_path_factory.mktemp("views") / "s.zarr")
    views = [word for view in ("maps", "spread", "norms") for word in ("--view", view)]
    sizes = ("--limit", "64", "--maps", "32", "--dtype", "float32")
    done = command(start, package, "extract", *ASKED, *views, *sizes, "--address", "none", "--store", url)
    assert done.returncode == 0, done.stderr
    assert "next:  cvbench analyze cka" in done.stdout
    return url


def rows(store: str, view: str, tap: str = "blocks.0") -> np.ndarray:
    opened = FeatureStore.open(store)
    group = next(group for group in opened.groups() if (group.backbone, group.view) == (BACKBONE, view))
    return opened.layer(group, tap).read(0, 32)


def test_the_file_is_short() -> None:
    assert len(SOURCE.read_text().splitlines()) < 50


def test_what_is_stored_is_what_the_view_computes(store: str) -> None:
    maps = rows(store, "maps").astype(np.float64)
    # Sums of at most 1,024 float32 values: their rounding stays below 1024 * 2**-24 of the largest term.
    np.testing.assert_allclose(rows(store, "spread"), maps.std(axis=(1, 2)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(rows(store, "norms"), np.sqrt((maps**2).sum(axis=3)), rtol=1e-4)


def test_it_is_stored_as_it_says_of_itself(store: str) -> None:
    opened = FeatureStore.open(store)
    found = {info.group.view: info for info in opened.tree() if info.tap == "blocks.0"}
    grid, channels = found["maps"].shape[1:3], found["maps"].shape[3]
    assert (found["spread"].shape[1:], found["norms"].shape[1:]) == ((channels,), grid)
    covered = {view: sum(len(one.unit) for one in opened.commits(info.group)) for view, info in found.items()}
    assert covered == {"maps": 32, "cls": 32, "spread": 64, "norms": 32}
    assert opened.layer(found["norms"].group, "blocks.0").xarray().dims == ("sample", "row", "column")


def test_the_fingerprint_says_whose_code_it_is(store: str) -> None:
    opened = FeatureStore.open(store)
    made = {group.view: opened.fingerprint(group)["fingerprint"] for group in opened.groups()}
    assert (made["spread"]["view_made_by"], made["spread"]["view_version"]) == ("own_views:SPREAD", 1)
    assert (made["norms"]["dtype"], made["norms"]["keep_bits"]) == ("float32", None)
    assert "view_made_by" not in made["maps"]


def test_an_analysis_and_the_report_take_it(start: Start, package: Path, store: str, tmp_path: Path) -> None:
    words = ("analyze", "silhouette", "--view", "spread", "--resamples", "100", "--format", "json", "--store", store)
    done = command(start, package, *words)
    assert done.returncode == 0, done.stderr
    assert '"spread"' in done.stdout
    done = command(start, package, "report", "--store", store, "--out", str(tmp_path / "report"))
    assert done.returncode == 0, done.stderr
    (page,) = (tmp_path / "report").glob("*.html")
    assert "--view spread" in page.read_text()
    again = CliRunner().invoke(
        app, ["report", "--store", store, "--out", str(tmp_path / "again")]
    )  # without the package
    assert again.exit_code == 0, again.output


def test_the_store_is_read_where_the_package_is_not(store: str) -> None:
    done = CliRunner().invoke(app, ["store", "info", "--store", store])
    assert done.exit_code == 0, done.output
    assert f"{BACKBONE}/spread\n" in done.output  # its layers stand below it
    assert "spread" not in stored_views()
    assert view_words({"view": "spread"}) == "view spread"
    done = CliRunner().invoke(app, ["extract", *ASKED, "--view", "spread", "--address", "none", "--store", store])
    assert done.exit_code != 0
    assert "unknown view 'spread'" in str(done.exception)


def test_the_help_lists_it_and_imports_nothing(package: Path, tmp_path: Path) -> None:
    broken = install(
        tmp_path / "site", "broken", {"broken_views.py": "raise RuntimeError"}, POINTS.replace("own", "broken")
    )
    done = python(broken, "extract", "--help", code=MAIN)
    assert done.returncode == 0, done.stderr
    assert "pooled, cls, maps, head, logits, registers, norms or spread" in " ".join(done.stdout.split())


CASES = {
    "it cannot be imported": ("raise RuntimeError('no such luck')", "it = own:IT", "no such luck"),
    "it is no view": ("IT = 1", "it = own:IT", "'it' of cvbench.views is no View"),
    "it has another name": ("{view}", "it = own:SPREAD", "it calls itself 'spread'"),
    "it has a name that is taken": ("{view}", "pooled = own:SPREAD", "a package adds a view 'pooled'"),
    "it gives something else": (
        "{view}\nfrom dataclasses import replace\n"
        "IT = replace(SPREAD, name='it', shape=lambda layout: (layout.channels + 1,))",
        "it = own:IT",
        "the view it gives",
    ),
    "it has more axes than names": (
        "{view}\nfrom dataclasses import replace\nIT = replace(SPREAD, name='it', dims=('row', 'column'))",
        "it = own:IT",
        "gives 1 axes and names 2",
    ),
    "no tap has it": (
        "{view}\nfrom dataclasses import replace\nIT = replace(SPREAD, name='it', needs=lambda layout: False)",
        "it = own:IT",
        "no tap of test_vit@32 has a grid",
    ),
}
# One process tries all: each package is put on the path, asked for, and taken away.
TRIED = """
import json, sys
from cvbench.cli.app import app
from cvbench.engine.models import views
from cvbench.plugins import plugins
from typer.testing import CliRunner
said = {}
for site, words in json.loads(sys.argv[1]):
    sys.path.insert(0, site)
    plugins.cache_clear(); views.find_view.cache_clear(); sys.modules.pop("own", None)
    said[site] = str(CliRunner().invoke(app, words).exception)
    sys.path.remove(site)
print(json.dumps(said))
"""


def test_what_cannot_be_used_is_said(tmp_path: Path) -> None:
    tried = {}
    for at, (case, (source, point, _)) in enumerate(CASES.items()):
        text = source.replace("{view}", SOURCE.read_text())
        site = install(tmp_path / f"site{at}", f"own-{at}", {"own.py": text}, f"[cvbench.views]\n{point}\n")
        name = point.partition(" ")[0]
        store = str(tmp_path / f"s{at}.zarr")
        words = ["extract", *ASKED, "--limit", "32", "--view", name, "--address", "none", "--store", store]
        tried[case] = (str(site), words)
    done = python(tmp_path, json.dumps(list(tried.values())), code=TRIED)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    for case, (_, _, expected) in CASES.items():
        assert expected in said[tried[case][0]], case


def test_two_packages_with_the_same_view_are_refused(tmp_path: Path) -> None:
    site = tmp_path / "site"
    for name in ("one", "two"):
        install(site, name, {f"{name}.py": SOURCE.read_text()}, f"[cvbench.views]\nspread = {name}:SPREAD\n")
    code = "from cvbench.engine.models.views import find_view; find_view('spread')"
    done = python(site, code=code)
    assert "several packages add 'spread'" in done.stderr
    assert "one:SPREAD of one 1.0, two:SPREAD of two 1.0" in done.stderr


def test_without_packages_the_views_are_these() -> None:
    assert stored_views() == tuple(BUILT_IN) == ("pooled", "cls", "maps", "head", "logits", "registers")
    assert GroupKey("digits", "all", BACKBONE, "spread").path.endswith("/spread")
