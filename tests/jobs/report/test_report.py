"""The report of a store: everything is in it, nothing in it can run, and the same store gives the same bytes."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cvbench.cli.app import app
from cvbench.engine.statistics.options import IntervalOptions
from cvbench.errors import DataUnavailableError, IncompleteError, ResourceError
from cvbench.jobs.analyses.cka import CkaOptions, cka
from cvbench.jobs.analyses.silhouette import SilhouetteOptions, silhouette
from cvbench.jobs.analyses.spectra import spectra
from cvbench.jobs.extraction.extract import extract
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.reading.selection import Selection
from cvbench.jobs.report import Report, complete, headings, report
from cvbench.jobs.report.figures import MAX_SVG, picture
from cvbench.jobs.report.finding import finding
from cvbench.jobs.report.interactive import digest, library, script
from cvbench.jobs.report.lines import decimals, lines, number
from cvbench.jobs.report.page import render
from cvbench.jobs.report.tables import written_verdicts
from cvbench.jobs.results.document import csv_text, document, parquet_bytes
from cvbench.jobs.results.row import COLUMNS, DIFFERENCE, Row
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.progress import Advanced, Ended, Event, Note, Started
from cvbench.storage.features import FeatureStore
from cvbench.storage.results.outcomes import list_results
from tests.jobs.images import write_folder
from tests.jobs.report_store import HOSTILE, foreign, put, small_cka, small_silhouette, small_tsne

LOOP = Cluster(address="none")
CLASS = '<img src=x onerror="alert(1)"><script>alert(1)'  # a folder name: no slash
EMPTY = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


class Page(HTMLParser):
    """What a browser would find: elements with attributes, the text outside style sheets and scripts, and these."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if "script" in self.open:
            self.scripts[-1] += data
        elif "style" not in self.open:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]


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


def by_hand(name: str) -> FeatureStore:
    return FeatureStore.open(f"memory://{name}", mode="a")


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


def test_hostile_text_in_a_result_is_only_text(tmp_path: Path) -> None:
    store = by_hand("hostile")
    put(store, small_silhouette({"vit": 1, "cnn": 1}, (HOSTILE, "plain")), "a1")
    put(store, foreign(HOSTILE), "a2")
    put(store, small_tsne({"vit": 1, "cnn": 1}, (HOSTILE, "plain")), "a3")
    html = report(store.url, str(tmp_path)).page.read_text(encoding="utf-8")
    page = Page(html)
    assert page.text.count(HOSTILE) >= 2
    assert sum("type" not in attrs for attrs in page.all("script")) == 2
    blocks = [json.loads(text) for text, attrs in zip(page.scripts, page.all("script"), strict=True) if "type" in attrs]
    assert HOSTILE in json.dumps(blocks, ensure_ascii=False).replace('\\"', '"')
    assert all((attrs["src"] or "").startswith("data:") for attrs in page.all("img"))


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


def test_two_processes_write_the_same_bytes(tmp_path: Path) -> None:
    """The second after another history: other figures, and memory in pieces."""
    store = FeatureStore.open(tmp_path / "store.zarr", mode="a")
    put(store, small_cka({"vit": 3, "cnn": 2}), "a1")
    put(store, small_silhouette({"vit": 1, "cnn": 1}, ("a", "b")), "a2")
    put(store, foreign("x"), "a3")
    one, two = tmp_path / "one", tmp_path / "two"
    report(store.url, str(one))
    code = (
        "import sys; from pathlib import Path; from tests.jobs.figures.test_figures import *\n"
        "from cvbench.jobs.report import report\n"
        "save_figure(panels, [{'a': 1}], Path(sys.argv[2]).parent / 'other' / 'x', ('png', 'svg'))\n"
        "junk = [bytearray(i % 3001) for i in range(30_000)]; del junk[::3]\n"
        "report(sys.argv[1], sys.argv[2])"
    )
    other = {**os.environ, "PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", code, store.url, str(two)], check=True, env=other)
    files = {path.relative_to(one) for path in one.rglob("*") if path.is_file()}
    assert len(files) == 1 + 3 + 2 * 3
    assert {path.relative_to(two) for path in two.rglob("*") if path.is_file()} == files
    for file in files:
        assert (one / file).read_bytes() == (two / file).read_bytes(), file


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


