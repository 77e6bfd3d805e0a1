"""An analysis in a package beside cvbench: installed as one, found by every command, and never in the way of others."""

from __future__ import annotations

import inspect
import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from cvbench import analyze
from cvbench.api.entries import call_of, function
from cvbench.cli.app import app
from cvbench.cli.entries import _warn_of_plugins
from cvbench.errors import IncompleteError, UsageError
from cvbench.jobs.registry import entry_of, find_live, places, plugins
from cvbench.jobs.results.entry import Entry
from cvbench.plugins import plugins as added
from cvbench.storage.features import FeatureStore
from tests.forks import Start
from tests.jobs.images import write_folder
from tests.plugins.package import Done

ANALYSIS = Path(__file__).with_name("positive.py")


def install(site: Path, package: str, points: dict[str, str], summary: str = "") -> None:
    """What an installer leaves of a package that declares these entry points."""
    info = site / f"{package}-1.0.dist-info"
    info.mkdir(parents=True)
    said = f"Summary: {summary}\n" if summary else ""
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n{said}")
    lines = [f"{name} = {place}" for name, place in points.items()]
    (info / "entry_points.txt").write_text("\n".join(["[cvbench.analyses]", *lines]) + "\n")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder for packages, with the analysis in one; others cannot be imported, or claim names that are taken."""
    folder = tmp_path / "site"
    install(folder, "positive", {"positive": "positive_analysis:ENTRY"}, "Shares of positive activations.")
    shutil.copy(ANALYSIS, folder / "positive_analysis.py")
    install(folder, "broken", {"broken": "no_such_module:ENTRY", "another": "positive_analysis:ENTRY"})
    install(folder, "clash", {"cka": "positive_analysis:ENTRY", "twice": "positive_analysis:ENTRY"})
    install(folder, "other", {"twice": "json:loads"})
    return folder


def cvbench(start: Start, site: Path, *words: str) -> Done:
    paths = [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
    process = start(words, {"PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "200"})
    out, err = process.communicate(300)
    return Done(process.returncode, out, err)


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The packages, for commands in this process."""
    monkeypatch.syspath_prepend(site)
    monkeypatch.delitem(sys.modules, "positive_analysis", raising=False)
    monkeypatch.setattr("cvbench.cli.entries._warn_of_plugins", _warn_of_plugins.__wrapped__)  # said once a process
    added.cache_clear()
    yield site
    added.cache_clear()


def here(*words: str) -> Result:
    return CliRunner().invoke(app, words)


def commands_of(page: str) -> list[str]:
    """The commands that a page shows, without their marks."""
    return [re.sub("<.*?>", "", found) for found in re.findall(r"<pre><code>(.*?)</code></pre>", page, re.DOTALL)]


def test_extract_analyze_and_report_find_it(
    start: Start, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, store = write_folder(tmp_path / "pets", 16), str(tmp_path / "s.zarr")
    sizes = ("--weights", "random", "--image-size", "64", "--batch-size", "8", "--unit", "8")
    taps = ("--taps", "blocks.0", "--taps", "blocks.5")
    made = ("--dataset", f"folder:{images}", "--backbone", "test_vit", "--address", "none", *sizes, *taps)
    shown = ("--address", "none", "--format", "json")
    done = cvbench(start, site, "extract", *made, "--store", store, "--analyze", "positive,spectra")
    assert done.returncode == 0, done.stderr
    done = cvbench(start, site, "analyze", "positive", "--store", store, *shown)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert {row["metric"] for row in rows} == {"positive share"}
    report = cvbench(start, site, "report", "--store", store, "--out", str(tmp_path / "report"), "--format", "json")
    assert report.returncode == 0, report.stderr
    assert json.loads(report.stdout)["raw"] == []
    page = (tmp_path / "report" / "report.html").read_text()
    assert "Positive activations" in page
    (shown_command,) = (text for text in commands_of(page) if " analyze positive " in text)

    gone = here("report", "--store", store, "--out", str(tmp_path / "report"))  # not installed here: raw, and said
    assert isinstance(gone.exception, IncompleteError)
    assert "positive" in str(gone.exception.where)
    monkeypatch.syspath_prepend(site)
    added.cache_clear()
    maps = str(tmp_path / "maps.zarr")
    assert here("extract", *made, "--store", maps, "--view", "maps", "--maps", "all").exit_code == 0
    stored = here("analyze", "positive", "--store", maps, *shown)
    assert stored.exit_code == 0, stored.output
    assert [row["value"] for row in json.loads(stored.stdout)["rows"]] == [row["value"] for row in rows]
    opened = FeatureStore.open(maps)
    group = next(group for group in opened.groups() if group.view == "maps")
    first = opened.layer(group, "blocks.0").read(0, 16).astype(np.float64)
    row = next(row for row in rows if row["layer"] == "blocks.0")
    assert row["value"] == pytest.approx((first > 0).mean(), rel=1e-12)
    again = here(*shlex.split(shown_command)[1:], "--address", "none")  # what the page says makes the same result
    assert f"result: {json.loads(done.stdout)['results'][0]['run']} in the store" in again.stdout


@pytest.mark.usefixtures("installed")
def test_the_list_of_commands_names_it_and_what_is_not_used() -> None:
    done = here("analyze", "--help")
    assert done.exit_code == 0, done.output
    assert "Shares of positive activations (positive 1.0)" in done.stdout
    assert "broken (broken 1.0)" in done.stdout
    assert "positive_analysis" not in sys.modules  # nothing is imported for the list
    assert "the analysis 'cka' of clash 1.0 is not used: cvbench has one of this name" in done.stderr
    assert "the analysis 'twice' is not used: clash 1.0 and other 1.0 both have one of this name" in done.stderr
    assert here("--help").stderr == ""  # the first page asks no package


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("name", "words"),
    [("broken", ["broken 1.0", "ModuleNotFoundError"]), ("another", ["broken 1.0", "calls itself 'positive'"])],
)
def test_one_that_cannot_be_used_is_named(name: str, words: list[str]) -> None:
    for command in (("analyze", name), ("extract", "--dataset", "digits", "--analyze", name, "--address", "none")):
        done = here(*command)
        assert isinstance(done.exception, UsageError), done.output
        error = done.exception
        assert all(word in f"{error} {error.where} {error.why}" for word in words)


