"""The report of a store: everything is in it, and nothing in it can run."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cvbench.cli.app import app
from cvbench.engine.statistics.options import IntervalOptions
from cvbench.jobs.analyses.cka import CkaOptions, cka
from cvbench.jobs.analyses.silhouette import SilhouetteOptions, silhouette
from cvbench.jobs.analyses.spectra import spectra
from cvbench.jobs.extraction.extract import extract
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.reading.selection import Selection
from cvbench.jobs.report import Report, complete, report
from cvbench.jobs.report.figures import MAX_SVG, picture
from cvbench.jobs.report.interactive import digest, library, script
from cvbench.jobs.report.page import render
from cvbench.jobs.report.tables import written_verdicts
from cvbench.jobs.results.document import csv_text, document, parquet_bytes
from cvbench.jobs.results.row import COLUMNS, Row
from cvbench.jobs.running.cluster import Cluster
from cvbench.storage.features import FeatureStore
from cvbench.storage.results.outcomes import list_results
from tests.jobs.images import write_folder
from tests.jobs.report.page import Page

LOOP = Cluster(address="none")
CLASS = '<img src=x onerror="alert(1)"><script>alert(1)'  # a folder name: no slash


def extract_options(folder: Path, limit: int | None) -> ExtractOptions:
    return ExtractOptions(
        dataset=f"folder:{folder / 'pets'}",
        backbones=("test_vit", "test_convnext"),
        store=str(folder / "store.zarr"),
        weights=("random",),
        taps=("blocks.0", "blocks.5", "stages.[13].blocks.?"),
        views=("pooled", "maps", "head"),
        limit=limit,
        batch_size=8,
        unit=16,
        image_size=64,
        max_unreadable=0.1,
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Three analyses of 32 images of 2 classes, one unreadable; one result is of the first 16 only."""
    folder = tmp_path_factory.mktemp("report")
    write_folder(folder / "pets", 32, broken=(9,))
    (folder / "pets/class-0").rename(folder / "pets" / CLASS)
    extract(extract_options(folder, 16), LOOP)
    url = str(folder / "store.zarr")
    cka(Selection(url, taps=("blocks.*", "stages.1.*")), CkaOptions(batch=4), LOOP)
    extract(extract_options(folder, None), LOOP)
    cka(Selection(url), CkaOptions(batch=8), LOOP)
    spectra(Selection(url), IntervalOptions(resamples=50), LOOP)
    metrics = SilhouetteOptions(("euclidean", "cosine"))
    silhouette([Selection(url, view="head")], metrics, spaces=("features", "standardised"))
    return url


@pytest.fixture(scope="module")
def made(store: str, tmp_path_factory: pytest.TempPathFactory) -> Report:
    return report(store, str(tmp_path_factory.mktemp("out") / "deep" / "report"))


@pytest.fixture(scope="module")
def html(made: Report) -> str:
    return made.page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


@pytest.fixture(scope="module")
def rows(made: Report) -> list[dict[str, str]]:
    return list(csv.DictReader((made.page.parent / "results.csv").read_text(encoding="utf-8").splitlines()))


# What is in it


def test_every_result_is_in_the_page_with_its_numbers_and_figure(
    store: str, made: Report, page: Page, rows: list[dict[str, str]]
) -> None:
    keys = list_results(FeatureStore.open(store))
    assert len(keys) == made.results == len(page.all("article")) == 5
    assert made.raw == ()
    assert len(rows) == made.numbers
    for key in keys:
        assert key.path in page.text
        assert f"{key.analysis}-{key.dataset}-{key.split}-{key.digest[:8]}" in {a["id"] for a in page.all("article")}
        assert any(row["run"] == key.path for row in rows)
    assert len(page.all("figure")) == 5 + 1  # both spaces side by side
    assert {path.suffix for path in made.figures} == {".svg", ".png", ".csv"}
    assert all(path.stat().st_size for path in made.figures)
    complete(made)


def test_the_contents_lead_to_every_part(page: Page) -> None:
    ids = Counter(attrs["id"] for _, attrs in page.elements if "id" in attrs)
    assert set(ids.values()) == {1}
    targets = {href[1:] for attrs in page.all("a") if (href := attrs["href"] or "").startswith("#")}
    assert {attrs["id"] for tag in ("section", "article") for attrs in page.all(tag)} <= targets
    assert targets <= ids.keys()
    assert page.open == []


def test_results_of_one_data_set_are_told_apart_by_what_differs(html: str) -> None:
    headings = re.findall(r"<article[^>]*>\s*<h3>(.*?)</h3>", html)
    assert len(set(headings)) == 5
    assert all(heading.startswith("folder-pets / all · ") for heading in headings)
    told = {heading.removeprefix("folder-pets / all · ") for heading in headings}
    assert told == {
        *("batch size 8 · 6 layers", "batch size 4 · 4 layers", "6 layers"),
        *("space features · layer head", "space features standardised · layer head"),
    }


