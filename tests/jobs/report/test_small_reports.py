"""Reports of a few results put there by hand: hostile text, several data sets, what cannot be read or written."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from cvbench.errors import DataUnavailableError, IncompleteError, ResourceError
from cvbench.jobs.report import complete, report
from cvbench.jobs.running.progress import Advanced, Ended, Event, Note, Started
from cvbench.storage.features import FeatureStore
from tests.jobs.report.page import Page
from tests.jobs.report_store import HOSTILE, foreign, put, small_cka, small_silhouette, small_tsne


def by_hand(name: str) -> FeatureStore:
    return FeatureStore.open(f"memory://{name}", mode="a")


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


def test_an_empty_store_says_what_to_run_first(tmp_path: Path) -> None:
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