def test_several_data_sets_are_drawn_beside_each_other(tmp_path: Path) -> None:
    store = by_hand("overview")
    for at, dataset in enumerate(("birds", "pets")):
        put(store, small_silhouette({"vit": 1, "cnn": 1}, ("a", "b"), 0.2 * at), "a1", dataset, view="head")
    put(store, small_silhouette({"vit": 3, "cnn": 2}, ("a", "b")), "a2", "pets", view="pooled")
    made = report(store.url, str(tmp_path))
    table = list(csv.DictReader((tmp_path / "figures/silhouette.csv").read_text().splitlines()))
    assert {row["dataset"] for row in table} == {"birds", "pets"}
    assert {row["layer"] for row in table if row["kind"] != "reference"} == {"blocks.0"}, (
        "those of one layer of each backbone"
    )
    assert made.page.read_text(encoding="utf-8").count("<figure") == 4


# What goes wrong


def test_what_no_section_can_read_is_shown_raw_and_said(tmp_path: Path) -> None:
    store = by_hand("raw")
    put(store, small_cka({"vit": 3, "cnn": 2}), "a1")
    unknown = put(store, foreign("of a later version"), "a2")
    older = put(store, replace(foreign("no such layers"), name="spectra"), "a3")
    heard: list[Event] = []
    made = report(store.url, str(tmp_path), heard.append)
    assert made.raw == (older, unknown) or made.raw == (unknown, older)
    page = Page(made.page.read_text(encoding="utf-8"))
    for text in ("Other results", "unheard-of", "amount", "1.500, undefined", "3, 4", "of a later version", "KeyError"):
        assert text in page.text, text
    assert sum(isinstance(event, Note) for event in heard) == 2
    (started,) = (event for event in heard if isinstance(event, Started))
    assert (started.job, started.total) == ("report", 3 + 1 + 2)  # results, analyses that can be read, twins, page
    assert sum(isinstance(event, Advanced) for event in heard) == started.total
    assert isinstance(heard[-1], Ended)
    assert "of layers that the store does not hold (cvbench extract --analyze cka)" in page.text
    assert made.numbers > 0
    with pytest.raises(IncompleteError, match="2 of 3 results") as caught:
        complete(made)
    assert unknown in str(caught.value)


def test_an_empty_store_says_what_to_run_first(store: str, tmp_path: Path) -> None:
    empty = by_hand("empty")
    empty.make()
    with pytest.raises(DataUnavailableError, match="no results") as caught:
        report(empty.url, str(tmp_path / "out"))
    first, then = (f"cvbench {words} --store memory://empty" for words in ("extract --dataset digits", "analyze cka"))
    assert f"{first}  # then {then}" in str(caught.value)
    with pytest.raises(DataUnavailableError, match="no feature store"):
        report(str(tmp_path / "none.zarr"), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "none.zarr").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    store = by_hand("unwritable")
    put(store, small_cka({"vit": 2}), "a1")
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="the report cannot be written") as caught:
        report(store.url, str(tmp_path / "file" / "out"))
    assert str(tmp_path / "file") in str(caught.value)
    assert "--out" in str(caught.value)


