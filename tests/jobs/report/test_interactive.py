"""The interactive figures as data: all numbers of the result, a bounded page, nothing that markup could end."""

from __future__ import annotations

import json
import math
import string
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cvbench.jobs.analyses.cka import ENTRY
from cvbench.jobs.claims.published import study_places
from cvbench.jobs.figures.charts.base import columns_of, packed
from cvbench.jobs.figures.charts.cka import cka_chart
from cvbench.jobs.figures.charts.tsne import MOST_POINTS, tsne_chart
from cvbench.jobs.registry import ENTRIES, entry_of
from cvbench.jobs.report import report
from cvbench.jobs.report.collect import collect
from cvbench.jobs.report.figures import MOST_BYTES, Picture, fit
from cvbench.jobs.report.finding import finding
from cvbench.jobs.report.interactive import interactive_forms, library, script_json
from cvbench.jobs.report.thumbnails import sheet_of
from cvbench.jobs.results.question import Question
from cvbench.jobs.results.row import DIFFERENCE, VALUE, Row
from cvbench.storage.features import FeatureStore
from tests.jobs.report_store import HOSTILE, put, small_cka, small_tsne

MOST_PAGE = MOST_BYTES


def test_every_pair_of_layers_is_in_its_panel() -> None:
    result = small_cka({"vit": 3, "cnn": 2})
    twin = cka_chart(result, ENTRY.rows_of(result))
    assert [panel.rows for panel in twin.panels] == [9, 4, 6]
    cross = twin.panels[2].columns
    for i in range(6):
        at = cross["y"][i], 3 + cross["x"][i]
        for column, name in (("cka", "cka"), ("low", "low"), ("high", "high")):
            assert cross[column][i] == result.data[name][1][at]
        assert (cross["row"][i], cross["column"][i]) == (f"blocks.{cross['y'][i]}", f"blocks.{cross['x'][i]}")


def test_columns_keep_what_they_say() -> None:
    assert packed([1.0, math.nan, math.inf, -0.000123456789]) == [1, None, None, -0.000123457]
    found = packed(["b", "bell\x07", "b"])
    assert [found["levels"][code] for code in found["codes"]] == ["b", "bell\\x07", "b"]
    assert columns_of([{"x": 2}, {"x": 3}]) == {"i": [0, 1], "x": [2, 3]}


def test_no_name_ends_its_block() -> None:
    value = {"name": [HOSTILE, "<!--<script>", "]]>", "\u2028", "&lt;"]}
    text = script_json(value)
    assert not set(text) & set("<>&\u2028")
    assert json.loads(text) == value


def test_the_library_holds_an_interpreter_and_asks_for_nothing() -> None:
    text = library()
    assert "expressionInterpreter" in text
    assert "</script" not in text.lower()
    assert "<!--" not in text
    assert len(text) < 1_200_000


def test_more_points_than_a_page_holds_are_thinned_and_it_is_said() -> None:
    n = 12_000
    result = small_tsne({"vit": 3, "cnn": 2}, ("a", "b"), n)
    result.attrs.update(dataset="d", split="s")
    twin = tsne_chart(result, ())
    assert len(twin.panels) == 2, "the last layers"
    assert twin.rows <= MOST_POINTS
    assert "One of 2 points is shown" in twin.about
    assert "The static figure has all layers." in twin.about


def test_a_chart_too_many_is_left_out_and_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FeatureStore.open("memory://room", mode="a")
    put(store, small_cka({"vit": 12, "cnn": 12}), "a1")
    put(store, small_cka({"vit": 2}), "a2")
    monkeypatch.setattr("cvbench.jobs.report.interactive.MOST_BYTES", 9_000)
    found = interactive_forms(collect(store, "s"), store).figures
    assert sorted(bool(one.id) for one in found.values()) == [False, True]
    (left,) = (one for one in found.values() if not one.id)
    assert "is left out" in left.about
    assert left.about in report(store.url, str(tmp_path)).page.read_text(encoding="utf-8")


