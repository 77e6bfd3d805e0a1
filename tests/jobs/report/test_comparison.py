"""Two stores side by side: the same rows, their difference, and both tables of claims."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cvbench.cli.app import app
from cvbench.errors import DataUnavailableError
from cvbench.jobs.report.comparison import compare
from cvbench.storage.features import FeatureStore
from tests.jobs.report.page import Page
from tests.jobs.report_store import put, small_cka, small_silhouette

PAIR = {"convnext_tiny": 3, "vit_small": 2}


def stores(name: str) -> tuple[str, str]:
    """The second has one layer more, another silhouette, and a data set of its own."""
    one, two = (FeatureStore.open(f"memory://compare-{name}-{side}", mode="a") for side in ("one", "two"))
    put(one, small_cka(PAIR), "a1", view="maps")
    put(two, small_cka({**PAIR, "vit_small": 3}), "a9", view="maps")
    names = dict.fromkeys(PAIR, 1)
    put(one, small_silhouette(names, ("a", "b"), 0.1), "b1")
    put(two, small_silhouette(names, ("a", "b"), 0.4), "b2")
    put(two, small_silhouette(names, ("a", "b")), "b3", "pets")
    return one.url, two.url


def test_the_same_numbers_stand_side_by_side(tmp_path: Path) -> None:
    made = compare(*stores("rows"), str(tmp_path))
    rows = list(csv.DictReader(made.table.read_text(encoding="utf-8").splitlines()))
    both = [row for row in rows if row["value_first"] and row["value_second"]]
    assert (len(rows), len(both)) == (made.both + made.first_only + made.second_only, made.both)
    for row in both:
        assert float(row["difference"]) == float(row["value_second"]) - float(row["value_first"])
    assert {row["dataset"] for row in rows if not row["value_first"]} == {"birds", "pets"}
    (found,) = (
        row
        for row in both
        if (row["metric"], row["backbone"]) == ("silhouette, mean over samples", "vit_small")
        and row["factor"].startswith("euclidean")
        and row["kind"] == "value"
    )
    assert float(found["difference"]) > 0.2
    assert found["apart"] == "True"
    pair = [row for row in rows if row["layer_b"] == "blocks.2" and row["backbone_b"] == "vit_small"]
    assert pair
    assert {row["value_first"] for row in pair} == {""}, "the first store has no such layer"


def test_the_page_has_both_tables_of_claims_and_runs_nothing(tmp_path: Path) -> None:
    urls = stores("page")
    html = compare(*urls, str(tmp_path)).page.read_text(encoding="utf-8")
    page = Page(html)
    assert not page.all("script")
    assert "script-src" not in html
    assert all(url in page.text for url in urls)
    claims = html.partition('<section id="claims">')[2].partition("</section>")[0]
    assert len(re.findall(r'<th scope="col">', claims)) == 3
    assert len(re.findall(r'class="verdict [\w-]+"', claims)) >= 2
    assert "A difference between two stores has no interval" in page.text
    ids = {attrs["id"] for _, attrs in page.elements if "id" in attrs}
    assert {(attrs["href"] or "")[1:] for attrs in page.all("a") if (attrs["href"] or "").startswith("#")} <= ids


def test_a_store_with_itself_has_no_difference(tmp_path: Path) -> None:
    one, _ = stores("same")
    made = compare(one, one, str(tmp_path))
    assert (made.first_only, made.second_only) == (0, 0)
    rows = csv.DictReader(made.table.read_text(encoding="utf-8").splitlines())
    assert {row["difference"] for row in rows} <= {"0.0", ""}


def test_as_it_is_typed(tmp_path: Path) -> None:
    one, two = stores("typed")
    typed = ["report", "--store", one, "--compare", two, "--out", str(tmp_path)]
    done = CliRunner().invoke(app, [*typed, "--format", "json"])
    made = json.loads(done.stdout)
    assert Path(made["page"]).is_file()
    assert made["second_only"] > 0
    assert not (tmp_path / "report.html").exists()
    refused = CliRunner().invoke(app, [*typed, "--pdf"])
    assert "--compare has no figures" in str(refused.exception)
    with pytest.raises(DataUnavailableError, match="no feature store"):
        compare(one, str(tmp_path / "none.zarr"), str(tmp_path))
