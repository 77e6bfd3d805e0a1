"""The numbers of a CKA result in the one table: every pair of layers, and the summary with its verdicts."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cvbench.engine.analyses.base import Layer, Result
from cvbench.engine.analyses.cka.result import cka_result
from cvbench.jobs.analyses.cka import ENTRY
from cvbench.jobs.results.document import document
from cvbench.jobs.results.row import DIFFERENCE, PAIR, VALUE, Row
from cvbench.texts import json_value
from tests.jobs.report_store import small_cka

QUARTERS = "first quarter against last quarter"


def named(result: Result, **attrs: Any) -> Result:
    place = {"run": "results/birds/test/cka/a1", "dataset": "birds", "split": "test", "view": "pooled"}
    return replace(result, attrs={**result.attrs, **place, **attrs})


def rows_of(result: Result, **wanted: str) -> list[Row]:
    return [row for row in ENTRY.rows_of(result) if all(getattr(row, name) == value for name, value in wanted.items())]


def test_every_pair_of_layers_is_there_once() -> None:
    result = named(small_cka({"vit": 3, "cnn": 2}), samples_in_units=200)
    pairs = rows_of(result, metric="linear CKA (mean over positions)")
    layers = [("vit", f"blocks.{i}") for i in range(3)] + [("cnn", f"blocks.{i}") for i in range(2)]
    expected = list(itertools.combinations_with_replacement(range(5), 2))
    places = [(row.backbone, row.layer, row.backbone_b, row.layer_b) for row in pairs]
    assert places == [(*layers[i], *layers[j]) for i, j in expected]
    for row, at in zip(pairs, expected, strict=True):
        assert (row.value, row.low, row.high) == tuple(result.data[name][1][at] for name in ("cka", "low", "high"))
        assert (row.kind, row.n, row.n_failed, row.verdict) == (PAIR, 6, 8, "")  # batches; of 200 samples 192 fill them
    read = json.loads(json.dumps(json_value(document([(result, ENTRY.arrays)], pairs)), allow_nan=False))
    assert read["rows"][1]["value"] == result.data["cka"][1][0, 1]
    assert read["results"][0]["view"] == "pooled"


def test_the_summary_says_whose_its_numbers_are() -> None:
    result = named(small_cka({"vit": 8, "cnn": 5, "mix": 4}))
    cka = result.data["cka"][1]
    found = {(row.subject, row.factor): row for row in rows_of(result, metric="mean linear CKA (mean over positions)")}
    assert len(found) == len(result.attrs["summary"]) == 3 + 3 + 3 + 3 + 3
    own = ~np.eye(8, dtype=bool)
    assert found["vit", "mean of different layers"].value == pytest.approx(cka[:8, :8][own].mean())
    assert found["vit", QUARTERS].value == pytest.approx(cka[:2, 6:8].mean())
    across = found["vit and mix", "mean over all pairs of layers"]
    assert across.value == pytest.approx(cka[:8, 13:].mean())
    kinds = {(row.kind, row.factor) for row in found.values()}
    assert kinds == {
        (VALUE, "mean of different layers"),
        (VALUE, QUARTERS),
        (PAIR, "mean over all pairs of layers"),
        (DIFFERENCE, QUARTERS),
        (DIFFERENCE, "mean of different layers"),
    }
    kept = {entry["name"]: entry for entry in result.attrs["summary"]}
    for one, other in itertools.combinations(("vit", "cnn", "mix"), 2):
        for mean in (QUARTERS, "mean of different layers"):
            row, entry = found[f"{one} less {other}", mean], kept[f"difference, {mean}, {one} - {other}"]
            assert (row.value, row.low, row.high, row.p) == tuple(entry[key] for key in ("value", "low", "high", "p"))
            assert row.verdict == ("resolved" if entry["resolved"] else "not resolved")
            sides = [found[name, mean].value for name in (one, other)]
            assert row.value == pytest.approx(sides[0] - sides[1])  # type: ignore[operator]


def test_the_short_table_has_the_summary_and_its_differences_first() -> None:
    result = named(small_cka({"vit": 3, "cnn": 2}))
    short = ENTRY.main_rows(result, ENTRY.rows_of(result))
    assert [row.kind for row in short] == [DIFFERENCE, DIFFERENCE, VALUE, VALUE, PAIR, VALUE, VALUE]
    assert not any(row.layer for row in short)


def test_an_undefined_layer_is_named_where_its_numbers_would_be() -> None:
    factors = np.random.default_rng(3).normal(size=(6, 3, 4))
    hsic = factors @ factors.transpose(0, 2, 1)
    hsic[:, 1] = hsic[:, :, 1] = 0
    attrs = {"estimator": "minibatch", "batch_size": 32, "samples": 192, "dropped": 0, "confidence": 0.95}
    result = named(cka_result([Layer("vit", f"blocks.{i}") for i in range(3)], hsic, attrs))
    reason = "blocks.1: constant: every sample has the same features"
    for row in rows_of(result, kind=PAIR):
        of_it = "blocks.1" in (row.layer, row.layer_b)
        assert (row.value is None, row.note) == (of_it, reason if of_it else "")
    said = ENTRY.sentences(result, [])
    assert "undefined: vit/blocks.1: constant: every sample has the same features" in said


@pytest.mark.parametrize(("layers", "told"), [({"vit": 1}, True), ({"vit": 2}, False), ({"vit": 1, "cnn": 1}, False)])
def test_one_layer_has_no_table_and_a_reason(layers: dict[str, int], told: bool) -> None:
    result = named(small_cka(layers))
    rows = ENTRY.rows_of(result)
    assert [*ENTRY.main_rows(result, rows)] == [] if told else ENTRY.main_rows(result, rows)
    assert any(text.startswith("one layer: ") for text in ENTRY.sentences(result, rows)) == told


def test_one_batch_has_no_interval_and_no_verdict() -> None:
    gaps = rows_of(named(small_cka({"vit": 3, "cnn": 2}, batches=1)), kind=DIFFERENCE)
    assert len(gaps) == 2
    for gap in gaps:
        assert gap.value is not None
        assert (gap.low, gap.high, gap.p, gap.verdict) == (None, None, None, "no interval: n too small")


def test_a_result_of_an_earlier_version_is_read() -> None:
    """It had one difference, without a verdict, and did not say what it is of."""
    result = small_cka({"vit": 3, "cnn": 2})
    summary = [
        {key: entry[key] for key in ("name", "value", "low", "high")}
        for entry in result.attrs["summary"]
        if not entry["name"].startswith("difference, mean")
    ]
    kept = {key: value for key, value in result.attrs.items() if key != "undefined"}
    rows = ENTRY.rows_of(replace(result, attrs={**kept, "summary": summary}))
    assert len(rows) == 6 + 15
    (gap,) = [row for row in rows if row.kind == DIFFERENCE]
    assert (gap.verdict, gap.p, gap.n_failed) == ("", None, 0)
    assert gap.low is not None