def test_figures_beyond_the_room_become_pixels_then_links() -> None:
    def drawn(size: int, smaller: int) -> Picture:
        return Picture("d" * size, "x", 100, 80, (), "p" * smaller)

    pictures = {"a": drawn(9000, 1000), "b": drawn(900, 0), "c": None}
    assert fit(pictures, 9900) == pictures
    fitted = fit(pictures, 9899)
    assert fitted["a"] is not None
    assert fitted["a"].source == "p" * 1000, "the largest first"
    assert fitted["b"] == pictures["b"]
    gone = fit({"a": drawn(9000, 0), "b": drawn(900, 0)}, 9899)
    assert [one.source for one in gone.values() if one] == ["", "d" * 900]
    assert [one.source for one in fit(pictures, -1).values() if one] == ["", ""], "all else has taken the room"


def test_figures_have_the_room_that_all_else_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FeatureStore.open("memory://full", mode="a")
    for k in range(3):
        put(store, small_cka({"vit": 6, "cnn": 6}), f"a{k}", seed_of=k)

    def size(most: int) -> int:
        monkeypatch.setattr("cvbench.jobs.report.MOST_BYTES", most)
        return report(store.url, str(tmp_path)).page.stat().st_size

    whole, bare = size(MOST_PAGE), size(0)
    assert bare < whole <= MOST_PAGE
    between = (bare + whole) // 2
    assert bare < size(between) <= between
    assert size(2 * whole) == whole


def test_a_page_of_many_results_stays_below_its_size(tmp_path: Path) -> None:
    store = FeatureStore.open("memory://large", mode="a")
    for k in range(6):
        put(store, small_cka({"convnext_base.fb_in22k": 36, "vit_base": 12}), f"a{k}", seed_of=k)
    assert report(store.url, str(tmp_path)).page.stat().st_size < MOST_PAGE


def test_results_that_stand_together_have_no_form_of_their_own() -> None:
    store = FeatureStore.open("memory://together", mode="a")
    for digest in ("a1", "a2", "a3"):
        put(store, small_cka({"vit": 3, "cnn": 2}), digest)
    entry = replace(ENTRY, charts=lambda results, rows: cka_chart(results[0], rows), charted=lambda found: found[:2])
    items = [replace(item, entry=entry) for item in collect(store, "x")]
    forms = interactive_forms(items, store)
    assert [*forms.figures] == ["cka", items[2].name]
    assert forms.joint == {items[0].name, items[1].name}


def row(value: float, **columns: Any) -> Row:
    ends = {"low": value - 0.1, "high": value + 0.1, "n": 50}
    return Row(backbone="a", backbone_b="b", kind=DIFFERENCE, value=value, **{"metric": "top1", **ends, **columns})


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([row(0.05, verdict="not resolved")], "a and b differ in top1 by 0.05 [-0.05, 0.15]: not resolved."),
        ([row(-0.05, verdict="not resolved")], "b and a differ in top1 by 0.05 [-0.05, 0.15]: not resolved."),
        (
            [row(0.05, verdict="not resolved"), row(-0.5, verdict="resolved")],
            "b is above a in top1, by 0.50 [0.40, 0.60]: resolved.",
        ),
        ([row(0.3, factor="style")], "a is above b in top1 (style), by 0.30 [0.20, 0.40]."),
        ([Row(backbone="a", metric="ECE", value=0.03125, n=9)], "a: ECE 0.031."),
        ([replace(row(0.3), value=None)], ""),
        ([], ""),
    ],
)
def test_a_sentence_says_what_its_row_says(rows: list[Row], said: str) -> None:
    assert finding(rows) == said


def of_two(a: float, b: float, **columns: Any) -> list[Row]:
    """The difference of two, and the number of each."""
    own = [replace(row(value), backbone=name, backbone_b="", kind=VALUE) for name, value in (("a", a), ("b", b))]
    both = row(a - b, **{"verdict": "resolved", **columns})
    return [both, *(replace(one, factor=both.factor, dataset=both.dataset) for one in own)]


BETTER = Question("top1", "{more} is right more often than {less}", percent=True)
WORSE = Question("top1", "{less} errs less than {more}")
FALLS = Question(
    "change", "At {where} {less} falls to {less_value}, {more} to {more_value}", own="top1", percent=True, widest=True
)