def test_it_says_where_the_numbers_come_from(store: str, page: Page) -> None:
    opened = FeatureStore.open(store)
    said = [opened.split("folder-pets", "all").dataset_digest, store, "not recorded"]
    fingerprints = [opened.fingerprint(group)["fingerprint"] for group in opened.groups()]
    said[2:] = sorted({made["weights_digest"] for made in fingerprints})
    assert len(said) == 4
    (versions,) = {json.dumps(dict(commit.provenance)) for group in opened.groups() for commit in opened.commits(group)}
    said += [value for name, value in json.loads(versions).items() if name != "device"]
    for text in [*said, "interpolation", "Unreadable samples of folder-pets/all", "009.png"]:
        assert text in page.text, text


def test_a_result_of_fewer_samples_than_the_store_has_is_marked(html: str) -> None:
    notes = re.findall(r'<p class="note">(.*?)</p>', html)
    assert [note for note in notes if "this result is of 16" in note] == [
        note for note in notes if "the store now has 32 samples" in note
    ]
    assert sum("the store now has" in note for note in notes) == 1


def test_the_shown_command_makes_the_same_result(store: str, html: str, tmp_path: Path) -> None:
    copy = str(shutil.copytree(store, tmp_path / "copy.zarr"))
    before = list_results(FeatureStore.open(copy))
    articles = re.findall(r'<article id="([^"]*)">.*?<pre><code>(.*?)</code></pre>', html, flags=re.DOTALL)
    assert len(articles) == 5
    for name, marked in articles:
        words = shlex.split(re.sub("<.*?>", "", marked).replace(store, copy))
        assert words[:2] == ["cvbench", "analyze"]
        done = CliRunner().invoke(app, [*words[1:], "--address", "none"])
        assert done.exit_code == 0, done.output
        added = {*list_results(FeatureStore.open(copy))} - {*before}
        if words[words.index("--cka-batch") + 1 if "--cka-batch" in words else 0] != "4":
            assert re.search(rf"result: results/\S*/{name.rpartition('-')[2]}", done.stdout), done.stdout
            assert added == set()
            continue
        # That of the first 16 samples, which the store has more of now, and of some layers.
        (key,) = added
        assert key.path in done.stdout
        assert words.count("--taps") == 4
        before.append(key)


def test_the_shown_extraction_finds_everything_there(store: str, html: str, tmp_path: Path) -> None:
    copy = str(shutil.copytree(store, tmp_path / "copy.zarr"))
    (marked,) = re.findall(r"are made again by.*?<pre><code>(.*?)</code></pre>", html, flags=re.DOTALL)
    words = shlex.split(re.sub("<.*?>", "", marked).replace(store, copy))
    assert words[:4] == ["cvbench", "extract", "--dataset", f"folder:{Path(store).parent / 'pets'}"]
    done = CliRunner().invoke(app, [*words[1:], "--address", "none", "--max-unreadable", "1"])
    assert done.exit_code == 0, done.output
    assert "nothing to do" in done.stdout, done.output


def test_parts_stand_in_the_order_of_the_studys_figures_and_say_which(page: Page, html: str) -> None:
    headings = re.findall(r"<section id=[^>]*>\s*<h2>(.*?)</h2>", html)
    places = [found[1] for heading in headings if (found := re.match(r"<span[^>]*>(.*?)</span>", heading))]
    assert places == ["Figure 5", "Figure 6", "Table 1"]
    assert "Key numbers" not in page.text


def test_a_table_says_what_it_counts_and_folds_what_is_long(page: Page, html: str) -> None:
    cka = html.partition('<section id="cka">')[2].partition("</section>")[0]
    assert '<th scope="col" class="n">batches</th>' in cka
    assert 'data-label="batches"' in cka
    for table in re.findall(r'<table class="numbers">.*?</table>', html, flags=re.DOTALL):
        assert len(re.findall("<tr", table)) - 1 <= 80
    for article in re.findall(r"<article.*?</article>", html, flags=re.DOTALL):
        first = article.partition('<table class="numbers">')[2].partition("</table>")[0]
        assert len(re.findall("<tr(?! id)", first)) - 1 <= 15


# What it is made of