@pytest.mark.usefixtures("installed")
def test_the_registry_keeps_its_own() -> None:
    found = plugins()
    assert sorted(found.found) == ["another", "broken", "positive"]
    assert len(found.problems) == 2
    own = entry_of("cka")
    assert own is not None
    assert own.title == "Layerwise similarity: linear CKA"
    assert list(places("analyze"))[-3:] == ["another", "broken", "positive"]
    assert "positive" not in places("eval")
    assert isinstance(entry_of("positive"), Entry)
    assert list(find_live(["positive", "cka"])) == ["positive", "cka"]
    with pytest.raises(UsageError, match=r"'broken' of cvbench\.analyses cannot be imported"):
        entry_of("broken")
    assert entry_of("twice") is None


def test_a_study_has_it_and_says_which_cannot_be_imported(start: Start, site: Path, tmp_path: Path) -> None:
    study = tmp_path / "study.yaml"
    text = (
        f"store: {tmp_path}/study.zarr\naddress: none\nbackbones: [{{model: test_vit, weights: random}}]\n"
        "datasets: [{dataset: digits, limit: 8}]\n"
        "extract: {image_size: 32, unit: 8, batch_size: 8, view: maps}\n"
        f"report: {{out: {tmp_path}/report}}\nanalyses:\n  - positive: {{taps: blocks.0}}\n"
    )
    study.write_text(text)
    done = cvbench(start, site, "run", str(study), "--format", "json")
    assert done.returncode == 0, done.stderr
    steps = json.loads(done.stdout)["steps"]
    assert [step["name"] for step in steps] == ["extract digits/all", "analyze positive digits/all", "report"]
    assert "--taps blocks.0" in steps[1]["command"]
    told = json.loads(cvbench(start, site, "status", str(study), "--format", "json").stdout)["steps"]
    assert [step["state"] for step in told] == ["done"] * 3

    study.write_text(text + "  - broken\n  - positiv\n")
    done = cvbench(start, site, "status", str(study))
    assert done.returncode == 2
    assert "study.yaml:9" in done.stderr
    assert "no_such_module" in done.stderr
    assert "did you mean positive" in done.stderr


def test_the_python_api_has_it(installed: Path) -> None:
    """Those that cannot be imported are there too, harm no other, and say why when they are called."""
    function.cache_clear()
    call_of.cache_clear()
    members = dict(inspect.getmembers(analyze, callable))
    assert {"cka", "positive", "broken"} <= {*members}
    assert next(iter(inspect.signature(members["positive"]).parameters)) == "store"
    assert str(inspect.getdoc(members["positive"])).startswith("Shares of positive activations (positive 1.0)")
    with pytest.raises(UsageError, match=r"'broken' of cvbench\.analyses cannot be imported"):
        analyze.broken()