@pytest.mark.parametrize(
    ("rows", "question", "said"),
    [
        (
            of_two(0.5, 0.8),
            BETTER,
            "b is right more often than a: top1 80 % against 50 %, difference 30 points [20, 40], resolved.",
        ),
        (  # the numbers stand in the order of the names
            of_two(0.5, 0.8),
            WORSE,
            "a errs less than b: top1 0.50 against 0.80, difference 0.30 [0.20, 0.40], resolved.",
        ),
        (
            of_two(0.5, 0.52, verdict="not resolved"),
            BETTER,
            "b and a are not told apart: top1 52 % against 50 %, difference 2 points [-8, 12], not resolved.",
        ),
        (  # of layers on other grids there are no two numbers to set beside each other
            [row(0.3, verdict="resolved", factor="grid 4x4", layer="l.3", layer_b="l.5")],
            BETTER,
            "a is right more often than b: top1, difference 30 points [20, 40], resolved (l.3 and l.5; grid 4x4).",
        ),
        (
            [
                *(replace(one, metric="top1") for one in of_two(0.5, 0.73, factor="scale=3")[1:]),
                row(-0.1, metric="change", factor="scale=2", verdict="resolved"),
                row(-0.23, metric="change", factor="scale=3", verdict="resolved"),
                row(-0.9, metric="change", factor="scale=9", verdict="not resolved"),
            ],
            FALLS,
            "At scale 3 a falls to 50 %, b to 73 %; difference 23 points [13, 33], resolved.",
        ),
        (
            [row(-0.1, metric="change", factor=f"scale={at}", verdict="not resolved") for at in (2, 3)],
            FALLS,
            "No difference in change is resolved; the widest is of scale 2: change, difference 10 points [0, 20], "
            "not resolved.",
        ),
        ([replace(row(0.4), kind=VALUE, backbone_b="")], BETTER, "a: top1 0.40 [0.30, 0.50]."),
        ([row(0.3, metric="another")], BETTER, "a is above b in another, by 0.30 [0.20, 0.40]."),
    ],
)
def test_the_question_of_an_analysis_is_answered_from_its_rows(rows: list[Row], question: Question, said: str) -> None:
    assert finding(rows, question) == said


def test_every_question_can_be_put() -> None:
    """Its words name what they are filled with, and its metric is one that the code writes."""
    asked = {name: entry.question for name in ENTRIES if (entry := entry_of(name)) and entry.question}
    assert {*study_places()} <= {*asked}
    for name, question in asked.items():
        names = {field for _, field, _, _ in string.Formatter().parse(question.answer) if field}
        assert {"more", "less"} <= names <= {"more", "less", "where", "more_value", "less_value"}, name
        assert not question.answer.endswith("."), name


def test_images_that_can_be_read_have_small_pictures(tmp_path: Path) -> None:
    from cvbench.jobs.extraction.extract import extract
    from cvbench.jobs.extraction.options import ExtractOptions
    from cvbench.jobs.running.cluster import Cluster

    url = str(tmp_path / "s.zarr")
    given: dict[str, Any] = {"limit": 8, "batch_size": 8, "unit": 8, "image_size": 64, "weights": ("random",)}
    chosen = ExtractOptions(
        dataset="digits", split="test", backbones=("test_vit",), store=url, views=("head",), **given
    )
    extract(chosen, Cluster(address="none"))
    store = FeatureStore.open(url)
    sheet, why = sheet_of(store, "digits", "test", [5, 2, 5])
    assert why == ""
    assert sheet is not None
    assert sheet.rows == (5, 2)
    import base64
    import io

    from PIL import Image

    from cvbench.storage.datasets import open_dataset
    from cvbench.storage.features.order import sample_order

    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(sheet.uri.partition(",")[2]))).convert("L"), np.float64)
    info = store.split("digits", "test")
    opened = open_dataset("digits", split="test")
    for place, at in enumerate(sheet.rows):
        own = np.asarray(opened.read(int(sample_order(info.n, info.seed)[at])), np.float64)
        own = own if own.ndim == 2 else own.mean(axis=2)
        tile = image[:32, 32 * place : 32 * place + 32]
        step = 32 // own.shape[0]
        seen = tile[step // 2 :: step, step // 2 :: step]
        assert np.corrcoef(seen.ravel(), own.ravel())[0, 1] > 0.95