def test_only_the_library_and_its_own_script_run_and_nothing_is_loaded(page: Page) -> None:
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"iframe", "object", "embed", "link", "base", "form", "video", "audio"}
    names = {name for _, attrs in page.elements for name in attrs}
    assert not {name for name in names if name.startswith("on")}
    assert "style" not in names
    for attrs in page.all("img"):
        assert (attrs["src"] or "").startswith(("data:image/svg+xml;base64,", "data:image/png;base64,"))
        assert attrs["alt"]
    for attrs in page.all("a"):
        assert re.match(r"#|results\.|figures", attrs["href"] or ""), attrs
    (policy,) = (attrs["content"] or "" for attrs in page.all("meta") if "http-equiv" in attrs)
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    kinds = [attrs.get("type") for attrs in page.all("script")]
    running = [text for text, kind in zip(page.scripts, kinds, strict=True) if kind is None]
    assert running == [library(), script()]
    allowed = policy.partition("script-src ")[2].partition(";")[0]
    assert allowed.split() == [digest(text) for text in running], "no 'unsafe-eval', no 'unsafe-inline', no other place"
    assert set(kinds) == {None, "application/json"}
    for text, kind in zip(page.scripts, kinds, strict=True):
        assert "<" not in text or kind is None
        assert kind is None or json.loads(text)
    assert all(set(attrs) <= {"type", "id"} for attrs in page.all("script"))


def test_a_class_with_a_hostile_name_is_only_text(page: Page, html: str) -> None:
    assert CLASS in page.text
    assert CLASS not in html


def test_the_three_tables_say_the_same(made: Report, rows: list[dict[str, str]]) -> None:
    import pyarrow.parquet as pq

    parquet, _, document = made.tables
    table = pq.read_table(parquet)
    listed = table.to_pylist()
    loaded = json.loads(document.read_text(encoding="utf-8"))
    assert list(loaded) == ["schema_version", "rows", "results", "claims"]
    assert (loaded["schema_version"], loaded["rows"]) == (2, listed)
    assert [one["run"] for one in loaded["results"]] == list(dict.fromkeys(row["run"] for row in listed))
    assert tuple(table.column_names) == tuple(rows[0]) == COLUMNS
    assert [{name: "" if value is None else str(value) for name, value in row.items()} for row in listed] == rows
    assert {str(table.schema.field(name).type) for name in ("value", "low", "high")} == {"double"}
    for row in listed:
        assert row["value"] is None or row["low"] is None or row["low"] <= row["high"]
        assert row["n"] >= 1 or row["value"] is None or row["kind"] == "reference"
    counted = [row for row in listed if row["kind"] != "reference"]
    assert {row["n"] + row["n_failed"] for row in counted if row["analysis"] == "spectra"} == {32}
    assert {row["n_failed"] for row in counted if row["analysis"] == "silhouette"} == {1}


def test_an_undefined_number_and_a_formula_in_the_tables() -> None:
    row = Row("results/x", dataset="d", split="s", backbone="-2", metric="=1+1", factor="-2+3", n=3, n_failed=1)
    cells = dict(zip(COLUMNS, csv_text([row]).splitlines()[1].split(","), strict=True))
    told = {"run": "results/x", "dataset": "d", "split": "s", "backbone": "-2", "metric": "'=1+1", "factor": "'-2+3"}
    assert {name: cell for name, cell in cells.items() if cell} == {**told, "kind": "value", "n": "3", "n_failed": "1"}
    assert document([], [row])["rows"] == [asdict(row)]
    import pyarrow as pa
    import pyarrow.parquet as pq

    assert pq.read_table(pa.BufferReader(parquet_bytes([row]))).to_pylist() == [asdict(row)]


def test_a_large_drawing_is_carried_as_pixels(tmp_path: Path, made: Report) -> None:
    png = next(path for path in made.figures if path.suffix == ".png")
    small, large = tmp_path / "small.svg", tmp_path / "large.svg"
    small.write_text("<svg/>")
    large.write_text("<svg/>" + " " * MAX_SVG)
    assert picture([small, png], "x").source.startswith("data:image/svg+xml;")
    shown = picture([large, png], "x")
    assert shown.source.startswith("data:image/png;")
    assert ("svg", "figures/large.svg") in shown.files
    assert 200 < shown.width < 3000
    assert 100 < shown.height < 3000


def test_the_page_is_rendered_once_unless_its_figures_are_too_large(
    store: str, html: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered: list[int] = []

    def counted(*given: Any) -> str:
        rendered.append(1)
        return render(*given)

    monkeypatch.setattr("cvbench.jobs.report.render", counted)
    assert report(store, str(tmp_path / "whole")).page.read_text(encoding="utf-8") == html
    assert len(rendered) == 1
    most = len(html.encode()) - 1000
    monkeypatch.setattr("cvbench.jobs.report.MOST_BYTES", most)
    made = report(store, str(tmp_path / "fitted"))
    assert made.page.stat().st_size <= most
    assert len(rendered) == 4  # whole, with links alone, and with the figures that fit


def test_the_verdicts_of_a_report_are_read_from_its_table(made: Report, tmp_path: Path) -> None:
    claims = json.loads((made.page.parent / "results.json").read_text(encoding="utf-8"))["claims"]
    assert written_verdicts(made.page.parent) == [one["verdict"] for one in claims]
    assert "not run" in written_verdicts(made.page.parent)
    (tmp_path / "results.json").write_text('{"rows": []}')
    assert written_verdicts(tmp_path) == written_verdicts(tmp_path / "nowhere") == []