def test_a_full_disk_leaves_the_old_report(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: the page is the largest, so it is cut in the middle."""
    store = FeatureStore.open(tmp_path / "store.zarr", mode="a")
    put(store, small_cka({"vit": 3, "cnn": 2}), "a1")
    out = tmp_path / "out"
    report(store.url, str(out))
    (out / "report.html").write_text("the old page")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    put(store, small_cka({"vit": 4, "cnn": 4}), "a2")
    code = (
        "import resource, sys; from cvbench.jobs.report import report\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))\n"
        "try: report(sys.argv[1], sys.argv[2])\n"
        "except Exception as error: print(error.exit_code, error.fix)"
    )
    done = subprocess.run([sys.executable, "-c", code, store.url, str(out)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("6 free space there")
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert not list(out.glob(".report-*"))


def test_what_a_killed_run_left_goes_with_the_next(tmp_path: Path) -> None:
    store = FeatureStore.open(tmp_path / "store.zarr", mode="a")
    put(store, small_cka({"vit": 3, "cnn": 2}), "a1")
    report(store.url, str(tmp_path / "one"))
    code = (
        "import os, signal, sys; from cvbench.jobs import report as module\n"
        "module.render = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "module.report(sys.argv[1], sys.argv[2])"
    )
    done = subprocess.run([sys.executable, "-c", code, store.url, str(tmp_path / "two")])
    assert done.returncode == -9
    assert [path.name[:8] for path in (tmp_path / "two").iterdir()] == [".report-"], "nothing is half there"
    report(store.url, str(tmp_path / "two"))
    trees = [
        {p.relative_to(top): p.read_bytes() for p in top.rglob("*") if p.is_file()} for top in tmp_path.glob("[ot]*")
    ]
    assert trees[0] == trees[1]


# Numbers as text


@pytest.mark.parametrize(
    ("value", "low", "high", "shown", "interval"),
    [
        (0.5, 0.4, 0.6, "0.50", "0.40 to 0.60"),
        (0.12345, 0.1231, 0.1239, "0.12345", "0.12310 to 0.12390"),
        (1234.4, 1200.0, 1300.0, "1,234", "1,200 to 1,300"),
        (0.01, -0.0004, 0.02, "0.010", "-0.0004 to 0.020"),
        (0.5, None, None, "0.500", "none"),
        (None, None, None, "undefined", "none"),
        (1.0, 1.0, 1.0, "1.000", "1.000 to 1.000"),
    ],
)
def test_an_interval_has_two_digits(
    value: float | None, low: float | None, high: float | None, shown: str, interval: str
) -> None:
    row = Row(backbone="vit", metric="m", value=value, low=low, high=high, n=9)
    (line,) = lines([row])
    assert (line.value, line.interval) == (shown, interval)
    assert 0 <= decimals(row) <= 6


def test_marks_of_one_metric_share_a_scale() -> None:
    def row(metric: str, value: float, **columns: Any) -> Row:
        return Row(backbone="vit", metric=metric, value=value, low=value - 1, high=value + 1, n=9, **columns)

    first, second, other, less = lines(
        [row("a", 1.0), row("a", 3.0), row("b", 100.0), row("b", 3.0, kind=DIFFERENCE, backbone_b="cnn")]
    )
    assert (first.bar, first.dot) == ((0.0, 50.0), 25.0)
    assert (second.bar, second.dot) == ((50.0, 100.0), 75.0)
    assert (other.bar, other.dot) == ((0.0, 100.0), 50.0)
    assert (less.bar, less.dot) == ((50.0, 100.0), 75.0), "that of a difference has 0"
    assert (less.subject, less.metric) == ("vit less cnn", "difference of b")


def test_rows_of_several_data_sets_say_which_they_are_of() -> None:
    row = Row(dataset="a", split="test", backbone="n", metric="top1", value=0.5, low=0.4, high=0.6, n=10)
    assert [line.factor for line in lines([row, replace(row, factor="x")])] == ["", "x"]
    assert [line.factor for line in lines([row, replace(row, dataset="b", factor="x")])] == ["a/test", "b/test, x"]
    assert finding([row]) == "n: top1 0.50 [0.40, 0.60]."
    assert finding([row, replace(row, dataset="b")]) == "n: top1 (a) 0.50 [0.40, 0.60]."


def test_a_line_says_what_its_row_says() -> None:
    row = Row(backbone="vit", layer="a", metric="m", factor="f", at=0.25, value=1.0, low=0.5, high=1.5, n=9)
    classes: dict[str, Any] = {
        "class_low": 0.25,
        "class_high": 2.0,
        "class_verdict": "resolved",
        "verdict": "not resolved",
    }
    plain, judged, none = lines([row, replace(row, **classes), replace(row, value=None, note="no grid")])
    assert (plain.subject, plain.factor, plain.over_classes, plain.verdict) == ("vit/a", "f, at 0.25", "", "")
    assert (judged.over_classes, judged.verdict) == ("0.2 to 2.0, resolved", "not resolved")
    assert (none.value, none.factor) == ("undefined", "f, at 0.25, no grid")


def test_small_numbers_do_not_look_like_zero() -> None:
    assert [number(v) for v in (0.0, -0.0, 4e-4, -3e-6, 2e-4)] == ["0.000", "0.000", "0.0004", "-3.0e-06", "0.0002"]


@pytest.mark.parametrize(
    ("names", "who"),
    [
        (["vit@96", "cnn@96"], "vit@96 and cnn@96"),
        (["vit@96", "cnn@96", "vit@128"], "vit and cnn"),
        (["vit@96", "cnn", "mlp", "vit@128"], "3 backbones"),
    ],
)
def test_networks_at_several_sizes_are_counted_once_in_the_title(names: list[str], who: str) -> None:
    assert headings.title(names, []).startswith(f"{who} on ")
