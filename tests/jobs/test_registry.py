"""The registry of entries, what entries share, and packages that add to them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from cvbench.engine.analyses.base import Result
from cvbench.jobs.analyses.options import CKA, SPECTRA, CkaOptions
from cvbench.jobs.registry import ENTRIES, entry_of, forms_of, place_of
from cvbench.jobs.results.command import command_words, interval_options, selection_of
from cvbench.jobs.results.row import Row, known, placed
from cvbench.options import form_of
from tests.jobs.report_store import small_cka, small_silhouette


@pytest.mark.parametrize("analysis", ENTRIES)
def test_a_section_explains_its_own_analysis(analysis: str) -> None:
    entry = entry_of(analysis)
    assert entry is not None
    assert entry.name == analysis
    assert entry.title
    assert entry.about.endswith(".")
    assert "\n" not in entry.about
    assert "  " not in entry.about


def test_titles_are_told_apart() -> None:
    titles = [entry.title for entry in map(entry_of, ENTRIES) if entry is not None]
    assert len(titles) == len(set(titles)) >= 3


def test_an_analysis_without_a_section() -> None:
    assert entry_of("unheard-of") is None


def test_a_module_that_lacks_what_it_needs_is_not_overlooked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cvbench.jobs.figures.cka", None)
    monkeypatch.delitem(sys.modules, "cvbench.jobs.analyses.cka", raising=False)
    with pytest.raises(ModuleNotFoundError, match=r"cvbench\.jobs\.figures\.cka"):
        entry_of("cka")


def test_the_registry_imports_nothing_heavy() -> None:
    heavy = ("torch", "ray", "zarr", "xarray", "matplotlib", "jinja2", "pyarrow", "cvbench.jobs.analyses.cka")
    code = f"import sys, cvbench.jobs.registry; sys.exit(str([n for n in {heavy} if n in sys.modules] or ''))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


def test_layers_are_named_unless_they_are_all() -> None:
    result = small_cka({"vit": 2, "cnn": 1})
    named = replace(result, attrs={**result.attrs, "dataset": "birds", "split": "test", "resamples": 50, "seed": 2})
    every = replace(named, attrs={**named.attrs, "all_taps": True})
    both = ["analyze", "spectra", "--dataset", "birds", "--split", "test", "--backbone", "vit", "--backbone", "cnn"]
    drawn = ["--resamples", "50", "--seed", "2"]

    def words(result: Result) -> list[str]:
        return command_words("analyze spectra", SPECTRA, selection_of(result), interval_options(result))

    assert words(every) == [*both, *drawn]
    assert words(named) == [*both, "--taps", "blocks.0", "--taps", "blocks.1", *drawn]
    plain = command_words("analyze cka", CKA, selection_of(every), CkaOptions(batch=8))
    assert plain[-2:] == ["--cka-batch", "8"]


@pytest.mark.parametrize("name", [name for name, place in ENTRIES.items() if place.group])
def test_the_words_of_a_command_are_those_of_its_forms(name: str) -> None:
    """Its help, its forms, and a way to run: none is elsewhere."""
    entry, place = entry_of(name), place_of(name)
    assert entry is not None
    assert place is not None
    assert entry.run is not None
    assert not entry.forms  # they stand where nothing heavy is imported
    assert [field.name for form in forms_of(name) for field in form_of(form).fields()]
    assert place.help


def test_a_row_says_where_it_is_from_and_has_no_nan() -> None:
    result = small_cka({"vit": 2})
    kept = replace(result, attrs={**result.attrs, "run": "r", "dataset": "d", "split": "s"})
    own, other = placed(kept, [Row(value=known(float("nan"))), Row(dataset="e", value=known(1))])
    assert (own.run, own.analysis, own.dataset, own.split, own.value) == ("r", "cka", "d", "s", None)
    assert (other.run, other.dataset, other.split, other.value) == ("r", "e", "s", 1.0)


@pytest.mark.parametrize(
    "result", [small_cka({"vit": 3, "cnn": 2}), small_silhouette({"vit": 2, "cnn": 1}, ("a", "b"))]
)
def test_pairs_and_verdicts_have_columns_of_their_own(result: Result) -> None:
    entry = entry_of(result.name)
    assert entry is not None
    rows = entry.rows_of(result)
    assert {row.kind for row in rows} >= {"difference"}
    for row in rows:
        assert not any(word in row.metric for word in ("difference", "resolved", "classes resampled"))
        assert " vs " not in row.backbone + row.factor
        assert bool(row.verdict) == (row.kind == "difference")
